import { expect, test, vi } from "vitest";

import { type Answer, chat } from "./chat";
import { Failure } from "./index";

const ASKED = { model: "stones", messages: [{ role: "user" as const, content: "Hello" }] };

function answering(body: string, status = 200) {
  vi.stubGlobal("fetch", () => Promise.resolve(new Response(body, { status, headers: { "Content-Type": "text/event-stream" } })));
}

const chunk = (value: unknown) => `data: ${JSON.stringify(value)}\n\n`;

test("text, tool calls and counts are put together", async () => {
  answering(
    chunk({ model: "stones@1", choices: [{ delta: { content: "It is " } }] }) +
      chunk({ choices: [{ delta: { content: "grey." } }] }) +
      chunk({ choices: [{ delta: { tool_calls: [{ index: 0, function: { name: "paint", arguments: '{"a"' } }] } }] }) +
      chunk({ choices: [{ delta: { tool_calls: [{ index: 0, function: { arguments: ":1}" } }] }, finish_reason: "tool_calls" }] }) +
      chunk({ choices: [], usage: { prompt_tokens: 5, completion_tokens: 7 } }) +
      "data: [DONE]\n\n",
  );
  const told: Answer[] = [];
  const answer = await chat(ASKED, new AbortController().signal, (each) => told.push(each));
  expect(answer).toMatchObject({ text: "It is grey.", model: "stones@1", finish: "tool_calls", inputTokens: 5, outputTokens: 7 });
  expect(answer.calls).toEqual([{ name: "paint", arguments: '{"a":1}' }]);
  expect(told[0]?.text).toBe("It is ");
});

test("what the server refuses is told in its own words", async () => {
  answering(JSON.stringify({ error: { message: "The model 'stone' does not exist.", code: "model_not_found" } }), 404);
  await expect(chat(ASKED, new AbortController().signal, () => {})).rejects.toThrow("The model 'stone' does not exist.");
});

test("an answer that breaks off, or fails on the way, is no answer", async () => {
  answering(chunk({ choices: [{ delta: { content: "Half" } }] }));
  await expect(chat(ASKED, new AbortController().signal, () => {})).rejects.toThrow("broke off");
  answering(chunk({ error: { message: "The engine is gone." } }));
  await expect(chat(ASKED, new AbortController().signal, () => {})).rejects.toThrow("The engine is gone.");
  vi.stubGlobal("fetch", () => Promise.reject(new TypeError("failed")));
  await expect(chat(ASKED, new AbortController().signal, () => {})).rejects.toBeInstanceOf(Failure);
});
