import { Alert, Button, Group, SimpleGrid, Stack, Switch, Table, Tabs, Text, Textarea } from "@mantine/core";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useRef, useState } from "react";
import { useNavigate, useSearchParams } from "react-router";

import { ask, client } from "../client";
import { type Answer, chat } from "../client/chat";
import { models, votes } from "../client/queries";
import { differ } from "../parts/differ";
import { Page, Part } from "../parts/page";
import { Empty, Failed, Waiting } from "../parts/said";
import { State } from "../parts/state";
import { count } from "../parts/words";
import { Rows } from "../parts/rows";
import { NameSelect } from "./names";
import { Times } from "./playground";
import { EMPTY } from "./recipe";
import { Samples, Side } from "./samples";
import { useSlow } from "./slow";
import { DataSelect, ModelSelect } from "./train";

/** Votes without which chance cannot be told from a difference; the server says so, too. */
const FEWEST = 6;

type Choice = "left" | "right" | "both" | "neither";

export default function Compare() {
  return (
    <Page title="Compare" about="The same question to several models; votes become rows of preference data.">
      <Tabs defaultValue="ask" keepMounted={false}>
        <Tabs.List mb="md">
          <Tabs.Tab value="ask">Side by side</Tabs.Tab>
          <Tabs.Tab value="votes">Votes</Tabs.Tab>
          <Tabs.Tab value="suite">Suite</Tabs.Tab>
        </Tabs.List>
        <Tabs.Panel value="ask">
          <SideBySide />
        </Tabs.Panel>
        <Tabs.Panel value="votes">
          <Standings />
        </Tabs.Panel>
        <Tabs.Panel value="suite">
          <Suite />
        </Tabs.Panel>
      </Tabs>
    </Page>
  );
}

interface Seat {
  model: string;
  answer: Answer | null;
  error: unknown;
}

function SideBySide() {
  const [query] = useSearchParams();
  const [left, setLeft] = useState(query.get("left") ?? EMPTY.model);
  const [right, setRight] = useState(query.get("right") ?? "");
  const [third, setThird] = useState("");
  const [blind, setBlind] = useState(false);
  const [prompt, setPrompt] = useState("");
  const [asked, setAsked] = useState("");
  const [seats, setSeats] = useState<Seat[]>([]);
  const [busy, setBusy] = useState(false);
  const [told, setTold] = useState<Choice | null>(null);
  const stop = useRef<AbortController | null>(null);
  const queries = useQueryClient();
  const slow = useSlow(busy && seats.every((seat) => !seat.answer));
  const done = !busy && seats.length > 0 && seats.every((seat) => seat.answer && !seat.error);
  const hidden = blind && told === null;
  const vote = useMutation({
    mutationFn: (choice: Choice) => {
      const [one, other] = seats;
      const side = (seat: Seat | undefined) => ({ model: seat?.answer?.model ?? "", text: seat?.answer?.text ?? "" });
      return ask(client.POST("/api/votes", { body: { prompt: asked, left: side(one), right: side(other), choice, blind } }));
    },
    onSuccess: async (_, choice) => {
      setTold(choice);
      await queries.invalidateQueries({ queryKey: ["votes"] });
    },
  });
  const send = async () => {
    const names = [left, right, third].filter(Boolean).slice(0, blind ? 2 : 3);
    if (blind && Math.random() < 0.5) names.reverse();
    const began: Seat[] = names.map((model) => ({ model, answer: null, error: null }));
    setSeats(began);
    setAsked(prompt);
    setTold(null);
    vote.reset();
    setBusy(true);
    const stopped = new AbortController();
    stop.current = stopped;
    const put = (at: number, change: Partial<Seat>) => setSeats((before) => before.map((seat, place) => (place === at ? { ...seat, ...change } : seat)));
    await Promise.all(
      names.map((model, at) =>
        chat({ model, messages: [{ role: "user", content: prompt }], temperature: 0, max_tokens: 256 }, stopped.signal, (answer) => put(at, { answer }))
          .then((answer) => put(at, { answer }))
          .catch((error: unknown) => {
            if (!stopped.signal.aborted) put(at, { error });
          }),
      ),
    );
    setBusy(false);
  };
  const marked = done && !hidden && seats.length >= 2 ? differ(seats[0]?.answer?.text ?? "", seats[1]?.answer?.text ?? "") : null;
  return (
    <Stack>
      <Part title="Question" hidden>
        <Stack gap="sm">
          <SimpleGrid cols={{ base: 1, sm: blind ? 2 : 3 }}>
            <NameSelect label="One" value={left} set={setLeft} />
            <NameSelect label="Another" value={right} set={setRight} />
            {!blind && <NameSelect label="A third" value={third} set={setThird} clearable />}
          </SimpleGrid>
          <Textarea label="Prompt" value={prompt} onChange={(event) => setPrompt(event.currentTarget.value)} rows={3} />
          <Group>
            {busy ? (
              <Button color="red" variant="light" onClick={() => stop.current?.abort()}>
                Stop
              </Button>
            ) : (
              <Button disabled={!prompt.trim() || !left || !right} onClick={() => void send()}>
                Ask them
              </Button>
            )}
            <Switch
              label="Blind: names are hidden and shuffled until you vote"
              checked={blind}
              onChange={(event) => setBlind(event.currentTarget.checked)}
              disabled={busy}
            />
          </Group>
        </Stack>
      </Part>
      {slow && (
        <Alert color="yellow" variant="light" role="status">
          No token yet. An engine may be starting.
        </Alert>
      )}
      {seats.length > 0 && (
        <SimpleGrid cols={{ base: 1, sm: seats.length }}>
          {seats.map((seat, at) => (
            <Part key={at} title={hidden ? (at === 0 ? "Left" : "Right") : seat.model}>
              <Stack gap="xs">
                <Side name={seat.answer ? "" : busy ? "waiting …" : ""} pieces={marked?.[at as 0 | 1] ?? [{ text: seat.answer?.text ?? "", same: true }]} />
                <Failed error={seat.error} />
                {seat.answer && !hidden && <Times answer={seat.answer} />}
              </Stack>
            </Part>
          ))}
        </SimpleGrid>
      )}
      {done && seats.length === 2 && (
        <Part title="Which is better?">
          {told ? (
            <Text role="status">
              Kept: {told}. {blind && `Left was ${seats[0]?.model ?? ""}, right was ${seats[1]?.model ?? ""}.`}
            </Text>
          ) : (
            <Group>
              {(["left", "right", "both", "neither"] as const).map((choice) => (
                <Button key={choice} variant="default" onClick={() => vote.mutate(choice)} loading={vote.isPending}>
                  {{ left: "Left", right: "Right", both: "Both are good", neither: "Neither" }[choice]}
                </Button>
              ))}
            </Group>
          )}
          <Failed error={vote.error} />
        </Part>
      )}
    </Stack>
  );
}

