import { expect, test } from "vitest";

import type { Body } from "../client/chat";
import { asBoto3, asCurl, asOpenai, python } from "./copy-as";

const BODY: Body = {
  model: "stones",
  messages: [{ role: "system", content: "Be brief." }, { role: "user", content: "It's a stone?" }],
  temperature: 0,
  max_tokens: 20,
};

test("curl: a quote in the text does not end the text", () => {
  const text = asCurl("http://localhost:8080", BODY);
  expect(text).toContain("It'\\''s a stone?");
  expect(text).toContain("http://localhost:8080/v1/chat/completions");
});

test("OpenAI's client: keywords as Python writes them", () => {
  expect(asOpenai("http://localhost:8080", { ...BODY, stream: true })).toContain("    stream=True,");
  expect(python({ a: null, b: [true, "x"] })).toContain("None");
});

test("boto3: the system prompt stands by itself, sampling has AWS's names", () => {
  const text = asBoto3("http://localhost:8080", BODY);
  expect(text).toContain('system=[\n        {"text": "Be brief."},');
  expect(text).toContain('inferenceConfig={"maxTokens": 20, "temperature": 0}');
  expect(text).not.toContain('"role": "system"');
});
