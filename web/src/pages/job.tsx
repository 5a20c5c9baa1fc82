import { Alert, Anchor, Button, Code, Group, Modal, Progress, ScrollArea, SimpleGrid, Stack, Text } from "@mantine/core";
import { useDisclosure } from "@mantine/hooks";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Link, useParams } from "react-router";

import { ask, client } from "../client";
import { type Step, type Story, looksOf, reportOf, stepsOf, useStory } from "../client/story";
import { Chart } from "../parts/chart";
import { Copied } from "../parts/copy";
import { Page, Part } from "../parts/page";
import { Failed, Waiting } from "../parts/said";
import { State } from "../parts/state";
import { count, duration, when } from "../parts/words";
import { Samples } from "./samples";
import { Value } from "./train";

const STAGES: Record<string, string> = {
  check: "reading the data",
  ask: "asking the teacher",
  train: "training",
  evaluate: "comparing with the base",
  register: "registering the model",
  probe: "trying 1 %",
};
const LIVE = ["queued", "running"];

export default function Job() {
  const { id = "" } = useParams();
  const queries = useQueryClient();
  const job = useQuery({
    queryKey: ["job", id],
    queryFn: () => ask(client.GET("/api/jobs/{job_id}", { params: { path: { job_id: id } } })),
    refetchInterval: (query) => (query.state.data && LIVE.includes(query.state.data.state) ? 1500 : false),
  });
  const story = useStory(id, job.data?.started ?? "");
  const move = useMutation({
    mutationFn: (word: "stop" | "resume") => {
      const params = { params: { path: { job_id: id } } };
      return ask(word === "stop" ? client.POST("/api/jobs/{job_id}/stop", params) : client.POST("/api/jobs/{job_id}/resume", params));
    },
    onSettled: () => queries.invalidateQueries({ queryKey: ["job", id] }),
  });
  const [logged, log] = useDisclosure();
  const steps = stepsOf(story);
  const report = reportOf(story);
  if (job.isPending) return <Waiting />;
  if (!job.data) {
    return (
      <Page title={id}>
        <Failed error={job.error} retry={() => void job.refetch()} />
      </Page>
    );
  }
  const { state } = job.data;
  return (
    <Page
      title={id}
      about={`${job.data.task}, made ${when(job.data.created)}`}
      side={
        <Group gap="xs">
          <State is={state} />
          {LIVE.includes(state) && (
            <Button size="xs" color="red" variant="light" onClick={() => move.mutate("stop")} loading={move.isPending}>
              Stop
            </Button>
          )}
          {["stopped", "interrupted", "failed"].includes(state) && (
            <Button size="xs" onClick={() => move.mutate("resume")} loading={move.isPending}>
              Resume
            </Button>
          )}
          <Button size="xs" variant="default" onClick={log.open}>
            Log
          </Button>
        </Group>
      }
    >
      <Failed error={job.error ?? move.error} />
      {job.data.error && (
        <Alert
          color={state === "failed" ? "red" : "yellow"}
          title={state === "failed" ? "What went wrong" : "It ended early"}
          variant="light"
          role={state === "failed" ? "alert" : "status"}
        >
          <span className="wrap">{job.data.error}</span>
        </Alert>
      )}
      {story.lost && (
        <Alert color="yellow" role="status" variant="light">
          The connection to the server is lost; it is tried again. The job goes on without it.
        </Alert>
      )}
      {job.data.model && (
        <Alert color="green" role="status" variant="light" title={`${job.data.model} ${job.data.task === "evaluate" ? "was compared with its base" : "is registered"}`}>
          <Group gap="md">
            <Anchor component={Link} to={`/models/${job.data.model}`}>See it</Anchor>
            <Anchor component={Link} to={`/compare?right=${job.data.model}`}>Compare it</Anchor>
            <Anchor component={Link} to={`/playground?model=${job.data.model}`}>Talk to it</Anchor>
          </Group>
        </Alert>
      )}
      <Now story={story} steps={steps} live={LIVE.includes(state)} />
      {steps.length > 0 && <Curves steps={steps} looks={looksOf(story)} />}
      {report && (
        <Part title={`${report.set}: ${report.verdict}`}>
          <Text size="sm" mb="md">
            Tuned minus base, with 95 % intervals:{" "}
            {Object.entries(report.differences)
              .map(([name, { value, low, high }]) => `${name} ${signed(value)} [${signed(low)}, ${signed(high)}]`)
              .join("; ")}
          </Text>
          <Samples report={report} />
        </Part>
      )}
      <Events story={story} />
      <Part title="Recipe">
        <Copied text={Object.entries(job.data.spec).filter(([, value]) => value !== null).map(([key, value]) => `${key}: ${JSON.stringify(value)}`).join("\n")} />
      </Part>
      <Modal opened={logged} onClose={log.close} title="What the worker printed" size="xl">
        {logged && <Log id={id} />}
      </Modal>
    </Page>
  );
}

const signed = (value: number) => `${value >= 0 ? "+" : ""}${value.toFixed(2)}`;

