import { Anchor, Button, Group, List, Select, SimpleGrid, Stack, Text, Timeline } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { Link, useNavigate } from "react-router";

import { type Schemas, upload } from "../client";
import { catalogue, overview } from "../client/queries";
import { Drop } from "../parts/drop";
import { Page, Part } from "../parts/page";
import { Empty, Failed, Waiting } from "../parts/said";
import { State } from "../parts/state";
import { bytes, count, plural, when } from "../parts/words";

export default function Home() {
  const now = useQuery(overview);
  if (now.isPending) return <Waiting />;
  const fresh = now.data && now.data.jobs === 0 && now.data.models === 0;
  return (
    <Page title="Home" about={fresh ? "Nothing was made here yet: three steps to a model of your own." : "What runs, what waits, and what went wrong last."}>
      <Failed error={now.error} retry={() => void now.refetch()} />
      {fresh && <Start />}
      {now.data && <Now now={now.data} />}
    </Page>
  );
}

function Start() {
  const go = useNavigate();
  const known = useQuery(catalogue);
  const [base, setBase] = useState("smollm2-135m-instruct-q4_1");
  const [file, setFile] = useState<Schemas["FileObject"] | null>(null);
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<unknown>(null);
  const take = async (chosen: File) => {
    setBusy(true);
    setError(null);
    try {
      setFile(await upload(chosen));
    } catch (failed) {
      setError(failed);
    } finally {
      setBusy(false);
    }
  };
  const bases = [...new Set([base, ...(known.data?.data ?? []).filter((each) => each.train.lora).map((each) => each.id)])];
  return (
    <Part title="Start here">
      <Timeline active={file ? 1 : -1} bulletSize={30} lineWidth={2}>
        <Timeline.Item title="Drop a file" bullet="1">
          <Stack gap="xs" py="xs">
            {file ? (
              <Text size="sm">
                {file.filename}, {bytes(file.bytes)}
              </Text>
            ) : (
              <Drop take={(chosen) => void take(chosen)} busy={busy} />
            )}
            <Failed error={error} />
          </Stack>
        </Timeline.Item>
        <Timeline.Item title="Pick a base" bullet="2">
          <Select aria-label="Base" data={bases} value={base} onChange={(value) => value && setBase(value)} maw={360} py="xs" />
        </Timeline.Item>
        <Timeline.Item title="Go" bullet="3">
          <Group py="xs">
            <Button disabled={!file} onClick={() => file && void go(`/data/file?${new URLSearchParams({ file: file.id, model: base })}`)}>
              Check the file
            </Button>
            <Button
              variant="default"
              disabled={!file}
              onClick={() => file && void go(`/train?${new URLSearchParams({ data: file.id, model: base })}`)}
            >
              Train
            </Button>
          </Group>
        </Timeline.Item>
      </Timeline>
    </Part>
  );
}

function Now({ now }: { now: Schemas["Overview"] }) {
  return (
    <>
      <SimpleGrid cols={{ base: 2, md: 4 }}>
        <Figure name="tokens a second" value={now.tokens_per_second.toFixed(1)} note="in the last minute" />
        <Figure name="requests" value={count(now.requests_last_hour)} note={`${plural(now.errors_last_hour, "error")} in the last hour`} />
        <Figure name="models" value={count(now.models)} note={plural(now.files, "file")} to="/models" />
        <Figure name="jobs" value={count(now.jobs)} note={`${count(now.waiting.length)} waiting`} to="/train" />
      </SimpleGrid>
      <SimpleGrid cols={{ base: 1, md: 2 }}>
        <Part title="Running and waiting">
          {now.running.length + now.waiting.length === 0 ? (
            <Empty action={<Button component={Link} to="/train" variant="default">Train a model</Button>}>No job runs.</Empty>
          ) : (
            <Stack gap="sm">
              {[...now.running, ...now.waiting].map((job) => (
                <Group key={job.id} justify="space-between">
                  <Anchor component={Link} to={`/train/${job.id}`}>
                    {job.id}
                  </Anchor>
                  <State is={job.state} />
                </Group>
              ))}
            </Stack>
          )}
        </Part>
        <Part title="Served now">
          {now.served.length === 0 ? (
            <Empty>No engine runs. One starts with the first request.</Empty>
          ) : (
            <List spacing="xs" size="sm">
              {now.served.map((each) => (
                <List.Item key={each.model + each.engine}>
                  <Text size="sm">{each.model}</Text>
                  <Text size="xs" c="dimmed">
                    {each.engine}, {bytes(each.memory_bytes)}, {plural(each.answering, "answer")} under way
                    {each.adapters.length > 0 && `; ${each.adapters.join(", ")}`}
                  </Text>
                </List.Item>
              ))}
            </List>
          )}
        </Part>
      </SimpleGrid>
      <Part title="What went wrong last">
        {now.troubles.length === 0 ? (
          <Empty>Nothing.</Empty>
        ) : (
          <Stack gap="sm">
            {now.troubles.map((each) => (
              <div key={`${each.at}${each.job ?? each.request ?? ""}`}>
                <Text size="sm" lineClamp={3} className="wrap">
                  {each.what}
                </Text>
                <Text size="xs" c="dimmed">
                  {when(each.at)}{" "}
                  {each.job && (
                    <Anchor size="xs" component={Link} to={`/train/${each.job}`}>
                      {each.job}
                    </Anchor>
                  )}
                </Text>
              </div>
            ))}
          </Stack>
        )}
      </Part>
    </>
  );
}

function Figure({ name, value, note, to }: { name: string; value: string; note: string; to?: string }) {
  return (
    <Part title={name} hidden>
      <Text size="xl" fw={700}>
        {value}
      </Text>
      <Text size="sm">{to ? <Anchor component={Link} to={to} size="sm">{name}</Anchor> : name}</Text>
      <Text size="xs" c="dimmed">
        {note}
      </Text>
    </Part>
  );
}
