// How the server is set, how long its log keeps a request, and what takes the disk.
import { Alert, Button, Code, Group, Modal, Stack, Table, Text, TextInput } from "@mantine/core";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";

import { type Schemas, ask, client } from "../client";
import { Part } from "../parts/page";
import { Failed, Waiting } from "../parts/said";
import { bytes, plural } from "../parts/words";
import { limitOf } from "./limits";

/** Days; the server takes no more. */
const MOST = 36_500;

export function Server() {
  const found = useQuery({ queryKey: ["settings"], queryFn: () => ask(client.GET("/api/settings")) });
  if (found.error) return <Failed error={found.error} retry={() => void found.refetch()} />;
  if (!found.data) return <Waiting />;
  const { data } = found;
  const rows: [string, string, string][] = [
    ["Home", data.home, "PUMICE_HOME"],
    ["Records", data.database, "PUMICE_DATABASE"],
    ["The log keeps words", data.log_bodies ? "yes" : "no", "PUMICE_LOG_BODIES"],
    ["Engine", data.engine || "by each model's files", "PUMICE_ENGINE"],
    ["Precision", data.quant, "PUMICE_QUANT"],
    ["An engine ends when idle for", data.idle_seconds === null ? "never" : `${data.idle_seconds} s`, "PUMICE_IDLE_SECONDS"],
  ];
  return (
    <Stack>
      <Part title="How it is set">
        <Table>
          <Table.Tbody>
            {rows.map(([name, value, variable]) => (
              <Table.Tr key={name}>
                <Table.Th scope="row" fw={500}>
                  {name}
                  <Text size="xs" c="dimmed" ff="monospace">
                    {variable}
                  </Text>
                </Table.Th>
                <Table.Td className="wrap">{value}</Table.Td>
              </Table.Tr>
            ))}
          </Table.Tbody>
        </Table>
        <Text size="xs" c="dimmed" mt="xs">
          The environment says all of it, and a restart reads it anew.
        </Text>
      </Part>
      <Retention />
      <Part title="Storage">
        <Text size="sm" mb="sm">
          {bytes(data.disk_free_bytes)} are free.
        </Text>
        <Table>
          <Table.Tbody>
            {data.used.map((each) => (
              <Table.Tr key={each.folder}>
                <Table.Th scope="row" fw={500}>
                  {each.folder}
                </Table.Th>
                <Table.Td ta="right">{bytes(each.bytes)}</Table.Td>
              </Table.Tr>
            ))}
          </Table.Tbody>
        </Table>
      </Part>
    </Stack>
  );
}

function Retention() {
  const found = useQuery({ queryKey: ["retention"], queryFn: () => ask(client.GET("/api/settings/retention")) });
  if (found.error) return <Failed error={found.error} retry={() => void found.refetch()} />;
  return (
    <Part title="Retention">
      {!found.data ? (
        <Waiting />
      ) : found.data.fixed ? (
        <Text size="sm">
          The log keeps a request for {plural(found.data.days, "day")}. <Code>PUMICE_LOG_DAYS</Code> says so where the server was started; change it there.
        </Text>
      ) : (
        <Days now={found.data.days} key={found.data.days} />
      )}
    </Part>
  );
}

function Days({ now }: { now: number }) {
  const [word, setWord] = useState(String(now));
  const [lost, setLost] = useState(0);
  const queries = useQueryClient();
  const days = limitOf(word) ?? MOST + 1;
  const bad = days > MOST;
  const keep = useMutation({
    mutationFn: () => ask(client.PUT("/api/settings/retention", { body: { days } })),
    onSuccess: (kept: Schemas["ShownRetention"]) => {
      setLost(0);
      queries.setQueryData(["retention"], kept);
      return queries.invalidateQueries({ queryKey: ["log"] });
    },
  });
  // A shorter time deletes rows; how many is said before.
  const look = useMutation({
    mutationFn: () => ask(client.GET("/api/settings/retention", { params: { query: { days } } })),
    onSuccess: ({ requests }) => (requests ? setLost(requests) : keep.mutate()),
  });
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        look.mutate();
      }}
    >
      <Group align="flex-end" gap="sm">
        <TextInput
          label="Days that the log keeps a request"
          inputMode="numeric"
          value={word}
          onChange={(event) => setWord(event.currentTarget.value)}
          error={bad && `A whole number of days, ${MOST} at most.`}
        />
        <Button type="submit" disabled={bad || days === now} loading={look.isPending || keep.isPending}>
          Keep them so long
        </Button>
      </Group>
      <Failed error={lost ? null : (look.error ?? keep.error)} />
      <Modal opened={lost > 0} onClose={() => setLost(0)} title={`Delete ${plural(lost, "request")} of the log?`}>
        <Stack>
          <Alert color="yellow" variant="light">
            {plural(lost, "request")} older than {plural(days, "day")}: deleted at once, words and all, and not to be had again.
          </Alert>
          <Failed error={keep.error} />
          <Group justify="flex-end">
            <Button variant="default" onClick={() => setLost(0)}>
              Keep them
            </Button>
            <Button color="red" loading={keep.isPending} onClick={() => keep.mutate()}>
              Delete them
            </Button>
          </Group>
        </Stack>
      </Modal>
    </form>
  );
}
