import { Accordion, Alert, Anchor, Button, Checkbox, Divider, Grid, Group, Select, SimpleGrid, Stack, Table, Text, TextInput, VisuallyHidden } from "@mantine/core";
import { useDebouncedValue } from "@mantine/hooks";
import { keepPreviousData, useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useMemo, useState } from "react";
import { Link, useNavigate, useSearchParams } from "react-router";

import { type Schemas, ask, client } from "../client";
import { catalogue, files, jobs, methods, models } from "../client/queries";
import { Copied } from "../parts/copy";
import { Page, Part } from "../parts/page";
import { Empty, Failed, Waiting } from "../parts/said";
import { State } from "../parts/state";
import { bytes, count, duration, when } from "../parts/words";
import { Rows } from "../parts/rows";
import { Knobs } from "./knobs";
import { type Draft, EMPTY, recipeOf } from "./recipe";

const FIRST = ["epochs", "learning_rate", "batch_size", "max_length"];

export default function Train() {
  const known = useQuery(methods);
  return (
    <Page title="Train" about="A recipe, what it takes, and every job.">
      <Failed error={known.error} retry={() => void known.refetch()} />
      {known.isPending && <Waiting />}
      {known.data && <Form known={known.data} />}
      <Jobs />
    </Page>
  );
}

function Form({ known }: { known: Schemas["Methods"] }) {
  const [query] = useSearchParams();
  const [draft, setDraft] = useState<Draft>({
    ...EMPTY,
    data: query.get("data") ?? "",
    model: query.get("model") ?? EMPTY.model,
  });
  const go = useNavigate();
  const queries = useQueryClient();
  const set = (change: Partial<Draft>) => setDraft({ ...draft, ...change });
  const method = known.methods.find((each) => each.name === draft.method);
  const recipe = useMemo(() => recipeOf(draft, known), [draft, known]);
  const [settled] = useDebouncedValue(recipe, 400);
  const estimate = useQuery({
    queryKey: ["estimate", settled],
    queryFn: ({ signal }) => ask(client.POST("/api/estimates", { body: { recipe: settled, task: "run" }, signal })),
    enabled: draft.data !== "",
    placeholderData: keepPreviousData,
  });
  const begin = useMutation({
    mutationFn: () => ask(client.POST("/api/jobs", { body: { recipe, task: "run" } })),
    onSuccess: async (job) => {
      await queries.invalidateQueries({ queryKey: ["jobs"] });
      await go(`/train/${job.id}`);
    },
  });
  const table = (name: string, knobs: Schemas["Knob"][] | undefined) =>
    knobs?.length ? (
      <Accordion.Item value={name} key={name}>
        <Accordion.Control>{name}</Accordion.Control>
        <Accordion.Panel>
          <Knobs knobs={knobs} words={draft.tables[name] ?? {}} change={(words) => set({ tables: { ...draft.tables, [name]: words } })} />
        </Accordion.Panel>
      </Accordion.Item>
    ) : null;
  const few = known.shared.filter((knob) => FIRST.includes(knob.name));
  const rest = known.shared.filter((knob) => !FIRST.includes(knob.name));
  return (
    <Grid gap="md">
      <Grid.Col span={{ base: 12, md: 7 }}>
        <Part title="Recipe">
          <Stack gap="sm">
            <SimpleGrid cols={{ base: 1, xs: 2 }} spacing="sm">
              <DataSelect label="Data" value={draft.data} set={(data) => set({ data })} required />
              <ModelSelect value={draft.model} set={(model) => set({ model })} disabled={draft.method === "pretrain"} />
              <Select
                label="Method"
                data={known.methods.map((each) => each.name)}
                value={draft.method}
                onChange={(value) => value && set({ method: value })}
                allowDeselect={false}
                searchable
              />
              {method?.ways.length ? (
                <Select label="Weights" data={method.ways} value={draft.weights} onChange={(value) => value && set({ weights: value })} allowDeselect={false} />
              ) : (
                <TextInput label="Name" placeholder="that of the data file" value={draft.name} onChange={(event) => set({ name: event.currentTarget.value })} />
              )}
            </SimpleGrid>
            {method && (
              <Text size="sm" c="dimmed">
                {method.trains} It reads {method.reads.join(", ")} data.
              </Text>
            )}
            {method?.ways.length ? (
              <TextInput label="Name" placeholder="that of the data file" value={draft.name} onChange={(event) => set({ name: event.currentTarget.value })} />
            ) : null}
            <Divider label="Knobs; an empty one follows from the data" labelPosition="left" />
            <Knobs knobs={few} words={draft.shared} change={(shared) => set({ shared })} />
            <Accordion variant="contained" multiple>
              {table(draft.method, method?.knobs)}
              {method?.ways.length ? table(draft.weights, known.methods.find((each) => each.name === draft.weights)?.knobs) : null}
              <Accordion.Item value="all others">
                <Accordion.Control>All others</Accordion.Control>
                <Accordion.Panel>
                  <Stack gap="sm">
                    <DataSelect label="Validation" value={draft.validation} set={(validation) => set({ validation })} />
                    <Knobs knobs={rest} words={draft.shared} change={(shared) => set({ shared })} />
                  </Stack>
                </Accordion.Panel>
              </Accordion.Item>
            </Accordion>
            <Failed error={begin.error} />
            <Group>
              <Button onClick={() => begin.mutate()} loading={begin.isPending} disabled={!draft.data || estimate.isError}>
                Start training
              </Button>
              {!draft.data && (
                <Text size="sm" c="dimmed">
                  Choose the data first.
                </Text>
              )}
            </Group>
          </Stack>
        </Part>
      </Grid.Col>
      <Grid.Col span={{ base: 12, md: 5 }}>
        <Stack gap="md">
          <Part title="What it takes">
            {!draft.data ? (
              <Empty>It follows from the data.</Empty>
            ) : estimate.error ? (
              <Failed error={estimate.error} />
            ) : estimate.data ? (
              <Estimate found={estimate.data} old={estimate.isFetching} />
            ) : (
              <Waiting what="Reading the data" />
            )}
          </Part>
          {estimate.data && !estimate.error && (
            <Part title="The same as a file">
              <Copied text={estimate.data.yaml} />
              <Text size="xs" c="dimmed" mt="xs">
                pumice run recipe.yaml does the same, beside the data file.
              </Text>
            </Part>
          )}
        </Stack>
      </Grid.Col>
    </Grid>
  );
}

