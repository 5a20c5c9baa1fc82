// One chat request, as a stream where the host writes one, with its times. Knows nothing of how it looks.
import { host } from "../host";
import { events } from "./events";
import { Failure } from "./index";

export interface Turn {
  role: "system" | "user" | "assistant";
  content: string;
}

export interface ToolCall {
  name: string;
  arguments: string;
}

export interface Answer {
  text: string;
  calls: ToolCall[];
  finish: string | null;
  model: string;
  inputTokens: number | null;
  outputTokens: number | null;
  firstAfter: number | null;
  seconds: number;
  /** Its name in the log. */
  request: string | null;
}

export type Body = Record<string, unknown> & { model?: string; messages: Turn[] };

interface Message {
  content?: string | null;
  tool_calls?: { index?: number; function?: Partial<ToolCall> }[];
}

interface Chunk {
  model?: string;
  error?: { message: string; code?: string };
  usage?: { prompt_tokens: number; completion_tokens: number } | null;
  /** A piece of an answer is a delta, a whole one a message. */
  choices?: { delta?: Message; message?: Message; finish_reason?: string | null }[];
}

/** Ask and tell the answer as it comes; the whole one at the end. Throws a `Failure`. */
export async function chat(body: Body, signal: AbortSignal, tell: (answer: Answer) => void): Promise<Answer> {
  const began = performance.now();
  const since = () => (performance.now() - began) / 1000;
  const answer: Answer = {
    text: "", calls: [], finish: null, model: body.model ?? "", inputTokens: null, outputTokens: null, firstAfter: null,
    seconds: 0, request: null,
  };
  const response = await fetch("/v1/chat/completions", {
    method: "POST",
    headers: { ...host.headers(), "Content-Type": "application/json" },
    body: JSON.stringify(host.streams ? { ...body, stream: true, stream_options: { include_usage: true } } : body),
    signal,
  }).catch((error: unknown) => {
    if (signal.aborted) throw error;
    throw new Failure(host.silent, 0);
  });
  if (!response.ok || !response.body) throw host.failure(response.status, await response.json().catch(() => undefined));
  answer.request = response.headers.get("x-request-id");
  const streamed = response.headers.get("content-type")?.startsWith("text/event-stream");
  let ended = false;
  try {
    for await (const data of streamed ? events(response.body) : whole(response)) {
      if (data === "[DONE]") {
        ended = true;
        break;
      }
      const chunk = JSON.parse(data) as Chunk;
      if (chunk.error) throw new Failure(chunk.error.message, 500, chunk.error.code ?? null);
      add(answer, chunk);
      if (streamed && answer.firstAfter === null && (answer.text || answer.calls.length)) answer.firstAfter = since();
      answer.seconds = since();
      tell({ ...answer });
    }
  } catch (error) {
    if (signal.aborted || error instanceof Failure) throw error;
    throw new Failure("The answer broke off: the connection to the server was lost.", 0);
  }
  if (!ended) throw new Failure("The answer broke off: the server ended it early.", 0);
  answer.seconds = since();
  return answer;
}

/** An answer in one piece. */
async function* whole(response: Response): AsyncGenerator<string> {
  yield await response.text();
  yield "[DONE]";
}

function add(answer: Answer, chunk: Chunk): void {
  answer.model = chunk.model ?? answer.model;
  answer.inputTokens = chunk.usage?.prompt_tokens ?? answer.inputTokens;
  answer.outputTokens = chunk.usage?.completion_tokens ?? answer.outputTokens;
  const choice = chunk.choices?.[0];
  const said = choice?.delta ?? choice?.message;
  answer.text += said?.content ?? "";
  answer.finish = choice?.finish_reason ?? answer.finish;
  for (const [at, piece] of (said?.tool_calls ?? []).entries()) {
    const call = (answer.calls[piece.index ?? at] ??= { name: "", arguments: "" });
    call.name += piece.function?.name ?? "";
    call.arguments += piece.function?.arguments ?? "";
  }
}
