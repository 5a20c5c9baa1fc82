// The API that `pumice deploy aws` makes. It lies under the page's own address and knows its callers by a key.
import { Code } from "@mantine/core";

import { Failure, failure } from "../client";
import { asCurl, asOpenai } from "../pages/copy-as";
import type { Host } from ".";

const KEY = "pumice-key";
const HEADER = "x-api-key";
const SILENT = "The API does not answer. Look whether this machine is online, then try again.";
const UNKNOWN = "The API does not know this key.";
const OFTEN = "This key has asked as often as it may. Wait a while, then ask again.";

/** Kept for this tab alone, and gone with it. */
const key = () => sessionStorage.getItem(KEY) ?? "";

async function say(word: object, headers: Record<string, string>): Promise<Response> {
  const asked = { method: "POST", headers: { ...headers, "Content-Type": "application/json" }, body: JSON.stringify(word) };
  return fetch("/v1/feedback", asked).catch(() => {
    throw new Failure(SILENT, 0);
  });
}

export const gateway: Host = {
  alone: true,
  models: document.querySelector<HTMLMetaElement>("meta[name=models]")?.content.split(" ").filter(Boolean) ?? [],
  streams: true,
  silent: SILENT,
  signIn: {
    about: (
      <>
        The API's own; <Code>pumice deploy aws apply</Code> printed it.
      </>
    ),
    ended: `${UNKNOWN} Sign in with another.`,
    kept: "The key is kept until this tab is closed, and sent to this address alone.",
  },
  programs: [
    ["curl", (origin, body) => asCurl(origin, body, HEADER)],
    // OpenAI's client sends no request without a model; behind this API there is one.
    ["OpenAI Python", (origin, body) => asOpenai(origin, { model: "deployed", ...body }, HEADER)],
  ],
  headers: () => ({ [HEADER]: key() }),
  failure(status, body) {
    if (status === 403) {
      sessionStorage.removeItem(KEY);
      return failure(401, { error: { message: UNKNOWN, code: "session_ended" } });
    }
    const told = body as { error?: { message?: string }; message?: string } | undefined;
    return failure(status, { error: { message: told?.error?.message ?? (status === 429 ? OFTEN : told?.message) } });
  },
  who: () => (key() ? Promise.resolve({ key: "API key", role: "invoke", version: "" }) : Promise.reject(failure(401, undefined))),
  async enter(given) {
    // Feedback on nothing is refused for its form, and costs nothing: the key has been let in by then.
    const answer = await say({}, { [HEADER]: given.trim() });
    if (answer.status === 403) throw new Failure(UNKNOWN, 401);
    if (answer.status !== 400) throw gateway.failure(answer.status, await answer.json().catch(() => undefined));
    sessionStorage.setItem(KEY, given.trim());
  },
  async leave() {
    sessionStorage.removeItem(KEY);
  },
  async rate(request, good) {
    const answer = await say({ request_id: request, score: Number(good) }, gateway.headers());
    if (!answer.ok) throw gateway.failure(answer.status, await answer.json().catch(() => undefined));
  },
};
