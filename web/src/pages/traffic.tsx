import { Group, SegmentedControl, SimpleGrid, Stack, Tabs } from "@mantine/core";
import { useDebouncedValue } from "@mantine/hooks";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";

import { type Schemas, ask, client } from "../client";
import { Chart } from "../parts/chart";
import { Page, Part } from "../parts/page";
import { Failed, Waiting } from "../parts/said";
import { count, duration } from "../parts/words";
import { type Fields, NO_FILTER, fittingOf } from "./fitting";
import { Log } from "./log";
import { MakeDataset } from "./make-dataset";
import { NameSelect } from "./names";
import { Variants } from "./variants";

export default function Traffic() {
  const [fields, setFields] = useState<Fields>(NO_FILTER);
  const [settled] = useDebouncedValue(fields, 300);
  const [picked, setPicked] = useState<ReadonlySet<string>>(new Set());
  const fitting = fittingOf(settled);
  return (
    <Page title="Traffic" about="What was asked, how fast it was answered, and what people said of it." side={<MakeDataset picked={picked} fitting={fitting} />}>
      <Tabs defaultValue="log" keepMounted={false}>
        <Tabs.List mb="md">
          <Tabs.Tab value="log">Log</Tabs.Tab>
          <Tabs.Tab value="curves">Curves</Tabs.Tab>
          <Tabs.Tab value="variants">Variants</Tabs.Tab>
        </Tabs.List>
        <Tabs.Panel value="log">
          <Log fields={fields} setFields={setFields} fitting={fitting} picked={picked} pick={setPicked} />
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
