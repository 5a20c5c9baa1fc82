import { Accordion, Alert, Button, Group, Paper, Select, SimpleGrid, Stack, Tabs, Text, TextInput, Textarea } from "@mantine/core";
import { useMutation } from "@tanstack/react-query";
import { useRef, useState } from "react";
import { useSearchParams } from "react-router";

import { type Answer, type Body, type Turn, chat } from "../client/chat";
import { host } from "../host";
import { Copied } from "../parts/copy";
import { Page, Part } from "../parts/page";
import { Failed } from "../parts/said";
import { count, duration } from "../parts/words";
import { NameSelect } from "./names";
import { EMPTY } from "./recipe";
import { useSlow } from "./slow";
import { Template } from "./template";

/** Characters that are more than the window of any base here. */
const LARGE = 1_000_000;
const VARIABLE = /\{\{\s*([A-Za-z_]\w*)\s*\}\}/g;
const NUMBERS = [
  ["temperature", "0 always takes the likeliest token"],
  ["top_p", "share of the likelihood to draw from"],
  ["max_tokens", "tokens of the answer at most"],
  ["seed", "the same seed, the same answer"],
] as const;

export function variablesOf(...texts: string[]): string[] {
  return [...new Set(texts.flatMap((text) => [...text.matchAll(VARIABLE)].map((found) => found[1] ?? "")))];
}

export const filled = (text: string, values: Record<string, string>) =>
  text.replace(VARIABLE, (whole, name: string) => values[name] || whole);

interface Fields {
  system: string;
  numbers: Record<string, string>;
  tools: string;
  schema: string;
}

export function bodyOf(model: string, turns: Turn[], fields: Fields): Body {
  const body: Body = { ...(model && { model }), messages: [...(fields.system.trim() ? [{ role: "system" as const, content: fields.system }] : []), ...turns] };
  for (const [name] of NUMBERS) if (fields.numbers[name]?.trim()) body[name] = Number(fields.numbers[name]);
  if (fields.tools.trim()) body["tools"] = JSON.parse(fields.tools) as unknown;
  if (fields.schema.trim()) {
    body["response_format"] = { type: "json_schema", json_schema: { name: "answer", schema: JSON.parse(fields.schema) as unknown } };
  }
  return body;
}

function fault(text: string): string | null {
  if (!text.trim()) return null;
  try {
    JSON.parse(text);
    return null;
  } catch (error) {
    return `It is no JSON: ${error instanceof Error ? error.message : ""}`;
  }
}