function Standings() {
  const found = useQuery(votes);
  if (found.error) return <Failed error={found.error} retry={() => void found.refetch()} />;
  if (!found.data) return <Waiting />;
  if (found.data.data.length === 0) return <Empty>No vote yet. Ask two models the same question, and say which answer is better.</Empty>;
  const points = (value: number) => `${value >= 0 ? "+" : ""}${Math.round(value * 100)}`;
  return (
    <Stack>
      <Part title="How they stand">
        <Rows minWidth={560} label="Standings" head={["Model", "against", "won", "lost", "tied", "won minus lost, % [95 % interval]", ""]}>
          {found.data.standings.map((each) => (
            <Table.Tr key={each.one + each.other}>
              <Table.Td>{each.one}</Table.Td>
              <Table.Td>{each.other}</Table.Td>
              <Table.Td>{count(each.won)}</Table.Td>
              <Table.Td>{count(each.lost)}</Table.Td>
              <Table.Td>{count(each.tied)}</Table.Td>
              <Table.Td>
                {each.won + each.lost + each.tied < FEWEST
                  ? `${points(each.interval.value)}; too few votes to tell`
                  : `${points(each.interval.value)} [${points(each.interval.low)}, ${points(each.interval.high)}]`}
              </Table.Td>
              <Table.Td>
                <State is={each.verdict} />
              </Table.Td>
            </Table.Tr>
          ))}
        </Rows>
      </Part>
      <Part title="Votes">
        <Stack gap="sm">
          {found.data.data.slice(0, 50).map((each) => (
            <div key={`${each.at ?? ""}${each.prompt}`}>
              <Text size="sm" fw={600} lineClamp={2}>
                {each.prompt}
              </Text>
              <Text size="xs" c="dimmed">
                {each.choice === "left" || each.choice === "right" ? `${each.choice === "left" ? each.left.model : each.right.model} won` : each.choice} (
                {each.left.model} and {each.right.model}
                {each.blind && ", blind"})
              </Text>
            </div>
          ))}
        </Stack>
      </Part>
    </Stack>
  );
}

function Suite() {
  const [query] = useSearchParams();
  const made = useQuery(models);
  const [model, setModel] = useState(query.get("right") ?? "");
  const [data, setData] = useState("");
  const go = useNavigate();
  const chosen = made.data?.data.find((each) => each.id === model);
  const begin = useMutation({
    mutationFn: () => ask(client.POST("/api/models/{model_id}/suites", { params: { path: { model_id: model } }, body: data ? { data } : {} })),
    onSuccess: (job) => go(`/train/${job.id}`),
  });
  return (
    <Stack>
      <Part title="A whole suite">
        <Stack gap="sm">
          <SimpleGrid cols={{ base: 1, sm: 2 }}>
            <ModelSelect label="Version" value={model} set={setModel} />
            <DataSelect label="Questions; by default what was held out" value={data} set={setData} />
          </SimpleGrid>
          <Failed error={begin.error} />
          <Group>
            <Button disabled={!chosen} loading={begin.isPending} onClick={() => begin.mutate()}>
              Run it
            </Button>
            <Text size="sm" c="dimmed">
              A version against its base, every question to both. It is a job.
            </Text>
          </Group>
        </Stack>
      </Part>
      {chosen?.report && (
        <Part title={`${chosen.id} when it was made`} side={<State is={chosen.report.report.verdict} />}>
          <Text mb="sm">{chosen.report.sentence}</Text>
          <Samples report={chosen.report.report} />
        </Part>
      )}
    </Stack>
  );
}
