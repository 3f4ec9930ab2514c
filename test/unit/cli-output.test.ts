import { expect, test } from "vitest";
import { createOutput, formatAge, formatTable } from "../../src/cli/output.ts";

interface Capture {
  readonly isTTY?: boolean;
  text: string;
  write(text: string): boolean;
}

function capture(isTTY: boolean): Capture {
  const stream: Capture = {
    isTTY,
    text: "",
    write: (text) => {
      stream.text += text;
      return true;
    },
  };
  return stream;
}

const outputOn = (
  isTTY: boolean,
  env: Readonly<Record<string, string>> = {},
): { stdout: Capture; stderr: Capture; output: ReturnType<typeof createOutput> } => {
  const [stdout, stderr] = [capture(isTTY), capture(isTTY)];
  return { stdout, stderr, output: createOutput({ stdout, stderr, env }) };
};

test("data goes to stdout and talk to stderr, so that a pipe gets the data alone", () => {
  const { stdout, stderr, output } = outputOn(false);
  output.say("looking");
  output.progress("1 of 2");
  output.json({ calendars: [] });
  expect(stdout.text).toBe('{"schemaVersion":1,"calendars":[]}\n');
  expect(stderr.text).toBe("looking\n");
});

test("colour needs a terminal, and gives way to NO_COLOR", () => {
  expect(outputOn(true).output.paint("green", "ok")).toBe("\u001b[32mok\u001b[39m");
  expect(outputOn(false).output.paint("green", "ok")).toBe("ok");
  expect(outputOn(true, { NO_COLOR: "1" }).output.paint("green", "ok")).toBe("ok");
  expect(outputOn(true, { NO_COLOR: "" }).output.paint("green", "ok")).not.toBe("ok");
});

test("a progress line makes way for whatever is said next", () => {
  const { stderr, output } = outputOn(true);
  output.progress("1 of 2");
  output.say("done");
  expect(stderr.text).toBe("1 of 2\r\u001b[Kdone\n");
});

test("a table aligns its columns and takes escape sequences out of strangers' titles", () => {
  expect(
    formatTable(
      ["ID", "TITLE"],
      [
        ["cal_1", "a\u001b]0;owned\u0007b"],
        ["c", "line\nbreak"],
      ],
    ),
  ).toBe("ID     TITLE\ncal_1  a·]0;owned·b\nc      line·break");
});

test.each([
  [undefined, "never"],
  [0, "0 s"],
  [119_400, "119 s"],
  [120_000, "2 min"],
  [7_140_000, "119 min"],
  [7_200_000, "2 h"],
  [172_800_000, "2 d"],
])("an age of %s ms reads %s", (ageMs, text) => {
  expect(formatAge(ageMs)).toBe(text);
});