export default function Playground() {
  const [query] = useSearchParams();
  const [model, setModel] = useState(host.alone ? (host.models[0] ?? "") : (query.get("model") ?? EMPTY.model));
  const [fields, setFields] = useState<Fields>({ system: "", numbers: { temperature: "0", max_tokens: "200" }, tools: "", schema: "" });
  const [turns, setTurns] = useState<Turn[]>([]);
  const [prompt, setPrompt] = useState("");
  const [values, setValues] = useState<Record<string, string>>({});
  const [answer, setAnswer] = useState<Answer | null>(null);
  const [error, setError] = useState<unknown>(null);
  const [busy, setBusy] = useState(false);
  const [tooMuch, setTooMuch] = useState(0);
  const slow = useSlow(busy && !answer);
  const stop = useRef<AbortController | null>(null);
  const variables = variablesOf(prompt, fields.system);
  const faults = { tools: fault(fields.tools), schema: fault(fields.schema) };
  const bad = Boolean(faults.tools ?? faults.schema);
  const given = { ...fields, system: filled(fields.system, values) };
  const asked: Turn[] = prompt.trim() ? [...turns, { role: "user", content: filled(prompt, values) }] : turns;
  const body = bad ? null : bodyOf(model, asked.length ? asked : [{ role: "user", content: "Hello" }], given);

  const send = async () => {
    if (!prompt.trim() || bad) return;
    const before = { turns, prompt };
    setBusy(true);
    setError(null);
    setAnswer(null);
    setTurns(asked);
    setPrompt("");
    stop.current = new AbortController();
    let last: Answer | null = null;
    try {
      last = await chat(bodyOf(model, asked, given), stop.current.signal, (told) => {
        last = told;
        setAnswer(told);
      });
    } catch (failed) {
      if (!stop.current.signal.aborted) {
        setError(failed);
        if (!last) {
          setTurns(before.turns);
          setPrompt(before.prompt);
        }
      }
    } finally {
      setBusy(false);
      setAnswer(last);
      if (last) setTurns([...asked, { role: "assistant", content: textOf(last) }]);
    }
  };

  return (
    <Page title="Playground" about="Talk to a model, and take the request with you.">
      <SimpleGrid cols={{ base: 1, md: 2 }}>
        <Stack>
          <Part title="Conversation" hidden>
            <Stack gap="sm">
              {!host.alone && <NameSelect label="Model" value={model} set={setModel} />}
              {host.models.length > 0 && (
                <Select label="Model" data={host.models} value={model} onChange={(chosen) => chosen && setModel(chosen)} allowDeselect={false} />
              )}
              <Stack gap="xs" role="log" aria-label="Conversation" aria-live="polite">
                {turns.map((turn, at) => (
                  <Said key={at} turn={turn} />
                ))}
                {busy && <Said turn={{ role: "assistant", content: answer ? textOf(answer) : "…" }} />}
              </Stack>
              {slow && (
                <Alert color="yellow" variant="light" role="status">
                  No token yet. The engine may be starting, or others are answered first.
                </Alert>
              )}
              <Failed error={error} />
              {answer && <Times answer={answer} />}
              {host.rate && answer?.request && !busy && <Rating key={answer.request} rate={host.rate} request={answer.request} />}
              {!host.alone && (
                <Template
                  question={prompt}
                  use={(made) => {
                    setPrompt(made.user);
                    if (made.system) setFields({ ...fields, system: made.system });
                  }}
                />
              )}
              <Textarea
                label="Prompt"
                description="{{name}} becomes a variable. Control and Enter sends."
                value={prompt}
                onChange={(event) => setPrompt(event.currentTarget.value)}
                onPaste={(event) => {
                  const { length } = event.clipboardData.getData("text");
                  if (length > LARGE) event.preventDefault();
                  setTooMuch(length > LARGE ? length : 0);
                }}
                onKeyDown={(event) => {
                  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) void send();
                }}
                rows={4}
              />
              {tooMuch > 0 && (
                <Alert color="yellow" variant="light" role="status" title={`${count(tooMuch)} characters were not pasted`}>
                  No window holds so much. Keep it as a file under Data, or paste a part of it.
                </Alert>
              )}
              {variables.length > 0 && (
                <SimpleGrid cols={2}>
                  {variables.map((name) => (
                    <TextInput key={name} label={name} value={values[name] ?? ""} onChange={(event) => setValues({ ...values, [name]: event.currentTarget.value })} />
                  ))}
                </SimpleGrid>
              )}
              <Group>
                {busy ? (
                  <Button color="red" variant="light" onClick={() => stop.current?.abort()}>
                    Stop
                  </Button>
                ) : (
                  <Button onClick={() => void send()} disabled={!prompt.trim() || bad}>
                    Send
                  </Button>
                )}
                <Button
                  variant="default"
                  disabled={busy || turns.length === 0}
                  onClick={() => {
                    setTurns([]);
                    setAnswer(null);
                    setError(null);
                  }}
                >
                  Begin anew
                </Button>
              </Group>
            </Stack>
          </Part>
        </Stack>
        <Stack>
          <Part title="How it is asked">
            <Stack gap="sm">
              <Textarea label="System prompt" value={fields.system} onChange={(event) => setFields({ ...fields, system: event.currentTarget.value })} autosize minRows={2} maxRows={8} />
              <SimpleGrid cols={2}>
                {NUMBERS.map(([name, about]) => (
                  <TextInput
                    key={name}
                    label={name}
                    description={about}
                    inputMode="decimal"
                    value={fields.numbers[name] ?? ""}
                    onChange={(event) => setFields({ ...fields, numbers: { ...fields.numbers, [name]: event.currentTarget.value } })}
                  />
                ))}
              </SimpleGrid>
              {!host.alone && (
                <Accordion variant="contained" multiple>
                  <Json name="Tools" about="A list, as OpenAI writes it." value={fields.tools} error={faults.tools} set={(tools) => setFields({ ...fields, tools })} />
                  <Json name="JSON schema" about="The answer always follows it." value={fields.schema} error={faults.schema} set={(schema) => setFields({ ...fields, schema })} />
                </Accordion>
              )}
            </Stack>
          </Part>
          {body && (
            <Part title="Copy as">
              <Tabs defaultValue="curl">
                <Tabs.List mb="xs">
                  {host.programs.map(([name]) => (
                    <Tabs.Tab key={name} value={name}>
                      {name}
                    </Tabs.Tab>
                  ))}
                </Tabs.List>
                {host.programs.map(([name, write]) => (
                  <Tabs.Panel key={name} value={name}>
                    <Copied text={write(window.location.origin, body)} />
                  </Tabs.Panel>
                ))}
              </Tabs>
            </Part>
          )}
        </Stack>
      </SimpleGrid>
    </Page>
  );
}

