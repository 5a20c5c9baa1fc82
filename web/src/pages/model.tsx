import { Alert, Anchor, Button, Group, List, Modal, Stack, Table, Tabs, Text } from "@mantine/core";
import { useDisclosure } from "@mantine/hooks";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { Link, useNavigate, useParams } from "react-router";

import { type Schemas, ask, client } from "../client";
import { Copied } from "../parts/copy";
import { Page, Part } from "../parts/page";
import { Failed, Waiting } from "../parts/said";
import { State } from "../parts/state";
import { when } from "../parts/words";
import { Rows } from "../parts/rows";
import { Lineage } from "./lineage";
import { models } from "../client/queries";
import { Samples } from "./samples";

type Detail = Schemas["ModelDetail"];
type Stage = Schemas["Stage"];
type Format = Schemas["ExportRequest"]["format"];

const STAGES: Stage[] = ["candidate", "production", "archived"];
const FORMATS: Format[] = ["gguf-q8_0", "gguf-q4_0", "gguf-f16", "safetensors"];

export default function Model() {
  const { id = "" } = useParams();
  const found = useQuery({
    queryKey: ["model", id],
    queryFn: () => ask(client.GET("/api/models/{model_id}", { params: { path: { model_id: id } } })),
    refetchInterval: (query) => (query.state.data?.exporting.length ? 1500 : false),
  });
  const all = useQuery(models);
  if (found.isPending) return <Waiting />;
  if (!found.data) {
    return (
      <Page title={id}>
        <Failed error={found.error} retry={() => void found.refetch()} />
      </Page>
    );
  }
  // The same type, which the client's mapping of pairs has changed.
  const detail = found.data as Detail;
  const { model } = detail;
  const kin = (all.data?.data ?? []).filter((each) => each.name === model.name || each.parent === model.id || each.id === model.parent);
  return (
    <Page
      title={model.id}
      about={`${model.method} on ${model.parent}, made ${when(model.created)}`}
      side={
        <Group gap="xs">
          <State is={model.stage} />
          <Button size="xs" variant="default" component={Link} to={`/playground?model=${model.id}`}>
            Talk to it
          </Button>
          <Button size="xs" variant="default" component={Link} to={`/compare?right=${model.id}`}>
            Compare it
          </Button>
        </Group>
      }
    >
      <Tabs defaultValue="scores" keepMounted={false}>
        <Tabs.List mb="md">
          <Tabs.Tab value="scores">Scores</Tabs.Tab>
          <Tabs.Tab value="stage">Stage</Tabs.Tab>
          <Tabs.Tab value="lineage">Lineage</Tabs.Tab>
          <Tabs.Tab value="card">Card</Tabs.Tab>
          <Tabs.Tab value="exports">Exports</Tabs.Tab>
        </Tabs.List>
        <Tabs.Panel value="scores">
          <Scores model={model} />
        </Tabs.Panel>
        <Tabs.Panel value="stage">
          <Stages detail={detail} />
        </Tabs.Panel>
        <Tabs.Panel value="lineage">
          <Stack>
            <Part title="Where it comes from">
              <Lineage models={kin.length ? kin : [model]} />
            </Part>
            <Part title="Facts">
              <Facts model={model} />
            </Part>
          </Stack>
        </Tabs.Panel>
        <Tabs.Panel value="card">
          <Part title="Model card">
            <Copied text={detail.card || "It has none."} />
          </Part>
        </Tabs.Panel>
        <Tabs.Panel value="exports">
          <Exports detail={detail} />
        </Tabs.Panel>
      </Tabs>
    </Page>
  );
}

function Scores({ model }: { model: Schemas["ShownModel"] }) {
  if (!model.report) {
    return (
      <Alert variant="light" title="Not compared with its base">
        A suite does that: under <Anchor component={Link} to={`/compare?right=${model.id}`}>Compare</Anchor>.
      </Alert>
    );
  }
  const { report, rows, columns, sentence } = model.report;
  return (
    <Stack>
      <Part title={`${report.set}: ${report.verdict}`} side={<State is={report.verdict} />}>
        <Text mb="sm">{sentence}</Text>
        <Rows minWidth={420} label="Scores" head={["Score", ...columns, "Difference [95 % interval]"]}>
          {rows.map(([name, base, tuned, difference]) => (
            <Table.Tr key={name}>
              <Table.Th scope="row" fw={500}>
                {name}
              </Table.Th>
              <Table.Td>{base}</Table.Td>
              <Table.Td>{tuned}</Table.Td>
              <Table.Td>{difference}</Table.Td>
            </Table.Tr>
          ))}
        </Rows>
      </Part>
      <Part title="Answers">
        <Samples report={report} />
      </Part>
    </Stack>
  );
}

