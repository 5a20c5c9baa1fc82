// The server's API as its OpenAPI document says it; every failure becomes a `Failure` with a sentence to show.
import createClient from "openapi-fetch";

import type { components, paths } from "./schema";

export type Schemas = components["schemas"];

export const OWN = { "X-Pumice-Console": "1" };

export class Failure extends Error {
  constructor(
    message: string,
    readonly status: number,
    readonly code: string | null = null,
  ) {
    super(message);
  }
}

export const SILENT = "The server does not answer. Look whether pumice serve still runs, then try again.";

export const client = createClient<paths>({
  baseUrl: window.location.origin,
  headers: OWN,
  fetch: (request) => globalThis.fetch(request),
});

interface Answer<T> {
  data?: T;
  error?: unknown;
  response: Response;
}

/** The data of an answer. Throws a `Failure` for everything else. */
export async function ask<T>(asked: Promise<Answer<T>>): Promise<T> {
  let answer: Answer<T>;
  try {
    answer = await asked;
  } catch {
    throw new Failure(SILENT, 0);
  }
  if (!answer.response.ok) throw failure(answer.response.status, answer.error);
  return answer.data as T;
}

/** What the server said went wrong. */
export function failure(status: number, body: unknown): Failure {
  const told = (body as { error?: { message?: string; code?: string | null } } | undefined)?.error;
  const found = new Failure(told?.message ?? `The server answered ${status} and did not say why.`, status, told?.code);
  if (status === 401) window.dispatchEvent(new CustomEvent("signed-out", { detail: found }));
  return found;
}

/** Upload a file as it is; the answer is its entry. */
export async function upload(file: File): Promise<Schemas["FileObject"]> {
  const form = new FormData();
  form.set("purpose", "fine-tune");
  form.set("file", file);
  let response: Response;
  try {
    response = await fetch("/v1/files", { method: "POST", headers: OWN, body: form });
  } catch {
    throw new Failure(SILENT, 0);
  }
  const body: unknown = await response.json().catch(() => undefined);
  if (!response.ok) throw failure(response.status, body);
  return body as Schemas["FileObject"];
}

/** What is in an uploaded file. */
export async function contentOf(id: string): Promise<string> {
  const response = await fetch(`/v1/files/${encodeURIComponent(id)}/content`, { headers: OWN }).catch(() => {
    throw new Failure(SILENT, 0);
  });
  if (!response.ok) throw failure(response.status, await response.json().catch(() => undefined));
  return response.text();
}
