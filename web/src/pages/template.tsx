// A kept template: chosen, filled in and put around what stands in the prompt; or written, as the next version of its name.
import { Button, Code, Group, Modal, Select, SimpleGrid, Stack, Text, TextInput, Textarea } from "@mantine/core";
import { useDisclosure } from "@mantine/hooks";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";

import { type Schemas, ask, client } from "../client";
import { prompts } from "../client/queries";
import { Failed } from "../parts/said";

type Kept = Schemas["ShownTemplate"];

const FIRST = "Answer in one sentence.\n\n{{ question }}";

export function Template({ question, use }: { question: string; use: (made: Schemas["Filled"]) => void }) {
  const kept = useQuery(prompts);
  const [name, setName] = useState<string | null>(null);
  const [values, setValues] = useState<Record<string, string>>({});
  const [writing, dialog] = useDisclosure();
  const chosen = kept.data?.data.find((each) => each.name === name);
  const fill = useMutation({
    mutationFn: () => {
      // What a template walks through is a list.
      const variables = Object.fromEntries((chosen?.variables ?? []).map((each) => [each, listed(values[each] ?? "")]));
      return ask(client.POST("/api/prompts/filled", { body: { template: name ?? "", question, variables } }));
    },
    onSuccess: use,
  });
  // A key that may only ask sees no templates, and needs no word on it.
  if (kept.error || !kept.data) return null;
  return (
    <Stack gap="xs">
      <Group align="flex-end" gap="xs">
        <Select label="Template" placeholder="none" data={kept.data.data.map((each) => each.name)} value={name} onChange={setName} clearable searchable style={{ flex: 1 }} />
        <Button variant="default" onClick={dialog.open}>
          {chosen ? "Change it" : "Write one"}
        </Button>
      </Group>
      {chosen && chosen.variables.length > 0 && (
        <SimpleGrid cols={2}>
          {chosen.variables.map((each) => (
            <TextInput key={each} label={each} placeholder="one, or [several, of, them]" value={values[each] ?? ""} onChange={(event) => setValues({ ...values, [each]: event.currentTarget.value })} />
          ))}
        </SimpleGrid>
      )}
      {chosen && (
        <Group gap="xs">
          <Button size="xs" variant="default" disabled={!question.trim()} loading={fill.isPending} onClick={() => fill.mutate()}>
            Put it around the prompt
          </Button>
          {!question.trim() && (
            <Text size="xs" c="dimmed">
              Write the prompt first; it becomes the template's question.
            </Text>
          )}
        </Group>
      )}
      <Failed error={fill.error} />
      <Modal opened={writing} onClose={dialog.close} title={chosen ? `Change ${chosen.name}` : "A new template"} size="lg">
        {writing && (
          <Writing
            from={chosen}
            done={(kept) => {
              setName(kept.name);
              dialog.close();
            }}
          />
        )}
      </Modal>
    </Stack>
  );
}

function Writing({ from, done }: { from: Kept | undefined; done: (kept: Kept) => void }) {
  // One that ships with Pumice keeps its name for itself.
  const [name, setName] = useState(from?.name.split("@")[1] ? (from.name.split("@")[0] ?? "") : "");
  const [text, setText] = useState(from?.text ?? FIRST);
  const queries = useQueryClient();
  const keep = useMutation({
    mutationFn: () => ask(client.POST("/api/prompts", { body: { name: name.trim(), text } })),
    onSuccess: async ({ template }) => {
      await queries.invalidateQueries({ queryKey: prompts.queryKey });
      done(template);
    },
  });
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        keep.mutate();
      }}
    >
      <Stack>
        <TextInput label="Name" value={name} onChange={(event) => setName(event.currentTarget.value)} required data-autofocus />
        <Textarea
          label="Text"
          value={text}
          onChange={(event) => setText(event.currentTarget.value)}
          autosize
          minRows={6}
          maxRows={16}
          spellCheck={false}
          styles={{ input: { fontFamily: "var(--mantine-font-family-monospace)", fontSize: 13 } }}
        />
        <Text size="sm" c="dimmed">
          <Code>{"{{ question }}"}</Code> is the prompt, and every other <Code>{"{{ name }}"}</Code> a variable to fill in. What stands in{" "}
          <Code>{"{% system %}…{% endsystem %}"}</Code> becomes the system prompt. A version is kept for ever; a change is the next one.
        </Text>
        <Failed error={keep.error} />
        <Group justify="flex-end">
          <Button type="submit" loading={keep.isPending} disabled={!name.trim() || !text.trim()}>
            Keep it
          </Button>
        </Group>
      </Stack>
    </form>
  );
}

function listed(word: string): string | string[] {
  const inside = /^\s*\[(.*)\]\s*$/.exec(word)?.[1];
  return inside === undefined ? word : inside.split(",").map((each) => each.trim()).filter(Boolean);
}
