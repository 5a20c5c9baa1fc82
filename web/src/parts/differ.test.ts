import { expect, test } from "vitest";

import { differ } from "./differ";

const marked = (pieces: { text: string; same: boolean }[]) => pieces.filter((piece) => !piece.same).map((piece) => piece.text.trim());
const whole = (pieces: { text: string }[]) => pieces.map((piece) => piece.text).join("");

test("only the words that differ are marked, and no text is lost", () => {
  const [one, other] = ["The stone is grey and round.", "The stone is green and very round."];
  const [left, right] = differ(one, other);
  expect(marked(left)).toEqual(["grey"]);
  expect(marked(right)).toEqual(["green", "very"]);
  expect([whole(left), whole(right)]).toEqual([one, other]);
});

test.each([["", ""], ["", "new"], ["same", "same"], ["a b c", "x y z"], ["  a\n\nb ", "a b"]])("%j beside %j", (one, other) => {
  const [left, right] = differ(one, other);
  expect([whole(left), whole(right)]).toEqual([one, other]);
  expect(marked(left).length === 0 && marked(right).length === 0).toBe(one.trim().split(/\s+/).join() === other.trim().split(/\s+/).join());
});

test("texts of many words are not compared", () => {
  const long = "word ".repeat(2000);
  expect(differ(long, "other")).toEqual([[{ text: long, same: true }], [{ text: "other", same: true }]]);
});
