// A form's words as a recipe. Knows no method: the server says what each has.
import type { Schemas } from "../client";

export type Knob = Schemas["Knob"];
/** What stands in the fields, by knob. */
export type Words = Record<string, string>;

export interface Draft {
  data: string;
  validation: string;
  model: string;
  name: string;
  method: string;
  weights: string;
  shared: Words;
  /** By method, so that going back to one brings its knobs back. */
  tables: Record<string, Words>;
}

export const EMPTY: Draft = {
  data: "", validation: "", model: "smollm2-135m-instruct-q4_1", name: "", method: "lora", weights: "lora", shared: {},
  tables: {},
};

/** One word as the value that its knob takes; undefined leaves the key out. */
export function valueOf(knob: Knob, word: string | undefined): unknown {
  const text = word?.trim() ?? "";
  if (text === "") return undefined;
  if (knob.kind === "switch") return text === "true";
  if (knob.kind === "choice") return text;
  if (knob.kind === "text") return text.startsWith("[") ? list(text) : text;
  const value = Number(text);
  // What is no number goes as it is: the server says what it must be.
  return Number.isNaN(value) ? text : value;
}

function list(text: string): unknown {
  return text.replace(/^\[|\]$/g, "").split(",").map((each) => each.trim()).filter(Boolean);
}

export function tableOf(knobs: readonly Knob[], words: Words | undefined): Record<string, unknown> {
  const pairs = knobs.map((knob) => [knob.name, valueOf(knob, words?.[knob.name])] as const);
  return Object.fromEntries(pairs.filter(([, value]) => value !== undefined));
}

export function recipeOf(draft: Draft, known: Schemas["Methods"]): Record<string, unknown> {
  const find = (name: string) => known.methods.find((each) => each.name === name);
  const method = find(draft.method);
  const table: Record<string, unknown> = tableOf(method?.knobs ?? [], draft.tables[draft.method]);
  const recipe: Record<string, unknown> = {
    data: draft.data,
    model: draft.method === "pretrain" ? undefined : draft.model,
    method: draft.method,
    validation: draft.validation || undefined,
    name: draft.name.trim() || undefined,
    ...tableOf(known.shared, draft.shared),
  };
  if (method?.ways.length) {
    table["weights"] = draft.weights;
    const own = tableOf(find(draft.weights)?.knobs ?? [], draft.tables[draft.weights]);
    if (Object.keys(own).length) recipe[draft.weights] = own;
  }
  if (Object.keys(table).length) recipe[draft.method] = table;
  return Object.fromEntries(Object.entries(recipe).filter(([, value]) => value !== undefined));
}
