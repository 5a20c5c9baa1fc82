import { Alert, Anchor, Button, Collapse, Group, Stack, Table, Text, TextInput, Textarea } from "@mantine/core";
import { useDisclosure } from "@mantine/hooks";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useRef, useState } from "react";
import { Link, useNavigate } from "react-router";

import { ask, client, upload } from "../client";
import { files } from "../client/queries";
import { Drop } from "../parts/drop";
import { Page, Part } from "../parts/page";
import { Empty, Failed, Waiting } from "../parts/said";
import { bytes, when } from "../parts/words";
import { Rows } from "../parts/rows";

/** Characters from which a paste is kept aside: a field of megabytes halts the browser. */
const LARGE = 200_000;
const place = (file: string) => `/data/file?${new URLSearchParams({ file })}`;

export default function Data() {
  const kept = useQuery(files);
  const queries = useQueryClient();
  const go = useNavigate();
  const [uri, setUri] = useState("");
  const [open, paste] = useDisclosure();
  const take = useMutation({
    mutationFn: upload,
    onSuccess: async (file) => {
      await queries.invalidateQueries({ queryKey: ["files"] });
      await go(place(file.id));
    },
  });
  const remove = useMutation({
    mutationFn: (id: string) => ask(client.DELETE("/v1/files/{file_id}", { params: { path: { file_id: id } } })),
    onSettled: () => queries.invalidateQueries({ queryKey: ["files"] }),
  });
  const rows = kept.data?.data ?? [];
  return (
    <Page title="Data" about="A file is judged before anything is paid for.">
      <Drop take={(file) => take.mutate(file)} busy={take.isPending} />
      <Failed error={take.error ?? remove.error} />
      <Group align="flex-end" gap="sm">
        <form
          style={{ flex: 1, minWidth: 240 }}
          onSubmit={(event) => {
            event.preventDefault();
            void go(place(uri.trim()));
          }}
        >
          <Group align="flex-end" gap="xs" wrap="nowrap">
            <TextInput
              label="Or name one in S3"
              placeholder="s3://bucket/rows.jsonl"
              value={uri}
              onChange={(event) => setUri(event.currentTarget.value)}
              style={{ flex: 1 }}
            />
            <Button type="submit" variant="default" disabled={!/^s3:\/\/[^/]+\/.+/.test(uri.trim())}>
              Check
            </Button>
          </Group>
        </form>
        <Button variant="default" onClick={paste.toggle} aria-expanded={open}>
          Paste rows
        </Button>
      </Group>
      <Collapse expanded={open}>
        <Paste take={(file) => take.mutate(file)} busy={take.isPending} />
      </Collapse>
      <Part title="Files">
        <Failed error={kept.error} retry={() => void kept.refetch()} />
        {kept.isPending && <Waiting />}
        {kept.data && rows.length === 0 && <Empty>There is none yet.</Empty>}
        {rows.length > 0 && (
          <Rows minWidth={420} label="Files" head={["File", "Version", "Size", "Uploaded", ""]}>
            {rows.map((file) => (
              <Table.Tr key={file.id}>
                <Table.Td>
                  <Anchor component={Link} to={place(file.id)} size="sm">
                    {file.filename}
                  </Anchor>
                </Table.Td>
                <Table.Td fz="sm">{rows.filter((each) => each.filename === file.filename && each.id <= file.id).length}</Table.Td>
                <Table.Td fz="sm">{bytes(file.bytes)}</Table.Td>
                <Table.Td fz="sm">{when(file.created_at)}</Table.Td>
                <Table.Td ta="right">
                  <Button size="compact-xs" variant="subtle" color="red" aria-label={`Delete ${file.filename}`} onClick={() => remove.mutate(file.id)}>
                    Delete
                  </Button>
                </Table.Td>
              </Table.Tr>
            ))}
          </Rows>
        )}
      </Part>
    </Page>
  );
}

function Paste({ take, busy }: { take: (file: File) => void; busy: boolean }) {
  // The text stays in the field: two megabytes are not copied at every key.
  const area = useRef<HTMLTextAreaElement>(null);
  const [name, setName] = useState("rows.jsonl");
  const [held, setHeld] = useState("");
  return (
    <Stack gap="sm">
      {held && (
        <Alert variant="light" role="status" title={`${bytes(held.length)} were pasted`}>
          <Group justify="space-between">
            They are not shown: that would take longer than checking them.
            <Button size="xs" variant="default" onClick={() => setHeld("")}>
              Let them go
            </Button>
          </Group>
        </Alert>
      )}
      <Textarea
        ref={area}
        onPaste={(event) => {
          const text = event.clipboardData.getData("text");
          if (text.length > LARGE) {
            event.preventDefault();
            setHeld(text);
          }
        }}
        disabled={held !== ""}
        label="Rows"
        placeholder='{"prompt": "…", "completion": "…"}'
        rows={8}
        styles={{ input: { fontFamily: "var(--mantine-font-family-monospace)" } }}
        spellCheck={false}
      />
      <Group align="flex-end">
        <TextInput label="Name" value={name} onChange={(event) => setName(event.currentTarget.value)} />
        <Button
          loading={busy}
          disabled={!name.trim()}
          onClick={() => {
            const text = held || area.current?.value || "";
            if (text.trim()) take(new File([text], name.trim(), { type: "text/plain" }));
          }}
        >
          Keep and check
        </Button>
        <Text size="xs" c="dimmed">
          The ending of the name says how it is read.
        </Text>
      </Group>
    </Stack>
  );
}
