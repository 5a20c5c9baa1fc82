// A file of rows to train on, out of what was asked and said: of picked requests, of those that fit the log's filter, or of all.
import { Button, Group, Modal, Select, Stack, Text, TextInput } from "@mantine/core";
import { useDisclosure } from "@mantine/hooks";
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { useNavigate } from "react-router";

import { ask, client } from "../client";
import { Failed } from "../parts/said";
import { plural } from "../parts/words";
import type { Fitting } from "./fitting";

type Which = "picked" | "fitting" | "all";
type Kind = "preference" | "instruction";

export function MakeDataset({ picked, fitting }: { picked: ReadonlySet<string>; fitting: Fitting }) {
  const [open, dialog] = useDisclosure();
  return (
    <>
      <Button variant={picked.size ? "filled" : "default"} onClick={dialog.open}>
        {picked.size ? `Make a data set of ${picked.size}` : "Make a data set"}
      </Button>
      <Modal opened={open} onClose={dialog.close} title="A data set of these">
        {open && <Form picked={picked} fitting={fitting} />}
      </Modal>
    </>
  );
}

function Form({ picked, fitting }: { picked: ReadonlySet<string>; fitting: Fitting }) {
  const ways = [
    ...(picked.size ? [{ value: "picked", label: `${plural(picked.size, "request")} picked in the log` }] : []),
    ...(Object.keys(fitting).length ? [{ value: "fitting", label: "all that fit the log's filter" }] : []),
    { value: "all", label: "all, and every vote" },
  ];
  const [which, setWhich] = useState(ways[0]?.value as Which);
  const [kind, setKind] = useState<Kind>(which === "all" ? "preference" : "instruction");
  const [name, setName] = useState("from-traffic");
  const go = useNavigate();
  const queries = useQueryClient();
  const make = useMutation({
    mutationFn: () => {
      const of = { picked: { requests: [...picked] }, fitting: { fitting }, all: {} }[which];
      return ask(client.POST("/api/datasets", { body: { kind, name, ...of } }));
    },
    onSuccess: async (file) => {
      await queries.invalidateQueries({ queryKey: ["files"] });
      await go(`/data/file?${new URLSearchParams({ file: file.id })}`);
    },
  });
  return (
    <Stack>
      <Select label="Of" data={ways} value={which} onChange={(value) => value && setWhich(value as Which)} allowDeselect={false} />
      <Select
        label="Kind"
        data={[
          { value: "preference", label: "preference: a better and a worse answer" },
          { value: "instruction", label: "instruction: chats with their answers" },
        ]}
        value={kind}
        onChange={(value) => value && setKind(value as Kind)}
        allowDeselect={false}
      />
      <Text size="sm" c="dimmed">
        {kind === "preference"
          ? "A row for each answer that somebody mended: their words are the better ones, the model's the worse. Of all, a row for each vote, too."
          : "A row for each chat whose words were kept, with the answer as it was mended. Bad answers that nobody mended are left out."}
        {which !== "picked" && " The newest 10,000 requests count."}
      </Text>
      <TextInput label="Name" value={name} onChange={(event) => setName(event.currentTarget.value)} />
      <Failed error={make.error} />
      <Group justify="flex-end">
        <Button loading={make.isPending} disabled={!name.trim()} onClick={() => make.mutate()}>
          Make it
        </Button>
      </Group>
    </Stack>
  );
}
