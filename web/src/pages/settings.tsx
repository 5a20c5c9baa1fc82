import { Alert, Badge, Button, Code, Group, Modal, NumberInput, Select, SimpleGrid, Stack, Table, Tabs, Text, TextInput } from "@mantine/core";
import { useDisclosure } from "@mantine/hooks";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";

import { type Schemas, ask, client } from "../client";
import { session } from "../client/queries";
import { Copied } from "../parts/copy";
import { Page, Part } from "../parts/page";
import { Empty, Failed, Waiting } from "../parts/said";
import { bytes, count, when } from "../parts/words";
import { Rows } from "../parts/rows";
import { Wide } from "../parts/wide";
import { Value } from "./train";

export default function Settings() {
  return (
    <Page title="Settings" about="Who may ask, how this server is set, and what the machine can do.">
      <Tabs defaultValue="keys" keepMounted={false}>
        <Tabs.List mb="md">
          <Tabs.Tab value="keys">Keys</Tabs.Tab>
          <Tabs.Tab value="server">Server</Tabs.Tab>
          <Tabs.Tab value="machine">Machine</Tabs.Tab>
          <Tabs.Tab value="about">About</Tabs.Tab>
        </Tabs.List>
        <Tabs.Panel value="keys">
          <Keys />
        </Tabs.Panel>
        <Tabs.Panel value="server">
          <Server />
        </Tabs.Panel>
        <Tabs.Panel value="machine">
          <Machine />
        </Tabs.Panel>
        <Tabs.Panel value="about">
          <About />
        </Tabs.Panel>
      </Tabs>
    </Page>
  );
}

function Keys() {
  const found = useQuery({ queryKey: ["keys"], queryFn: () => ask(client.GET("/api/keys")) });
  const who = useQuery(session);
  const queries = useQueryClient();
  const [open, dialog] = useDisclosure();
  const [ending, setEnding] = useState<Schemas["ShownKey"] | null>(null);
  const revoke = useMutation({
    mutationFn: (id: string) => ask(client.DELETE("/api/keys/{key_id}", { params: { path: { key_id: id } } })),
    onSuccess: () => {
      setEnding(null);
      return queries.invalidateQueries({ queryKey: ["keys"] });
    },
  });
  const rows = found.data?.data ?? [];
  return (
    <Part
      title="Keys"
      side={
        <Button size="xs" onClick={dialog.open}>
          Make a key
        </Button>
      }
    >
      <Failed error={found.error} retry={() => void found.refetch()} />
      {found.isPending && <Waiting />}
      {found.data && rows.length === 0 && <Empty>There is none: this machine asks for no key. With the first one, everybody is asked.</Empty>}
      {rows.length > 0 && (
        <Rows minWidth={640} label="Keys" head={["Name", "Role", "Requests a minute", "Tokens a day", "Made", ""]}>
          {rows.map((key) => (
            <Table.Tr key={key.id} c={key.revoked ? "dimmed" : ""}>
              <Table.Td>
                {key.name}
                <Text size="xs" c="dimmed">
                  {key.id}
                </Text>
              </Table.Td>
              <Table.Td>{key.role}</Table.Td>
              <Table.Td>{key.requests_per_minute === null ? "no limit" : count(key.requests_per_minute)}</Table.Td>
              <Table.Td>{key.tokens_per_day === null ? "no limit" : count(key.tokens_per_day)}</Table.Td>
              <Table.Td fz="sm">{when(key.created)}</Table.Td>
              <Table.Td ta="right">
                {key.revoked ? (
                  <Text size="xs">revoked {when(key.revoked)}</Text>
                ) : (
                  <Button size="compact-xs" color="red" variant="subtle" onClick={() => setEnding(key)}>
                    Revoke
                  </Button>
                )}
              </Table.Td>
            </Table.Tr>
          ))}
        </Rows>
      )}
      <Modal opened={open} onClose={dialog.close} title="A new key">
        {open && <NewKey first={!who.data?.key} done={() => queries.invalidateQueries({ queryKey: ["keys"] })} />}
      </Modal>
      <Modal opened={ending !== null} onClose={() => setEnding(null)} title={`Revoke ${ending?.name ?? ""}?`}>
        <Stack>
          <Text size="sm">Programs and sessions with this key are refused from now on. It cannot be taken back.</Text>
          <Failed error={revoke.error} />
          <Group justify="flex-end">
            <Button variant="default" onClick={() => setEnding(null)}>
              Keep it
            </Button>
            <Button color="red" loading={revoke.isPending} onClick={() => ending && revoke.mutate(ending.id)}>
              Revoke
            </Button>
          </Group>
        </Stack>
      </Modal>
    </Part>
  );
}

