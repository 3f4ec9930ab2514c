import type { StormSecond } from "./read-storm.ts";

/** One stack's panel. */
export interface StormPanel {
  readonly title: string;
  readonly seconds: readonly StormSecond[];
  /** One sentence on what became of it. */
  readonly verdict: string;
}

/** A part of the run with something to say about it. */
export interface ShadedPhase {
  readonly from: number;
  readonly to: number;
  readonly name: string;
}

const WIDTH = 860;
const PANEL = { left: 56, right: 20, height: 190, gap: 100, top: 92 };
const SMOOTH_SECONDS = 3;

const STYLE = `
  .ink { fill: #24292f; } .quiet { fill: #57606a; } .grid { stroke: #d0d7de; } .shade { fill: #cf222e; opacity: 0.08; }
  .sent { fill: none; stroke: #57606a; stroke-width: 1.5; stroke-dasharray: 4 3; }
  .bad { fill: #cf222e; opacity: 0.45; } .ok { fill: none; stroke: #1a7f37; stroke-width: 2.5; }
  text { font: 13px system-ui, sans-serif; } .title { font-weight: 600; font-size: 15px; }
  @media (prefers-color-scheme: dark) {
    .ink { fill: #e6edf3; } .quiet { fill: #9198a1; } .grid { stroke: #3d444d; } .shade { fill: #ff7b72; opacity: 0.12; }
    .sent { stroke: #9198a1; } .bad { fill: #ff7b72; opacity: 0.5; } .ok { stroke: #3fb950; }
  }`;

/** Two panels over the same axes: what succeeded, what was sent, what was sent in vain. */
export function drawStorm(
  panels: readonly StormPanel[],
  phases: readonly ShadedPhase[],
  offeredPerSecond: number,
): string {
  const most = Math.max(
    ...panels.flatMap(({ seconds }) => smooth(seconds.map(({ sent }) => sent))),
    offeredPerSecond,
  );
  const top = Math.ceil(most / 10) * 10;
  const height = PANEL.top + panels.length * (PANEL.height + PANEL.gap) - 60;
  const verdicts = panels.map(({ title, verdict }) => `${title}: ${verdict}`).join(" ");
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${String(WIDTH)} ${String(height)}" role="img" aria-labelledby="storm-title storm-desc">
<title id="storm-title">The same outage, met by today's stack and by Ballast</title>
<desc id="storm-desc">${escape(verdicts)}</desc>
<style>${STYLE}</style>
${legend()}
${panels.map((panel, index) => drawPanel(panel, { y: PANEL.top + index * (PANEL.height + PANEL.gap), top, phases })).join("\n")}
</svg>
`;
}

function legend(): string {
  const entries: readonly (readonly [x: number, mark: string, text: string])[] = [
    [56, '<line class="ok" x1="0" x2="24" y1="-4" y2="-4"/>', "succeeded a second (goodput)"],
    [330, '<line class="sent" x1="0" x2="24" y1="-4" y2="-4"/>', "sent a second"],
    [480, '<rect class="bad" width="24" height="10" y="-9"/>', "sent in vain: failed or refused"],
  ];
  return entries
    .map(
      ([x, mark, text]) =>
        `<g transform="translate(${String(x)} 24)">${mark}<text class="quiet" x="32">${text}</text></g>`,
    )
    .join("\n");
}

function drawPanel(
  { title, seconds, verdict }: StormPanel,
  place: { readonly y: number; readonly top: number; readonly phases: readonly ShadedPhase[] },
): string {
  const { y, top, phases } = place;
  const width = WIDTH - PANEL.left - PANEL.right;
  const x = (second: number): number => PANEL.left + (second / seconds.length) * width;
  const level = (value: number): number => y + PANEL.height * (1 - value / top);
  const line = (values: readonly number[]): string =>
    smooth(values)
      .map((value, index) => `${x(index + 0.5).toFixed(1)},${level(value).toFixed(1)}`)
      .join(" ");
  const ticks = [0, top / 2, top].map(
    (value) =>
      `<line class="grid" x1="${String(PANEL.left)}" x2="${String(WIDTH - PANEL.right)}" y1="${level(value).toFixed(1)}" y2="${level(value).toFixed(1)}"/><text class="quiet" x="${String(PANEL.left - 8)}" y="${(level(value) + 4).toFixed(1)}" text-anchor="end">${String(value)}</text>`,
  );
  const shades = phases.map(
    ({ from, to, name }, index) =>
      `<line class="grid" x1="${x(from).toFixed(1)}" x2="${x(from).toFixed(1)}" y1="${String(y - (index % 2 === 0 ? 30 : 16))}" y2="${String(y + PANEL.height)}"/><rect class="shade" x="${x(from).toFixed(1)}" y="${String(y)}" width="${(x(to) - x(from)).toFixed(1)}" height="${String(PANEL.height)}"/><text class="quiet" x="${(x(from) + 4).toFixed(1)}" y="${String(y - (index % 2 === 0 ? 20 : 6))}">${escape(name)}</text>`,
  );
  const vain = line(seconds.map(({ rejected, failed }) => rejected + failed));
  const base = level(0).toFixed(1);
  const marks = Array.from(
    { length: Math.floor(seconds.length / 30) + 1 },
    (_, index) => index * 30,
  );
  return `<g>
<text class="ink title" x="${String(PANEL.left)}" y="${String(y - 42)}">${escape(title)}</text>
<text class="quiet" x="${String(WIDTH - PANEL.right)}" y="${String(y - 42)}" text-anchor="end">${escape(verdict)}</text>
${ticks.join("\n")}
${shades.join("\n")}
<polygon class="bad" points="${x(0.5).toFixed(1)},${base} ${vain} ${x(seconds.length - 0.5).toFixed(1)},${base}"/>
<polyline class="sent" points="${line(seconds.map(({ sent }) => sent))}"/>
<polyline class="ok" points="${line(seconds.map(({ ok }) => ok))}"/>
${marks.map((second) => `<text class="quiet" x="${x(second).toFixed(1)}" y="${String(y + PANEL.height + 18)}" text-anchor="middle">${String(second)} s</text>`).join("\n")}
</g>`;
}

/** A centred mean, so that seconds of one or two requests make a line. */
function smooth(values: readonly number[]): readonly number[] {
  const reach = Math.floor(SMOOTH_SECONDS / 2);
  return values.map((_, index) => {
    const near = values.slice(Math.max(0, index - reach), index + reach + 1);
    return near.reduce((sum, value) => sum + value, 0) / near.length;
  });
}

function escape(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}