/** Whether an answer was good: the log keeps it beside the request, and `pumice deploy aws ab` reads it. */
function Rating({ request, rate }: { request: string; rate: (request: string, good: boolean) => Promise<void> }) {
  const say = useMutation({ mutationFn: (good: boolean) => rate(request, good) });
  return (
    <>
      <Group gap="xs">
        {([[true, "Good answer"], [false, "Bad answer"]] as const).map(([good, name]) => (
          <Button key={name} size="xs" variant={say.isSuccess && say.variables === good ? "filled" : "default"} aria-pressed={say.isSuccess && say.variables === good} onClick={() => say.mutate(good)}>
            {name}
          </Button>
        ))}
      </Group>
      <Failed error={say.error} />
    </>
  );
}

function textOf(answer: Answer): string {
  return [answer.text, ...answer.calls.map((call) => `${call.name}(${call.arguments})`)].filter(Boolean).join("\n");
}

function Said({ turn }: { turn: Turn }) {
  return (
    <Paper withBorder p="xs" bg={turn.role === "user" ? "var(--mantine-color-default-hover)" : "transparent"}>
      <Text size="xs" c="dimmed">
        {turn.role}
      </Text>
      <Text size="sm" className="wrap">
        {turn.content.length > 20_000 ? `${turn.content.slice(0, 20_000)}… (${count(turn.content.length)} characters)` : turn.content}
      </Text>
    </Paper>
  );
}

function Json({ name, about, value, error, set }: { name: string; about: string; value: string; error: string | null; set: (value: string) => void }) {
  return (
    <Accordion.Item value={name}>
      <Accordion.Control>{name}</Accordion.Control>
      <Accordion.Panel>
        <Textarea
          aria-label={name}
          description={about}
          value={value}
          error={error}
          onChange={(event) => set(event.currentTarget.value)}
          autosize
          minRows={4}
          maxRows={14}
          spellCheck={false}
          styles={{ input: { fontFamily: "var(--mantine-font-family-monospace)", fontSize: 13 } }}
        />
      </Accordion.Panel>
    </Accordion.Item>
  );
}

export function Times({ answer }: { answer: Answer }) {
  const writing = answer.seconds - (answer.firstAfter ?? 0);
  const rate = answer.outputTokens !== null && writing > 0 ? (answer.outputTokens - 1) / writing : null;
  return (
    <Text size="xs" c="dimmed">
      {[
        answer.model,
        answer.inputTokens !== null && `${count(answer.inputTokens)} tokens in`,
        answer.outputTokens !== null && `${count(answer.outputTokens)} out`,
        answer.firstAfter !== null && `first after ${duration(answer.firstAfter)}`,
        rate !== null && rate > 0 && `${rate.toFixed(1)} tokens a second`,
        answer.finish === "length" && "cut at max_tokens",
      ]
        .filter(Boolean)
        .join(" · ")}
    </Text>
  );
}
