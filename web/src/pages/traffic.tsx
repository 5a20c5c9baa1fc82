import { Alert, Button, Drawer, Group, Modal, SegmentedControl, Select, SimpleGrid, Stack, Table, Tabs, Text, TextInput, Textarea } from "@mantine/core";
import { useDebouncedValue, useDisclosure } from "@mantine/hooks";
import { useInfiniteQuery, useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useVirtualizer } from "@tanstack/react-virtual";
import { useEffect, useMemo, useRef, useState } from "react";
import { useNavigate } from "react-router";

import { type Schemas, ask, client } from "../client";
import { feedback } from "../client/queries";
import { Chart } from "../parts/chart";
import { Copied } from "../parts/copy";
import { Page, Part } from "../parts/page";
import { Empty, Failed, Waiting } from "../parts/said";
import { count, duration, when } from "../parts/words";
import { NameSelect } from "./names";

type Row = Schemas["ShownRequest"];
const PAGE = 500;

export default function Traffic() {
  return (
    <Page title="Traffic" about="What was asked, how fast it was answered, and what people said of it." side={<MakeDataset />}>
      <Tabs defaultValue="log" keepMounted={false}>
        <Tabs.List mb="md">
          <Tabs.Tab value="log">Log</Tabs.Tab>
          <Tabs.Tab value="curves">Curves</Tabs.Tab>
          <Tabs.Tab value="variants">Variants</Tabs.Tab>
        </Tabs.List>
        <Tabs.Panel value="log">
          <Log />
        </Tabs.Panel>
        <Tabs.Panel value="curves">
          <Curves />
        </Tabs.Panel>
        <Tabs.Panel value="variants">
          <Variants />
        </Tabs.Panel>
      </Tabs>
    </Page>
  );
}

function Log() {
  const [words, setWords] = useState("");
  const [model, setModel] = useState("");
  const [status, setStatus] = useState("");
  const [key, setKey] = useState("");
  const [variant, setVariant] = useState("");
  const [filters] = useDebouncedValue({ contains: words.trim(), model, status: status.trim(), key: key.trim(), variant: variant.trim() }, 300);
  const [chosen, setChosen] = useState<Row | null>(null);
  const query = useMemo(
    () => ({
      ...(filters.contains && { contains: filters.contains }),
      ...(filters.model && { model: filters.model }),
      ...(/^\d+$/.test(filters.status) && { status: Number(filters.status) }),
      ...(filters.key && { key: filters.key }),
      ...(filters.variant && { variant: filters.variant }),
      bodies: false,
      limit: PAGE,
    }),
    [filters],
  );
  const log = useInfiniteQuery({
    queryKey: ["log", query],
    queryFn: ({ pageParam }) => ask(client.GET("/api/requests", { params: { query: { ...query, ...(pageParam && { before: pageParam }) } } })),
    initialPageParam: "",
    getNextPageParam: (page) => (page.has_more ? page.last_id : undefined),
    maxPages: 40,
  });
  const rows = useMemo(() => log.data?.pages.flatMap((page) => page.data) ?? [], [log.data]);
  return (
    <Stack>
      <SimpleGrid cols={{ base: 2, md: 5 }} spacing="sm">
        <TextInput label="Words" placeholder="in question or answer" value={words} onChange={(event) => setWords(event.currentTarget.value)} />
        <NameSelect label="Answered by" value={model} set={setModel} clearable />
        <TextInput label="Status" placeholder="200" inputMode="numeric" value={status} onChange={(event) => setStatus(event.currentTarget.value)} />
        <TextInput label="Key" placeholder="key-…" value={key} onChange={(event) => setKey(event.currentTarget.value)} />
        <TextInput label="Variant" value={variant} onChange={(event) => setVariant(event.currentTarget.value)} />
      </SimpleGrid>
      <Failed error={log.error} retry={() => void log.refetch()} />
      {log.isPending ? (
        <Waiting />
      ) : rows.length === 0 && !log.error ? (
        <Empty>No request fits. Words are found only where the log keeps them: PUMICE_LOG_BODIES=1.</Empty>
      ) : (
        <Rows rows={rows} more={log.hasNextPage} busy={log.isFetchingNextPage} fetchMore={() => void log.fetchNextPage()} choose={setChosen} refresh={() => void log.refetch()} />
      )}
      <Drawer opened={chosen !== null} onClose={() => setChosen(null)} position="right" size="lg" title={chosen?.id ?? ""} styles={{ title: { overflowWrap: "anywhere" } }}>
        {chosen && <Whole id={chosen.id} key={chosen.id} />}
      </Drawer>
    </Stack>
  );
}

