import { screen } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { useState } from "react";
import { expect, test, vi } from "vitest";

import { Failure, type Schemas } from "../client";
import { Failed } from "../parts/said";
import { SignIn } from "../session/sign-in";
import { draw } from "../tests/draw";
import { Checked } from "./file";
import { Knobs } from "./knobs";
import { bodyOf, filled, variablesOf } from "./playground";
import type { Knob, Words } from "./recipe";
import { Samples } from "./samples";
import { Estimate } from "./train";
import { Variants } from "./variants";

const KNOB: Knob = { name: "r", kind: "whole", rule: "a whole number, 1 or more", about: "Rank of the matrices.", default: 16, required: false, choices: [] };

test("a field says what a knob must be", async () => {
  function Form() {
    const [words, setWords] = useState<Words>({});
    return <Knobs knobs={[KNOB]} words={words} change={setWords} />;
  }
  draw(<Form />);
  const field = screen.getByLabelText("r");
  expect(field.getAttribute("placeholder")).toBe("16");
  await userEvent.type(field, "many");
  expect(screen.getByText("It must be a whole number, 1 or more.")).toBeTruthy();
  await userEvent.clear(field);
  await userEvent.type(field, "8");
  expect(screen.queryByText(/It must be/)).toBeNull();
});

test("a failure says what kind it is, and offers another try", async () => {
  const again = vi.fn();
  draw(<Failed error={new Failure("The key 'x' may not.", 403)} retry={again} />);
  expect(screen.getByRole("alert").textContent).toContain("This key may not do that");
  await userEvent.click(screen.getByRole("button", { name: "Try again" }));
  expect(again).toHaveBeenCalledOnce();
});

test("an expired session is told as such, and a wrong key stays on the page", async () => {
  vi.stubGlobal("fetch", () => Promise.resolve(Response.json({ error: { message: "This key is unknown or revoked.", code: null } }, { status: 401 })));
  const enter = vi.fn();
  draw(<SignIn why={new Failure("", 401, "session_ended")} enter={enter} />);
  expect(screen.getByText(/Your session has ended/)).toBeTruthy();
  await userEvent.type(screen.getByLabelText(/^Key/), "sk-pumice-wrong");
  await userEvent.click(screen.getByRole("button", { name: "Sign in" }));
  expect(await screen.findByText("This key is unknown or revoked.")).toBeTruthy();
  expect(enter).not.toHaveBeenCalled();
});

const NONE = { count: 0, pairs: [] };
const CHECKED: Schemas["Checked"] = {
  ok: false,
  split: null,
  texts: { "3": '{"prompt": ""}' },
  check: {
    path: "stones.jsonl", kind: "instruction", rows: 2, errors: 1, notes: [], warnings: ["1 row is the same as an earlier one."],
    findings: [{ path: "stones.jsonl", line: 3, column: 12, field: "prompt", rule: "The question is empty.", fix: "Write it." }],
    duplicates: NONE, conflicts: NONE, leaks: null, sensitive: [],
    lengths: {
      limit: 100, window: 200, exact: true, measured: 2, longest: 120, total: 150, trained: 30, too_long: 1, too_long_lines: [2], untrained: 0,
      note: "", histogram: [{ over: 16, upto: 32, rows: 1 }, { over: 100, upto: 128, rows: 1 }],
    },
    sample: [["What", false], [" grey", true]], sample_rejected: [],
  },
};

test("a judged file shows each finding with its row, its rule and its fix", async () => {
  draw(<Checked found={CHECKED} file="file-1" />);
  expect(screen.getByText("The question is empty.", { exact: false })).toBeTruthy();
  expect(screen.getByText("Write it.")).toBeTruthy();
  const row = screen.getByLabelText("Row in line 3");
  const keep = screen.getByRole("button", { name: "Keep as a new version" });
  expect(keep.hasAttribute("disabled")).toBe(true);
  await userEvent.type(row, " ");
  expect(keep.hasAttribute("disabled")).toBe(false);
  expect(document.querySelectorAll("mark.trained")).toHaveLength(2);
});

test("rows of a file in S3 are shown and not edited", () => {
  draw(<Checked found={CHECKED} file="s3://bucket/stones.jsonl" />);
  expect(screen.getByLabelText("Row in line 3").hasAttribute("readonly")).toBe(true);
  expect(screen.queryByRole("button", { name: "Keep as a new version" })).toBeNull();
});

test("an estimate beyond the free memory warns", () => {
  const found: Schemas["Estimated"] = {
    yaml: "", recipe: { epochs: 3 }, reasons: { epochs: "3; few rows" }, rows: 8, tokens: 400, memory_bytes: 9e9, free_bytes: 4e9, seconds: 65,
    trainable_parameters: 1, prices: [{ machine: "g6.xlarge", gpu: "L4", hours: 0.5, dollars: 0.4 }],
  };
  draw(<Estimate found={found} old={false} />);
  expect(screen.getByText("More than is free")).toBeTruthy();
  expect(screen.getByText("$0.40")).toBeTruthy();
  expect(screen.getByText("about 65 s")).toBeTruthy();
});

test("answers that differ are marked word by word", () => {
  draw(<Samples report={{ count: 1, samples: [{ question: "Colour?", reference: "grey", base: "It is blue", tuned: "It is grey" }] }} />);
  expect([...document.querySelectorAll("mark.differs")].map((each) => each.textContent?.trim())).toEqual(["blue", "grey"]);
});

test("a template's variables are found and filled, and an empty one stays to be seen", () => {
  expect(variablesOf("What is {{ thing }}?", "Speak {{language}}. {{thing}}")).toEqual(["thing", "language"]);
  expect(filled("What is {{ thing }} in {{place}}?", { thing: "pumice" })).toBe("What is pumice in {{place}}?");
});

test("a request holds only what was said", () => {
  const fields = { system: " ", numbers: { temperature: "0", top_p: "" }, tools: "", schema: '{"type": "object"}' };
  const body = bodyOf("stones", [{ role: "user", content: "Hi" }], fields);
  expect(body).toEqual({
    model: "stones", messages: [{ role: "user", content: "Hi" }], temperature: 0,
    response_format: { type: "json_schema", json_schema: { name: "answer", schema: { type: "object" } } },
  });
});

const SHOP = { endpoint: "shop", status: "InService", variant: "blue", model: "stones@1", weight: 3 };

test("a variant's share follows its weight while one types, and what is no weight is not sent", async () => {
  const sent: unknown[] = [];
  vi.stubGlobal("fetch", async (request: Request) => {
    if (request.method === "PUT") sent.push(await request.json());
    return Response.json({ data: [{ ...SHOP, weight: sent.length ? 1 : 3 }, { ...SHOP, variant: "green", model: "", weight: 1 }] });
  });
  draw(<Variants />);
  const blue = await screen.findByLabelText("Weight of blue");
  const shift = screen.getByRole("button", { name: "Shift the traffic" });
  expect(screen.getByText("75 %")).toBeTruthy();
  expect(shift.hasAttribute("disabled")).toBe(true);
  await userEvent.clear(blue);
  expect(screen.getByRole("alert").textContent).toContain("A weight is a number from 0");
  expect(shift.hasAttribute("disabled")).toBe(true);
  await userEvent.type(blue, "1");
  expect(screen.getAllByText("50 %")).toHaveLength(2);
  await userEvent.click(shift);
  expect(sent).toEqual([{ weights: { blue: 1, green: 1 } }]);
});
