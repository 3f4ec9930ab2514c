import { expect, test } from "vitest";
import { createBodyRoom } from "../../src/quota/body-room.ts";

test("places are given in order, and each that is left lets one in", () => {
  const room = createBodyRoom(2);
  const entered: number[] = [];
  const places = [0, 1, 2, 3].map((name) =>
    room.enter(() => {
      entered.push(name);
    }),
  );
  expect(entered).toEqual([0, 1]);
  places[1]?.leave();
  places[1]?.leave();
  expect(entered).toEqual([0, 1, 2]);
  places[0]?.leave();
  expect(entered).toEqual([0, 1, 2, 3]);
});

test("one that leaves while it waits is passed over", () => {
  const room = createBodyRoom(1);
  const entered: string[] = [];
  const enter = (name: string): { leave: () => void } =>
    room.enter(() => {
      entered.push(name);
    });
  const first = enter("first");
  enter("gone").leave();
  enter("third");
  first.leave();
  expect(entered).toEqual(["first", "third"]);
});