export function Estimate({ found, old }: { found: Schemas["Estimated"]; old: boolean }) {
  const tight = found.memory_bytes > found.free_bytes;
  const filled = ["epochs", "learning_rate", "batch_size", "gradient_accumulation", "max_length"];
  return (
    <Stack gap="sm" style={{ opacity: old ? 0.6 : 1 }} aria-busy={old}>
      <SimpleGrid cols={2} spacing="xs">
        <Value name="memory" value={bytes(found.memory_bytes)} note={`${bytes(found.free_bytes)} free`} />
        <Value name="time" value={`about ${duration(found.seconds)}`} note="on this machine" />
        <Value name="rows" value={count(found.rows)} note={`${count(found.tokens)} tokens`} />
        <Value name="trained" value={count(found.trainable_parameters)} note="numbers" />
      </SimpleGrid>
      {tight && (
        <Alert color="yellow" title="More than is free" variant="light">
          Lower batch_size or max_length, or close other programs.
        </Alert>
      )}
      <Table withRowBorders={false} verticalSpacing={2}>
        <Table.Tbody>
          {filled.map((key) => (
            <Table.Tr key={key}>
              <Table.Th fw={500} scope="row" fz="sm" style={{ verticalAlign: "top" }}>
                {key}
              </Table.Th>
              <Table.Td>
                {String(found.recipe[key] ?? "")}
                <Text size="xs" c="dimmed">
                  {key in found.reasons ? reason(found.reasons[key] ?? "") : "as set"}
                </Text>
              </Table.Td>
            </Table.Tr>
          ))}
        </Table.Tbody>
      </Table>
      <Table withRowBorders={false} verticalSpacing={2} captionSide="bottom">
        <Table.Caption>The same on a rented GPU, on demand.</Table.Caption>
        <Table.Tbody>
          {found.prices.map((price) => (
            <Table.Tr key={price.machine}>
              <Table.Th fw={500} scope="row">
                {price.gpu}
              </Table.Th>
              <Table.Td>{duration(price.hours * 3600)}</Table.Td>
              <Table.Td>{price.dollars < 0.01 ? "below $0.01" : `$${price.dollars.toFixed(2)}`}</Table.Td>
            </Table.Tr>
          ))}
        </Table.Tbody>
      </Table>
    </Stack>
  );
}

