// The same request as a program that needs no console.
import type { Body, Turn } from "../client/chat";

const quoted = (text: string) => `'${text.replaceAll("'", "'\\''")}'`;

/** `header` is what the key is sent as where that is not OpenAI's. */
export function asCurl(origin: string, body: Body, header?: string): string {
  return [
    `curl ${origin}/v1/chat/completions \\`,
    `  -H "${header ? `${header}: $KEY` : "Authorization: Bearer $OPENAI_API_KEY"}" -H "Content-Type: application/json" \\`,
    `  -d ${quoted(JSON.stringify(body, null, 1))}`,
  ].join("\n");
}

export function asOpenai(origin: string, body: Body, header?: string): string {
  const given = Object.entries(body).map(([key, value]) => `    ${key}=${python(value, 1)},`);
  return [
    ...(header ? ["import os", ""] : []),
    "from openai import OpenAI",
    "",
    ...(header
      ? ['key = os.environ["KEY"]', `client = OpenAI(base_url="${origin}/v1", api_key=key, default_headers={"${header}": key})`]
      : [`client = OpenAI(base_url="${origin}/v1")  # reads OPENAI_API_KEY`]),
    "answer = client.chat.completions.create(",
    ...given,
    ")",
    "print(answer.choices[0].message.content)",
  ].join("\n");
}

export function asBoto3(origin: string, body: Body): string {
  const content = (turn: Turn) => ({ role: turn.role, content: [{ text: turn.content }] });
  const system = body.messages.filter((turn) => turn.role === "system").map((turn) => ({ text: turn.content }));
  const sampling = { maxTokens: body["max_tokens"], temperature: body["temperature"], topP: body["top_p"] };
  const known = Object.fromEntries(Object.entries(sampling).filter(([, value]) => value !== undefined));
  const tools = (body["tools"] as { function: { name: string; description?: string; parameters: unknown } }[] | undefined)?.map(
    ({ function: each }) => ({ toolSpec: { name: each.name, description: each.description ?? each.name, inputSchema: { json: each.parameters } } }),
  );
  const lines = [
    "import boto3",
    "",
    `client = boto3.client("bedrock-runtime", endpoint_url="${origin}", region_name="us-east-1")`,
    "answer = client.converse(",
    `    modelId=${python(body.model, 1)},`,
    ...(system.length ? [`    system=${python(system, 1)},`] : []),
    `    messages=${python(body.messages.filter((turn) => turn.role !== "system").map(content), 1)},`,
    ...(Object.keys(known).length ? [`    inferenceConfig=${python(known, 1)},`] : []),
    ...(tools ? [`    toolConfig=${python({ tools }, 1)},`] : []),
    ")",
    'print(answer["output"]["message"]["content"][0]["text"])',
  ];
  return lines.join("\n");
}

/** A JSON value as Python writes it. */
export function python(value: unknown, depth = 0): string {
  const pad = "    ".repeat(depth + 1);
  const end = "    ".repeat(depth);
  if (value === null || value === undefined) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (typeof value !== "object") return JSON.stringify(value);
  if (Array.isArray(value)) {
    return value.length ? `[\n${value.map((each) => pad + python(each, depth + 1)).join(",\n")},\n${end}]` : "[]";
  }
  const pairs = Object.entries(value).filter(([, each]) => each !== undefined);
  const short = `{${pairs.map(([key, each]) => `${JSON.stringify(key)}: ${python(each, depth + 1)}`).join(", ")}}`;
  if (short.length < 80 && !short.includes("\n")) return short;
  return `{\n${pairs.map(([key, each]) => `${pad}${JSON.stringify(key)}: ${python(each, depth + 1)}`).join(",\n")},\n${end}}`;
}