function NewKey({ first: now, done }: { first: boolean; done: () => Promise<void> }) {
  // As it was when the dialog opened: with the key that is made here it is the first no more.
  const [first] = useState(now);
  const [name, setName] = useState("");
  const [role, setRole] = useState<Schemas["Role"]>(first ? "admin" : "invoke");
  const [rate, setRate] = useState<number | string>("");
  const [tokens, setTokens] = useState<number | string>("");
  const queries = useQueryClient();
  const make = useMutation({
    mutationFn: () =>
      ask(
        client.POST("/api/keys", {
          body: { name, role, requests_per_minute: Number(rate) || null, tokens_per_day: Number(tokens) || null },
        }),
      ),
    onSuccess: async (made) => {
      // From the first key on this page is asked for one, too.
      if (first) await ask(client.POST("/api/session", { body: { key: made.secret } }));
      await queries.invalidateQueries({ queryKey: session.queryKey });
      await done();
    },
  });
  if (make.data) {
    return (
      <Stack>
        <Alert color="yellow" variant="light" title="Copy it now">
          It is shown this once.{first && " From now on this server asks for a key; this browser is signed in with it."}
        </Alert>
        <Text size="sm" fw={600}>
          For OpenAI's clients
        </Text>
        <Copied text={make.data.secret} />
        <Text size="sm" fw={600}>
          For AWS's clients
        </Text>
        <Copied text={`export AWS_ACCESS_KEY_ID=${make.data.access_key ?? ""}\nexport AWS_SECRET_ACCESS_KEY=${make.data.signing_secret}`} />
      </Stack>
    );
  }
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        make.mutate();
      }}
    >
      <Stack>
        <TextInput label="Name" value={name} onChange={(event) => setName(event.currentTarget.value)} required data-autofocus />
        <Select
          label="Role"
          data={[
            { value: "invoke", label: "invoke: ask models" },
            { value: "train", label: "train: also see and make everything but keys" },
            { value: "admin", label: "admin: everything" },
          ]}
          value={role}
          onChange={(value) => value && setRole(value as Schemas["Role"])}
          allowDeselect={false}
        />
        {first && role !== "admin" && (
          <Alert color="yellow" variant="light">
            It is the first key. Without an admin key nobody could make another here; the command line can.
          </Alert>
        )}
        <SimpleGrid cols={2}>
          <NumberInput label="Requests a minute" placeholder="no limit" min={1} value={rate} onChange={setRate} hideControls />
          <NumberInput label="Tokens a day" placeholder="no limit" min={1} value={tokens} onChange={setTokens} hideControls />
        </SimpleGrid>
        <Failed error={make.error} />
        <Button type="submit" loading={make.isPending} disabled={!name.trim()}>
          Make it
        </Button>
      </Stack>
    </form>
  );
}

