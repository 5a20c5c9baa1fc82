import { expect, test } from "vitest";

import { events } from "./events";

function stream(...pieces: (string | Uint8Array)[]): ReadableStream<Uint8Array> {
  return new ReadableStream({
    start(controller) {
      for (const piece of pieces) controller.enqueue(typeof piece === "string" ? new TextEncoder().encode(piece) : piece);
      controller.close();
    },
  });
}

async function all(body: ReadableStream<Uint8Array>): Promise<string[]> {
  const found: string[] = [];
  for await (const each of events(body)) found.push(each);
  return found;
}

test("events are whole, wherever their pieces are cut", async () => {
  const bytes = new TextEncoder().encode('data: {"text": "grün"}\r\n\r\ndata: [DONE]\n\n');
  for (let at = 1; at < bytes.length; at++) {
    expect(await all(stream(bytes.slice(0, at), bytes.slice(at)))).toEqual(['{"text": "grün"}', "[DONE]"]);
  }
});

test("comments and other fields are passed over, and the last line counts without its end", async () => {
  expect(await all(stream(": still here\nevent: x\ndata: one\n\n", "data: two"))).toEqual(["one", "two"]);
});
