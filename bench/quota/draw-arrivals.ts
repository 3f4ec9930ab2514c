import type { NumberRow } from "../number-row.ts";

const WIDTH = 760;
const LEFT = 300;
const BAR_PX = 22;
const GAP_PX = 14;
const TOP = 64;
/** Room for the longest label on the right. */
const LABEL_PX = 190;
const CONTROL = "control: use-by off";

/** Most arrivals in a window against the limit, one bar a stack: the chart of the README. */
export function drawArrivals(rows: readonly NumberRow[]): string {
  const bars = rows
    .filter(
      ({ number, stack, figures }) =>
        number === "1" && (figures["rejected"] !== undefined || stack.startsWith(CONTROL)),
    )
    .map(({ stack, figures }) => ({
      // Another load: everyone stopped by SIGSTOP and continued.
      name: stack.startsWith(CONTROL)
        ? "control: no use-by, SIGSTOP"
        : (stack.split(":")[0] ?? stack),
      share: (figures["most"] ?? 0) / (figures["limit"] ?? 1),
      rejected: figures["rejected"] ?? 0,
    }))
    .toSorted(
      (one, other) =>
        Number(one.name.startsWith("control")) - Number(other.name.startsWith("control")),
    );
  const most = Math.max(1.25, ...bars.map(({ share }) => share));
  const scale = (WIDTH - LEFT - LABEL_PX) / most;
  const height = TOP + bars.length * (BAR_PX + GAP_PX) + 28;
  const limitX = LEFT + scale;
  const lines = bars.map(({ name, share, rejected }, index) => {
    const y = TOP + index * (BAR_PX + GAP_PX);
    const isOver = share > 1;
    const text = `${Math.round(share * 100)} %${rejected > 0 ? `, ${rejected} rejected` : ""}`;
    return `  <text x="${LEFT - 10}" y="${y + 16}" text-anchor="end">${name}</text>
  <rect x="${LEFT}" y="${y}" width="${(share * scale).toFixed(1)}" height="${BAR_PX}" rx="2" class="${isOver ? "over" : "within"}"/>
  ${labelAt({ endX: LEFT + share * scale, y: y + 16, isOver, text })}`;
  });
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" role="img" aria-labelledby="title desc">
  <title id="title">Most requests that reached Google in any sliding window, as a part of the limit</title>
  <desc id="desc">${bars.map(({ name, share }) => `${name}: ${Math.round(share * 100)} %`).join("; ")}</desc>
  <style>
    text { font: 14px system-ui, sans-serif; fill: #57606a }
    .inside { fill: #ffffff } .within { fill: #1a7f64 } .over { fill: #bc4c00 } .limit { stroke: #57606a; stroke-dasharray: 4 3 }
    @media (prefers-color-scheme: dark) { text { fill: #adbac7 } .inside { fill: #0d1117 } .within { fill: #3fb68b } .over { fill: #f0883e } .limit { stroke: #adbac7 } }
  </style>
  <text x="${LEFT - 10}" y="24" text-anchor="end">Most arrivals in any window</text>
  <text x="${limitX.toFixed(1)}" y="24" text-anchor="middle">limit</text>
  <line x1="${limitX.toFixed(1)}" y1="32" x2="${limitX.toFixed(1)}" y2="${height - 20}" class="limit"/>
${lines.join("\n")}
</svg>
`;
}

/** Within the limit the label stands in its bar: beside it, the line of the limit would cross it. */
function labelAt(label: {
  readonly endX: number;
  readonly y: number;
  readonly isOver: boolean;
  readonly text: string;
}): string {
  const { endX, y, isOver, text } = label;
  return isOver
    ? `<text x="${(endX + 8).toFixed(1)}" y="${y}">${text}</text>`
    : `<text x="${(endX - 8).toFixed(1)}" y="${y}" text-anchor="end" class="inside">${text}</text>`;
}
