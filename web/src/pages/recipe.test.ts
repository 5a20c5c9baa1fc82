import { expect, test } from "vitest";

import type { Schemas } from "../client";
import { EMPTY, type Knob, recipeOf, valueOf } from "./recipe";

const knob = (name: string, kind: Knob["kind"]): Knob => ({ name, kind, rule: "", about: "", default: null, required: false, choices: [] });

const method = (name: string, knobs: Knob[], ways: string[] = []): Schemas["ShownMethod"] => ({
  name, trains: "", reads: [], paper: "", memory: 1, answers_through: [], ways, knobs,
});

const KNOWN: Schemas["Methods"] = {
  shared: [knob("epochs", "number"), knob("packing", "switch")],
  methods: [method("lora", [knob("r", "whole"), knob("targets", "text")]), method("dpo", [knob("beta", "number")], ["lora"]), method("pretrain", [])],
};

test("an empty form is the shortest recipe", () => {
  expect(recipeOf({ ...EMPTY, data: "file-1" }, KNOWN)).toEqual({ data: "file-1", model: EMPTY.model, method: "lora" });
});

test("knobs go to their own tables, of the objective and of its weights", () => {
  const draft = { ...EMPTY, data: "file-1", method: "dpo", shared: { epochs: "2", packing: "false" }, tables: { dpo: { beta: "0.2" }, lora: { r: "8" } } };
  expect(recipeOf(draft, KNOWN)).toMatchObject({ method: "dpo", epochs: 2, packing: false, dpo: { beta: 0.2, weights: "lora" }, lora: { r: 8 } });
});

test("what another method's table holds stays out, and a new model starts from none", () => {
  const draft = { ...EMPTY, data: "file-1", method: "pretrain", tables: { lora: { r: "8" } } };
  expect(recipeOf(draft, KNOWN)).toEqual({ data: "file-1", method: "pretrain" });
});

test("words become values", () => {
  expect(valueOf(knob("x", "whole"), " 8 ")).toBe(8);
  expect(valueOf(knob("x", "number"), "1e-3")).toBe(0.001);
  expect(valueOf(knob("x", "number"), "many")).toBe("many");
  expect(valueOf(knob("x", "text"), "[q_proj, v_proj]")).toEqual(["q_proj", "v_proj"]);
  expect(valueOf(knob("x", "text"), "")).toBeUndefined();
});
