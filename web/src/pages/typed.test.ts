import { expect, test } from "vitest";

import { fittingOf, NO_FILTER } from "./fitting";
import { budgetOf, limitOf } from "./limits";
import { sharesOf, weightOf } from "./shares";

test("a limit is a whole number from 1, or none", () => {
  expect(["", " ", "60", "1,000", "10 000"].map(limitOf)).toEqual([null, null, 60, 1000, 10_000]);
  expect(["0", "-1", "1.5", "many", "1e3", "9999999999"].map(limitOf)).toEqual(Array(6).fill(undefined));
  expect(budgetOf({ requests: "5", tokens: "" })).toEqual({ requests_per_minute: 5, tokens_per_day: null });
  expect(budgetOf({ requests: "5", tokens: "few" })).toBeNull();
});

test("weights are shares of their sum, and the same for all where none weighs anything", () => {
  expect(["3", " 0.5", ".5", "0", "", "-1", "1e9", "half"].map(weightOf)).toEqual([3, 0.5, 0.5, 0, null, null, null, null]);
  expect(sharesOf([3, 1])).toEqual([0.75, 0.25]);
  expect(sharesOf([0, 0])).toEqual([0.5, 0.5]);
});

test("a filter holds what is filled in, and a status once it is one", () => {
  expect(fittingOf(NO_FILTER)).toEqual({});
  expect(fittingOf({ ...NO_FILTER, contains: " pebble ", status: "40", model: "stones@1" })).toEqual({ contains: "pebble", model: "stones@1" });
  expect(fittingOf({ ...NO_FILTER, status: "404 " })).toEqual({ status: 404 });
});