function Rows({ rows, more, busy, fetchMore, choose, refresh }: { rows: Row[]; more: boolean; busy: boolean; fetchMore: () => void; choose: (row: Row) => void; refresh: () => void }) {
  const place = useRef<HTMLDivElement>(null);
  // eslint-disable-next-line react-hooks/incompatible-library -- The library says itself when to draw.
  const virtual = useVirtualizer({ count: rows.length, getScrollElement: () => place.current, estimateSize: () => 36, overscan: 12 });
  const items = virtual.getVirtualItems();
  const last = items.at(-1)?.index ?? 0;
  useEffect(() => {
    if (more && !busy && last >= rows.length - 20) fetchMore();
  }, [last, rows.length, more, busy, fetchMore]);
  return (
    <Part title="Requests" side={<Button size="compact-xs" variant="default" onClick={refresh}>Refresh</Button>}>
      <Text size="xs" c="dimmed" mb={4} role="status">
        {count(rows.length)} {more ? "read so far" : "in all"}
        {busy && ", reading on …"}
      </Text>
      <div ref={place} style={{ height: 460, overflow: "auto" }} tabIndex={0} role="group" aria-label="Requests, the newest first">
        <div style={{ minWidth: 740 }}>
          <div className="log-row" style={{ position: "sticky", top: 0, zIndex: 1, height: 32, background: "var(--mantine-color-body)", fontWeight: 600 }}>
            <span>When</span>
            <span>What</span>
            <span>Model</span>
            <span>Status</span>
            <span>Tokens</span>
            <span>First</span>
            <span>Took</span>
          </div>
          <div style={{ height: virtual.getTotalSize(), position: "relative" }}>
            {items.map((item) => {
              const row = rows[item.index];
              if (!row) return null;
              return (
                <button
                  type="button"
                  key={row.id}
                  className="log-row"
                  style={{ position: "absolute", top: 0, height: item.size, transform: `translateY(${item.start}px)` }}
                  onClick={() => choose(row)}
                >
                  <span>{new Date(row.at).toLocaleString(undefined, { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit" })}</span>
                  <span>{row.operation}</span>
                  <span>{row.model || row.asked}</span>
                  <span style={row.status >= 400 ? { color: "var(--mantine-color-error)" } : {}}>{row.status}</span>
                  <span>
                    {count(row.input_tokens)} → {count(row.output_tokens)}
                  </span>
                  <span>{row.first_token_seconds === null ? "" : duration(row.first_token_seconds)}</span>
                  <span>{duration(row.seconds)}</span>
                </button>
              );
            })}
          </div>
        </div>
      </div>
    </Part>
  );
}

function Whole({ id }: { id: string }) {
  const found = useQuery({
    queryKey: ["request", id],
    queryFn: () => ask(client.GET("/api/requests/{request_id}", { params: { path: { request_id: id } } })),
  });
  if (found.error) return <Failed error={found.error} retry={() => void found.refetch()} />;
  return found.data ? <One row={found.data} /> : <Waiting />;
}

function One({ row }: { row: Row }) {
  const said = useQuery(feedback);
  const queries = useQueryClient();
  const before = said.data?.data.find((each) => each.request === row.id);
  const answer = answerOf(row);
  const [edit, setEdit] = useState<string | null>(null);
  const say = useMutation({
    mutationFn: (thumb: "up" | "down" | null) =>
      ask(client.POST("/api/feedback", { body: { request: row.id, thumb, edit: (edit ?? before?.edit) || null } })),
    onSettled: () => queries.invalidateQueries({ queryKey: ["feedback"] }),
  });
  return (
    <Stack>
      <Text size="sm">
        {when(row.at)}; {row.operation}; asked {row.asked}, answered by {row.model || "nobody"}
        {row.variant && ` as ${row.variant}`}; status {row.status}; {row.key ? `key ${row.key}` : "no key"}
      </Text>
      {row.request === null ? (
        <Alert variant="light" title="Its words were not kept">
          Start the server with PUMICE_LOG_BODIES=1 to keep them.
        </Alert>
      ) : (
        <>
          <Group>
            <Button variant={before?.thumb === "up" ? "filled" : "default"} size="xs" aria-pressed={before?.thumb === "up"} onClick={() => say.mutate("up")}>
              Good answer
            </Button>
            <Button variant={before?.thumb === "down" ? "filled" : "default"} size="xs" color="red" aria-pressed={before?.thumb === "down"} onClick={() => say.mutate("down")}>
              Bad answer
            </Button>
          </Group>
          {answer !== null && (
            <>
              <Textarea label="The answer as it should have been" value={edit ?? before?.edit ?? answer} onChange={(event) => setEdit(event.currentTarget.value)} autosize minRows={3} maxRows={12} />
              <Group>
                <Button size="xs" disabled={edit === null || edit === answer} loading={say.isPending} onClick={() => say.mutate(before?.thumb ?? null)}>
                  Keep the edit
                </Button>
                {before?.edit && <Text size="xs" c="dimmed">An edit is kept.</Text>}
              </Group>
            </>
          )}
          <Failed error={say.error} />
          <Text fw={600}>Asked</Text>
          <Copied text={JSON.stringify(row.request, null, 2)} />
          <Text fw={600}>Answered</Text>
          <Copied text={JSON.stringify(row.response, null, 2)} />
        </>
      )}
    </Stack>
  );
}

export function answerOf(row: Row): string | null {
  const response = row.response as { choices?: { message?: { content?: unknown } }[] } | null | undefined;
  const text = response?.choices?.[0]?.message?.content;
  return typeof text === "string" ? text : null;
}

function Curves() {
  const [hours, setHours] = useState("24");
  const [model, setModel] = useState("");
  const found = useQuery({
    queryKey: ["traffic", hours, model],
    queryFn: () => ask(client.GET("/api/traffic", { params: { query: { hours: Number(hours), ...(model && { model }) } } })),
    refetchInterval: 15_000,
  });
  if (found.error) return <Failed error={found.error} retry={() => void found.refetch()} />;
  const points = found.data?.data ?? [];
  const x = points.map((point) => Date.parse(point.at) / 1000);
  const line = (label: string, of: (point: Schemas["Point"]) => number | undefined) => ({ label, values: points.map((point) => of(point as Schemas["Point"]) ?? null) });
  const busy = (of: (point: Schemas["Point"]) => number | undefined) => (point: Schemas["Point"]) => (point.requests ? of(point) : undefined);
  return (
    <Stack>
      <Group align="flex-end">
        <SegmentedControl
          aria-label="How far back"
          value={hours}
          onChange={setHours}
          data={[
            { value: "1", label: "1 hour" },
            { value: "24", label: "1 day" },
            { value: "168", label: "1 week" },
          ]}
        />
        <NameSelect label="Model" value={model} set={setModel} clearable />
      </Group>
      {!found.data ? (
        <Waiting />
      ) : (
        <SimpleGrid cols={{ base: 1, md: 2 }}>
          <Part title="requests" hidden>
            <Chart time title="Requests" x={x} lines={[line("requests", (point) => point.requests), line("errors", (point) => point.errors)]} />
          </Part>
          <Part title="tokens" hidden>
            <Chart time title="Tokens" x={x} lines={[line("read", (point) => point.input_tokens), line("written", (point) => point.output_tokens)]} format={count} />
          </Part>
          <Part title="latency" hidden>
            <Chart time title="Time to the whole answer" x={x} lines={[line("median", busy((point) => point.seconds[0])), line("95 of 100 within", busy((point) => point.seconds[1]))]} format={duration} />
          </Part>
          <Part title="first token" hidden>
            <Chart time title="Time to the first token" x={x} lines={[line("median", busy((point) => point.first_token_seconds[0])), line("95 of 100 within", busy((point) => point.first_token_seconds[1]))]} format={duration} />
          </Part>
        </SimpleGrid>
      )}
    </Stack>
  );
}

function Variants() {
  const found = useQuery({ queryKey: ["variants"], queryFn: () => ask(client.GET("/api/variants")) });
  if (found.error) return <Failed error={found.error} />;
  if (!found.data) return <Waiting />;
  if (found.data.data.length === 0) return <Empty>No endpoint has variants. SageMaker's create_endpoint_config and create_endpoint make one.</Empty>;
  const total = (endpoint: string) => found.data.data.filter((each) => each.endpoint === endpoint).reduce((sum, each) => sum + each.weight, 0) || 1;
  return (
    <Part title="Variants and their weights">
      <Table>
        <Table.Thead>
          <Table.Tr>
            {["Endpoint", "Variant", "Model", "Weight", "Share"].map((name) => (
              <Table.Th key={name}>{name}</Table.Th>
            ))}
          </Table.Tr>
        </Table.Thead>
        <Table.Tbody>
          {found.data.data.map((each) => (
            <Table.Tr key={each.endpoint + each.variant}>
              <Table.Td>{each.endpoint}</Table.Td>
              <Table.Td>{each.variant}</Table.Td>
              <Table.Td>{each.model}</Table.Td>
              <Table.Td>{each.weight}</Table.Td>
              <Table.Td>{Math.round((100 * each.weight) / total(each.endpoint))} %</Table.Td>
            </Table.Tr>
          ))}
        </Table.Tbody>
      </Table>
    </Part>
  );
}

function MakeDataset() {
  const [open, dialog] = useDisclosure();
  const [kind, setKind] = useState<"preference" | "instruction">("preference");
  const [name, setName] = useState("from-traffic");
  const go = useNavigate();
  const queries = useQueryClient();
  const make = useMutation({
    mutationFn: () => ask(client.POST("/api/datasets", { body: { kind, name } })),
    onSuccess: async (file) => {
      await queries.invalidateQueries({ queryKey: ["files"] });
      await go(`/data/file?${new URLSearchParams({ file: file.id })}`);
    },
  });
  return (
    <>
      <Button variant="default" onClick={dialog.open}>
        Make a data set
      </Button>
      <Modal opened={open} onClose={dialog.close} title="A data set of these">
        <Stack>
          <Select
            label="Kind"
            data={[
              { value: "preference", label: "preference: votes and edits, a better and a worse answer" },
              { value: "instruction", label: "instruction: chats with their answers, edited where somebody did" },
            ]}
            value={kind}
            onChange={(value) => value && setKind(value as typeof kind)}
            allowDeselect={false}
          />
          <TextInput label="Name" value={name} onChange={(event) => setName(event.currentTarget.value)} />
          <Failed error={make.error} />
          <Group justify="flex-end">
            <Button loading={make.isPending} disabled={!name.trim()} onClick={() => make.mutate()}>
              Make it
            </Button>
          </Group>
        </Stack>
      </Modal>
    </>
  );
}