function Now({ story, steps, live }: { story: Story; steps: Step[]; live: boolean }) {
  const last = steps.at(-1);
  const stage = story.events.findLast((event) => event?.kind === "stage")?.data["name"];
  const score = story.events.findLast((event) => event?.kind === "score")?.data as { done: number; total: number; what: string } | undefined;
  const evaluating = stage === "evaluate" && score;
  const share = evaluating ? score.done / Math.max(1, score.total) : last ? last.step / last.steps : 0;
  return (
    <Part title="Now" hidden>
      <Stack gap="sm">
        <Text aria-live="polite">
          {live ? (STAGES[String(stage)] ?? "waiting for its turn") : "It has ended."}
          {live && evaluating && `: ${score.what} ${score.done} of ${score.total}`}
        </Text>
        {(last || evaluating) && <Progress value={100 * share} aria-label="How far it is" animated={live} />}
        {last && (
          <SimpleGrid cols={{ base: 2, sm: 4 }}>
            <Value name="step" value={`${count(last.step)} of ${count(last.steps)}`} note={`epoch ${last.epoch.toFixed(2)}`} />
            <Value name="loss" value={last.loss.toFixed(3)} note={`${steps[0]?.loss.toFixed(3) ?? ""} at first`} />
            <Value name="tokens a second" value={count(Math.round(last.tokens_per_second))} note={`${count(last.tokens)} seen`} />
            <Value name="left" value={live && last.step < last.steps ? duration(last.seconds_left) : "nothing"} note={`rate ${last.learning_rate.toExponential(1)}`} />
          </SimpleGrid>
        )}
      </Stack>
    </Part>
  );
}

function Curves({ steps, looks }: { steps: Step[]; looks: Map<number, number> }) {
  const x = steps.map((step) => step.step);
  const losses = [...new Set([...x, ...looks.keys()])].sort((one, other) => one - other);
  const trained = new Map(steps.map((step) => [step.step, step.loss]));
  const over = (label: string, found: Map<number, number>) => ({ label, values: losses.map((at) => found.get(at) ?? null) });
  const line = (label: string, of: (step: Step) => number) => [{ label, values: steps.map(of) }];
  const extra = [...new Set(steps.flatMap((step) => Object.keys(step.metrics ?? {})))];
  return (
    <Part title="Curves">
      <SimpleGrid cols={{ base: 1, md: 3 }}>
        <Chart title="Loss by step" x={losses} lines={[over("loss", trained), ...(looks.size ? [over("of rows not trained on", looks)] : [])]} />
        <Chart title="Learning rate by step" x={x} lines={line("rate", (step) => step.learning_rate)} />
        <Chart title="Tokens a second by step" x={x} lines={line("tokens a second", (step) => step.tokens_per_second)} />
        {extra.map((name) => (
          <Chart key={name} title={`${name} by step`} x={x} lines={[{ label: name, values: steps.map((step) => step.metrics?.[name] ?? null) }]} />
        ))}
      </SimpleGrid>
    </Part>
  );
}

function Events({ story }: { story: Story }) {
  const told = story.events.filter((event) => event && ["note", "error", "stage", "data", "checkpoint", "model"].includes(event.kind));
  const said = (event: Story["events"][number]) => {
    const { kind, data } = event;
    if (kind === "stage") return `— ${STAGES[String(data["name"])] ?? String(data["name"])}`;
    if (kind === "data") return `${String(data["rows"])} rows of ${String(data["kind"])} data are trained on; ${String(data["questions"])} are asked afterwards (${String(data["set"])}).`;
    if (kind === "checkpoint") return `Checkpoint at step ${String(data["step"])}.`;
    if (kind === "model") return `Registered ${String(data["id"])}.`;
    return String(data["text"] ?? [data["what"], data["why"], data["fix"]].filter(Boolean).join(" "));
  };
  return (
    <Part title="Story">
      {told.length === 0 ? (
        <Text c="dimmed">Nothing was told yet.</Text>
      ) : (
        <ScrollArea.Autosize mah={320} viewportProps={{ tabIndex: 0, "aria-label": "What the job has told" }}>
          <Stack gap={4}>
            {told.map((event) => (
              <Text key={event.number} size="sm" className="wrap" {...(event.kind === "error" && { c: "red" })}>
                <Text span size="xs" c="dimmed" mr="xs">
                  {event.at ? new Date(event.at).toLocaleTimeString() : ""}
                </Text>
                {said(event)}
              </Text>
            ))}
          </Stack>
        </ScrollArea.Autosize>
      )}
    </Part>
  );
}

function Log({ id }: { id: string }) {
  const log = useQuery({
    queryKey: ["log", id],
    queryFn: () => ask(client.GET("/api/jobs/{job_id}/log", { params: { path: { job_id: id } } })),
    refetchInterval: 3000,
  });
  if (log.error) return <Failed error={log.error} />;
  if (!log.data) return <Waiting />;
  return (
    <>
      {log.data.cut && <Text size="xs" c="dimmed">The end of it.</Text>}
      <Code block tabIndex={0} style={{ maxHeight: "60vh", overflow: "auto" }}>
        {log.data.text || "It has printed nothing."}
      </Code>
    </>
  );
}