/** Why a default is what it is, without the value that stands beside it. */
const reason = (text: string) => text.replace(/^[\d.,e-]+[;,]? ?/, "");

export function Value({ name, value, note }: { name: string; value: string; note?: string }) {
  return (
    <div>
      <Text size="xs" c="dimmed">
        {name}
      </Text>
      <Text fw={600}>{value}</Text>
      {note && (
        <Text size="xs" c="dimmed">
          {note}
        </Text>
      )}
    </div>
  );
}

export function DataSelect({ label, value, set, required = false }: { label: string; value: string; set: (value: string) => void; required?: boolean }) {
  const kept = useQuery(files);
  const known = (kept.data?.data ?? []).map((file) => ({ value: file.id, label: `${file.filename}, ${when(file.created_at)}` }));
  if (value.startsWith("s3://")) known.unshift({ value, label: value });
  return (
    <Select
      label={label}
      placeholder={known.length ? "Choose a file" : "Upload one under Data"}
      data={known}
      value={value || null}
      onChange={(chosen) => set(chosen ?? "")}
      required={required}
      searchable
      clearable={!required}
      error={kept.error ? kept.error.message : undefined}
      nothingFoundMessage="No such file"
    />
  );
}

export function ModelSelect({
  value,
  set,
  disabled = false,
  label = "Start from",
}: {
  value: string;
  set: (value: string) => void;
  disabled?: boolean;
  label?: string;
}) {
  const known = useQuery(catalogue);
  const made = useQuery(models);
  const own = (made.data?.data ?? []).map((model) => model.id);
  const bases = [...new Set([EMPTY.model, ...(known.data?.data ?? []).filter((each) => each.modality === "text").map((each) => each.id)])];
  const groups = [{ group: "Bases", items: bases }, ...(own.length ? [{ group: "Your models", items: own }] : [])];
  return (
    <Select
      label={label}
      data={groups}
      value={value}
      onChange={(chosen) => chosen && set(chosen)}
      allowDeselect={false}
      searchable
      disabled={disabled}
      nothingFoundMessage="No such model"
    />
  );
}

function Jobs() {
  const found = useQuery(jobs);
  const [chosen, setChosen] = useState<string[]>([]);
  const go = useNavigate();
  const rows = found.data?.data ?? [];
  return (
    <Part
      title="Jobs"
      side={
        <Button
          size="compact-sm"
          variant="default"
          disabled={chosen.length < 2}
          onClick={() => void go(`/train/overlay?${new URLSearchParams(chosen.map((id) => ["job", id]))}`)}
        >
          Lay curves over each other
        </Button>
      }
    >
      <Failed error={found.error} retry={() => void found.refetch()} />
      {found.isPending && <Waiting />}
      {found.data && rows.length === 0 && <Empty>There is no job yet.</Empty>}
      {rows.length > 0 && (
        <Rows
          minWidth={560}
          label="Jobs"
          head={[
            <VisuallyHidden key="choose">Choose</VisuallyHidden>,
            "Job",
            "State",
            "Made",
            "Model, or what went wrong",
          ]}
        >
          {rows.map((job) => (
            <Table.Tr key={job.id}>
              <Table.Td>
                <Checkbox
                  size="xs"
                  aria-label={`Choose ${job.id}`}
                  checked={chosen.includes(job.id)}
                  onChange={(event) => setChosen(event.currentTarget.checked ? [...chosen, job.id] : chosen.filter((id) => id !== job.id))}
                />
              </Table.Td>
              <Table.Td>
                <Anchor component={Link} to={`/train/${job.id}`} size="sm">
                  {job.id}
                </Anchor>
                <Text size="xs" c="dimmed">
                  {job.task === "run" ? String(job.spec["method"] ?? "") : job.task}
                </Text>
              </Table.Td>
              <Table.Td>
                <State is={job.state} />
              </Table.Td>
              <Table.Td fz="sm">{when(job.created)}</Table.Td>
              <Table.Td fz="sm">
                {job.model ? (
                  <Anchor component={Link} to={`/models/${job.model}`} size="sm">
                    {job.model}
                  </Anchor>
                ) : (
                  <Text size="sm" lineClamp={2}>
                    {job.error}
                  </Text>
                )}
              </Table.Td>
            </Table.Tr>
          ))}
        </Rows>
      )}
    </Part>
  );
}
