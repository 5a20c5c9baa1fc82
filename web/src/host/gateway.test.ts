import { screen } from "@testing-library/react";
import { createElement } from "react";
import { beforeEach, expect, test, vi } from "vitest";

import type { Failure } from "../client";
import { chat } from "../client/chat";
import Playground, { bodyOf } from "../pages/playground";
import { draw } from "../tests/draw";
import { host } from ".";
import { gateway } from "./gateway";

vi.hoisted(() => {
  document.head.innerHTML = '<meta name="host" content="gateway"><meta name="models" content="faq@3 faq@4">';
});

const asked: { path: string; headers: Record<string, string>; body: unknown }[] = [];

function answering(status: number, body: unknown, headers = {}) {
  vi.stubGlobal("fetch", (path: string, init: { headers: Record<string, string>; body: string }) => {
    asked.push({ path, headers: init.headers, body: JSON.parse(init.body) as unknown });
    return Promise.resolve(Response.json(body, { status, headers }));
  });
}

const refused = (why: Promise<unknown>) => why.then(() => { throw new Error("It was let in."); }, (error: unknown) => error as Failure);

beforeEach(() => {
  asked.length = 0;
  sessionStorage.clear();
});

test("the page says that the gateway answers it", () => {
  expect(host).toBe(gateway);
  expect(host.models).toEqual(["faq@3", "faq@4"]);
});

test("a key of the gateway's is tried on feedback about nothing, and kept for the tab alone", async () => {
  expect(await refused(gateway.who())).toMatchObject({ status: 401 });
  answering(403, { message: "Forbidden" });
  expect((await refused(gateway.enter("wrong"))).message).toBe("The API does not know this key.");
  expect(gateway.headers()).toEqual({ "x-api-key": "" });
  answering(400, { error: { message: "Feedback is {…}." } });
  await gateway.enter(" right ");
  expect(asked.at(-1)).toMatchObject({ path: "/v1/feedback", headers: { "x-api-key": "right" }, body: {} });
  expect(await gateway.who()).toMatchObject({ role: "invoke" });
  expect(gateway.headers()).toEqual({ "x-api-key": "right" });
  expect(localStorage).toHaveLength(0);
  await gateway.leave();
  expect(await refused(gateway.who())).toMatchObject({ status: 401 });
});

test("a key of the gateway's that is switched off leads to the sign-in and is forgotten", async () => {
  answering(400, {});
  await gateway.enter("right");
  const left = vi.fn();
  window.addEventListener("signed-out", left, { once: true });
  expect(gateway.failure(403, { message: "Forbidden" })).toMatchObject({ status: 401, code: "session_ended" });
  expect(left).toHaveBeenCalledOnce();
  expect(gateway.headers()).toEqual({ "x-api-key": "" });
});

test("the gateway's refusals are sentences, whoever on the way refused", async () => {
  expect(gateway.failure(400, { error: { message: 'The body needs "messages".' } }).message).toBe('The body needs "messages".');
  expect(gateway.failure(429, { message: "Limit Exceeded" }).message).toContain("asked as often as it may");
  expect(gateway.failure(504, { message: "Endpoint request timed out" }).message).toBe("Endpoint request timed out");
  expect(gateway.failure(502, undefined).message).toContain("502");
  answering(429, { message: "Too Many Requests" });
  expect((await refused(gateway.enter("right"))).message).toContain("asked as often as it may");
  vi.stubGlobal("fetch", () => Promise.reject(new TypeError("failed")));
  expect(await refused(gateway.enter("right"))).toMatchObject({ status: 0 });
});

test("a question is asked as the gateway can answer it, what comes in one piece is read, and its answer can be rated by its name in the log", async () => {
  const answer = { model: "m", choices: [{ message: { content: "A stone." }, finish_reason: "stop" }], usage: { prompt_tokens: 5, completion_tokens: 3 } };
  answering(200, answer, { "x-request-id": "r-1" });
  const body = bodyOf("", [{ role: "user", content: "What is pumice?" }], { system: "", numbers: { temperature: "0" }, tools: "", schema: "" });
  const told = await chat(body, new AbortController().signal, () => {});
  expect(asked[0]).toMatchObject({ path: "/v1/chat/completions", headers: { "x-api-key": "" } });
  expect(asked[0]?.body).toMatchObject({ messages: [{ role: "user", content: "What is pumice?" }], temperature: 0 });
  expect(asked[0]?.body).not.toHaveProperty("model");
  expect(Object.keys(asked[0]?.body ?? {}).includes("stream")).toBe(gateway.streams);
  expect(told).toMatchObject({ text: "A stone.", finish: "stop", inputTokens: 5, outputTokens: 3, firstAfter: null, request: "r-1" });
  answering(200, {});
  await gateway.rate?.("r-1", false);
  expect(asked.at(-1)).toMatchObject({ path: "/v1/feedback", body: { request_id: "r-1", score: 0 } });
  answering(403, { message: "Forbidden" });
  expect(await refused(chat(body, new AbortController().signal, () => {}))).toMatchObject({ status: 401 });
});

test("of the versions that the page names the first is asked, until another is chosen", () => {
  draw(createElement(Playground));
  expect(screen.getByLabelText<HTMLInputElement>("Model", { selector: "input" }).value).toBe("faq@3");
  expect(document.querySelector("pre")?.textContent).toContain('"model": "faq@3"');
  expect(screen.queryByText("JSON schema")).toBeNull();
});

test("what is copied sends the key as the gateway wants it", () => {
  const [curl, openai] = gateway.programs.map(([, write]) => write("https://d1.cloudfront.net", { messages: [{ role: "user", content: "Hi" }] }));
  expect(curl).toContain('https://d1.cloudfront.net/v1/chat/completions \\\n  -H "x-api-key: $KEY"');
  expect(openai).toContain('default_headers={"x-api-key": key}');
  expect(openai).toContain('model="deployed"');
});