function Stages({ detail }: { detail: Detail }) {
  const { model, changes, standing, endpoints } = detail;
  const queries = useQueryClient();
  const go = useNavigate();
  const [wanted, setWanted] = useState<Stage | null>(null);
  const [deleting, ask2] = useDisclosure();
  const path = { params: { path: { model_id: model.id } } };
  const move = useMutation({
    mutationFn: (stage: Stage) => ask(client.PUT("/api/models/{model_id}/stage", { ...path, body: { stage } })),
    onSuccess: async () => {
      setWanted(null);
      await queries.invalidateQueries({ queryKey: ["model"] });
      await queries.invalidateQueries({ queryKey: ["models"] });
    },
  });
  const remove = useMutation({
    mutationFn: () => ask(client.DELETE("/api/models/{model_id}", path)),
    onSuccess: async () => {
      await queries.invalidateQueries({ queryKey: ["models"] });
      await go("/models");
    },
  });
  const breaks = [
    ...(model.stage === "production" ? [`It is in production: ${model.name} answers with it. Archive it first.`] : []),
    ...standing.map((each) => `${each} stands on it and could not answer. Delete that first.`),
    ...endpoints.map((each) => `The endpoint ${each} names it and would fail.`),
  ];
  return (
    <Stack>
      <Part title="What it is trusted with">
        <Group>
          {STAGES.filter((stage) => stage !== model.stage).map((stage) => (
            <Button key={stage} variant={stage === "production" ? "filled" : "default"} onClick={() => setWanted(stage)}>
              {stage === "production" ? "Promote to production" : stage === "archived" ? "Archive" : "Make it a candidate"}
            </Button>
          ))}
          <Button color="red" variant="light" onClick={ask2.open}>
            Delete
          </Button>
        </Group>
      </Part>
      <Part title="Who moved it">
        {changes.length === 0 ? (
          <Text c="dimmed">Nobody yet; it came as a candidate.</Text>
        ) : (
          <List size="sm">
            {changes.map((each) => (
              <List.Item key={each.at}>
                {each.before} → {each.after} by {each.by ?? "somebody at this machine"}, {when(each.at)}
              </List.Item>
            ))}
          </List>
        )}
      </Part>
      <Modal opened={wanted !== null} onClose={() => setWanted(null)} title={`${model.id} becomes ${wanted ?? ""}`}>
        <Stack>
          <Text size="sm">
            {wanted === "production"
              ? `Whoever asks for ${model.name} is answered by this version from now on. The version before becomes a candidate.`
              : wanted === "archived"
                ? `${model.name} no longer answers with it; ${model.id} does.`
                : `${model.name} answers with another version if one is in production.`}
          </Text>
          <Failed error={move.error} />
          <Group justify="flex-end">
            <Button variant="default" onClick={() => setWanted(null)}>
              Leave it
            </Button>
            <Button loading={move.isPending} onClick={() => wanted && move.mutate(wanted)} data-autofocus>
              Yes, make it {wanted}
            </Button>
          </Group>
        </Stack>
      </Modal>
      <Modal opened={deleting} onClose={ask2.close} title={`Delete ${model.id} for ever?`}>
        <Stack>
          {breaks.length === 0 ? (
            <Text size="sm">Nothing else needs it. Its files and its record go; its number is never given again.</Text>
          ) : (
            <Alert color="red" title="This would break" variant="light">
              <List size="sm">
                {breaks.map((each) => (
                  <List.Item key={each}>{each}</List.Item>
                ))}
              </List>
            </Alert>
          )}
          <Failed error={remove.error} />
          <Group justify="flex-end">
            <Button variant="default" onClick={ask2.close}>
              Keep it
            </Button>
            <Button color="red" loading={remove.isPending} disabled={model.stage === "production" || standing.length > 0} onClick={() => remove.mutate()}>
              Delete
            </Button>
          </Group>
        </Stack>
      </Modal>
    </Stack>
  );
}

function Facts({ model }: { model: Schemas["ShownModel"] }) {
  const rows: [string, React.ReactNode][] = [
    ["base", `${model.base} (${model.base_source})`],
    ["trained from", model.parent],
    ["data", model.data || "nobody knows: it was imported"],
    ["sha256 of the data", model.data_sha256 || "unknown"],
    ["kind", model.adapter ? "an adapter over its base" : "a whole model"],
    ["job", model.job ? <Anchor key="job" component={Link} to={`/train/${model.job}`}>{model.job}</Anchor> : "none: it was imported"],
  ];
  return (
    <Table withRowBorders={false}>
      <Table.Tbody>
        {rows.map(([name, value]) => (
          <Table.Tr key={name}>
            <Table.Th scope="row" fw={500} w={170}>
              {name}
            </Table.Th>
            <Table.Td className="wrap">{value}</Table.Td>
          </Table.Tr>
        ))}
      </Table.Tbody>
    </Table>
  );
}

function Exports({ detail }: { detail: Detail }) {
  const { model, exporting, export_failures } = detail;
  const queries = useQueryClient();
  const begin = useMutation({
    mutationFn: (format: Format) => ask(client.POST("/api/models/{model_id}/exports", { params: { path: { model_id: model.id } }, body: { format } })),
    onSettled: () => queries.invalidateQueries({ queryKey: ["model", model.id] }),
  });
  const made = model.exports as Record<string, { path: string; mean_difference: number; agreement: number } | undefined>;
  return (
    <Part title="For other programs">
      <Failed error={begin.error} />
      <Stack gap="sm">
        {FORMATS.map((format) => {
          const done = made[format];
          return (
            <Group key={format} justify="space-between" gap="xs">
              <div style={{ minWidth: 0, flex: 1 }}>
                <Text fw={500}>{format}</Text>
                {done && (
                  <Text size="xs" c="dimmed" className="wrap">
                    {done.path}; differs by {done.mean_difference.toFixed(4)} nats on average, the first token agrees on {Math.round(done.agreement * 100)} % of the prompts
                  </Text>
                )}
                {export_failures[format] && (
                  <Text size="xs" c="red" className="wrap">
                    {export_failures[format]}
                  </Text>
                )}
              </div>
              {done && format !== "safetensors" && (
                <Anchor href={`/api/models/${encodeURIComponent(model.id)}/exports/${format}`} download size="sm">
                  Download
                </Anchor>
              )}
              {!done && (
                <Button size="xs" variant="default" loading={exporting.includes(format)} onClick={() => begin.mutate(format)}>
                  Write it
                </Button>
              )}
            </Group>
          );
        })}
      </Stack>
    </Part>
  );
}
