// Keys: who may ask, and how much.
import { Alert, Button, Group, Modal, Select, SimpleGrid, Stack, Table, Text, TextInput } from "@mantine/core";
import { useDisclosure } from "@mantine/hooks";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";

import { type Schemas, ask, client } from "../client";
import { session } from "../client/queries";
import { Copied } from "../parts/copy";
import { Part } from "../parts/page";
import { Rows } from "../parts/rows";
import { Empty, Failed, Waiting } from "../parts/said";
import { count, when } from "../parts/words";
import { type Limits, NO_LIMITS, budgetOf, limitOf } from "./limits";

type Key = Schemas["ShownKey"];

export function Keys() {
  const found = useQuery({ queryKey: ["keys"], queryFn: () => ask(client.GET("/api/keys")) });
  const who = useQuery(session);
  const queries = useQueryClient();
  const [open, dialog] = useDisclosure();
  const [ending, setEnding] = useState<Key | null>(null);
  const [limiting, setLimiting] = useState<Key | null>(null);
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
                  <Group gap={4} justify="flex-end" wrap="nowrap">
                    <Button size="compact-xs" variant="subtle" aria-label={`Budget of ${key.name}`} onClick={() => setLimiting(key)}>
                      Budget
                    </Button>
                    <Button size="compact-xs" color="red" variant="subtle" aria-label={`Revoke ${key.name}`} onClick={() => setEnding(key)}>
                      Revoke
                    </Button>
                  </Group>
                )}
              </Table.Td>
            </Table.Tr>
          ))}
        </Rows>
      )}
      <Modal opened={open} onClose={dialog.close} title="A new key">
        {open && <NewKey first={!who.data?.key} done={() => queries.invalidateQueries({ queryKey: ["keys"] })} />}
      </Modal>
      <Modal opened={limiting !== null} onClose={() => setLimiting(null)} title={`The budget of ${limiting?.name ?? ""}`}>
        {limiting && <Budget of={limiting} done={() => setLimiting(null)} />}
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
  const [limits, setLimits] = useState<Limits>(NO_LIMITS);
  const queries = useQueryClient();
  const make = useMutation({
    mutationFn: () =>
      ask(
        client.POST("/api/keys", {
          body: { name, role, ...budgetOf(limits) },
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
        <Fields limits={limits} set={setLimits} />
        <Failed error={make.error} />
        <Button type="submit" loading={make.isPending} disabled={!name.trim() || !budgetOf(limits)}>
          Make it
        </Button>
      </Stack>
    </form>
  );
}

function Budget({ of: key, done }: { of: Key; done: () => void }) {
  const [limits, setLimits] = useState<Limits>({ requests: String(key.requests_per_minute ?? ""), tokens: String(key.tokens_per_day ?? "") });
  const queries = useQueryClient();
  const budget = budgetOf(limits);
  const keep = useMutation({
    mutationFn: (body: Schemas["Budget"]) => ask(client.PUT("/api/keys/{key_id}/budget", { params: { path: { key_id: key.id } }, body })),
    onSuccess: async () => {
      await queries.invalidateQueries({ queryKey: ["keys"] });
      done();
    },
  });
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        if (budget) keep.mutate(budget);
      }}
    >
      <Stack>
        <Text size="sm">It counts from the next request on. What the key has used today stays used.</Text>
        <Fields limits={limits} set={setLimits} />
        <Failed error={keep.error} />
        <Group justify="flex-end">
          <Button variant="default" onClick={done}>
            Leave it
          </Button>
          <Button type="submit" loading={keep.isPending} disabled={!budget}>
            Set the budget
          </Button>
        </Group>
      </Stack>
    </form>
  );
}

function Fields({ limits, set }: { limits: Limits; set: (limits: Limits) => void }) {
  const field = (name: keyof Limits, label: string) => (
    <TextInput
      label={label}
      placeholder="no limit"
      inputMode="numeric"
      value={limits[name]}
      onChange={(event) => set({ ...limits, [name]: event.currentTarget.value })}
      error={limitOf(limits[name]) === undefined && "A whole number from 1, or nothing for no limit."}
    />
  );
  return (
    <SimpleGrid cols={2}>
      {field("requests", "Requests a minute")}
      {field("tokens", "Tokens a day")}
    </SimpleGrid>
  );
}