function Server() {
  const found = useQuery({ queryKey: ["settings"], queryFn: () => ask(client.GET("/api/settings")) });
  if (found.error) return <Failed error={found.error} retry={() => void found.refetch()} />;
  if (!found.data) return <Waiting />;
  const { data } = found;
  const rows: [string, string, string][] = [
    ["Home", data.home, "PUMICE_HOME"],
    ["Records", data.database, "PUMICE_DATABASE"],
    ["The log keeps a request", `${data.log_days} days`, "PUMICE_LOG_DAYS"],
    ["The log keeps words", data.log_bodies ? "yes" : "no", "PUMICE_LOG_BODIES"],
    ["Engine", data.engine || "by each model's files", "PUMICE_ENGINE"],
    ["Precision", data.quant, "PUMICE_QUANT"],
    ["An engine ends when idle for", data.idle_seconds === null ? "never" : `${data.idle_seconds} s`, "PUMICE_IDLE_SECONDS"],
  ];
  return (
    <Stack>
      <Part title="How it is set">
        <Wide minWidth={420} label="Settings">
          <Table>
            <Table.Tbody>
              {rows.map(([name, value, variable]) => (
                <Table.Tr key={name}>
                  <Table.Th scope="row" fw={500}>
                    {name}
                  </Table.Th>
                  <Table.Td className="wrap">{value}</Table.Td>
                  <Table.Td>
                    <Code>{variable}</Code>
                  </Table.Td>
                </Table.Tr>
              ))}
            </Table.Tbody>
          </Table>
        </Wide>
        <Text size="xs" c="dimmed" mt="xs">
          The environment says all of it, and a restart reads it anew.
        </Text>
      </Part>
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

function Machine() {
  const found = useQuery({ queryKey: ["doctor"], queryFn: () => ask(client.GET("/api/doctor")) });
  if (found.error) return <Failed error={found.error} retry={() => void found.refetch()} />;
  if (!found.data) return <Waiting what="Looking at the machine" />;
  const { machine, largest, findings } = found.data.examination;
  return (
    <Part
      title="This machine"
      side={
        <Badge color={found.data.ok ? "green" : "yellow"} variant="light" tt="none">
          {found.data.ok ? "all that a run needs is here" : "something is to mend"}
        </Badge>
      }
    >
      <SimpleGrid cols={{ base: 2, sm: 4 }} mb="md">
        <Value name="cores" value={count(machine.cores)} />
        <Value name="memory" value={bytes(machine.memory)} note={`${bytes(machine.free)} free`} />
        {machine.gpus.length === 0 ? (
          <Value name="gpu" value="none" />
        ) : (
          machine.gpus.map((gpu) => <Value key={gpu.name} name="gpu" value={gpu.name} note={`${bytes(gpu.free)} free`} />)
        )}
      </SimpleGrid>
      <Table>
        <Table.Tbody>
          {Object.entries(largest).map(([way, model]) => (
            <Table.Tr key={way}>
              <Table.Th scope="row" fw={500}>
                largest for {way}
              </Table.Th>
              <Table.Td className="wrap">{String(model)}</Table.Td>
            </Table.Tr>
          ))}
          {findings.map((each) => (
            <Table.Tr key={each.what}>
              <Table.Th scope="row" fw={500}>
                {each.what}
              </Table.Th>
              <Table.Td className="wrap">
                {each.state}
                {each.fix && (
                  <Text size="sm" c="orange">
                    {each.fix}
                  </Text>
                )}
              </Table.Td>
            </Table.Tr>
          ))}
        </Table.Tbody>
      </Table>
    </Part>
  );
}

function About() {
  const who = useQuery(session);
  return (
    <Part title="Pumice">
      <Text size="sm">
        Version {who.data?.version}. Fine-tunes, evaluates, serves and watches your own language model, behind the APIs you already code against. Apache-2.0.
      </Text>
      <Text size="sm" mt="sm">
        Whatever this console does, curl can do too: the server's OpenAPI document is at{" "}
        <a href="/openapi.json" style={{ color: "var(--mantine-color-anchor)" }}>
          /openapi.json
        </a>
        . Nothing leaves this machine.
      </Text>
    </Part>
  );
}
