// Fields made of what the server says of each knob.
import { Select, SimpleGrid, TextInput } from "@mantine/core";

import type { Knob, Words } from "./recipe";

interface Props {
  knobs: readonly Knob[];
  words: Words;
  change: (words: Words) => void;
}

const ORDER: ("label" | "input" | "error" | "description")[] = ["label", "input", "error", "description"];

export function Knobs({ knobs, words, change }: Props) {
  return (
    <SimpleGrid cols={{ base: 1, xs: 2 }} spacing="sm">
      {knobs.map((knob) => (
        <Field key={knob.name} knob={knob} word={words[knob.name] ?? ""} set={(word) => change({ ...words, [knob.name]: word })} />
      ))}
    </SimpleGrid>
  );
}

function Field({ knob, word, set }: { knob: Knob; word: string; set: (word: string) => void }) {
  const standard = knob.default === null || knob.default === undefined ? "" : String(knob.default);
  const shared = { label: knob.name, description: knob.about.replaceAll("`", ""), required: knob.required, inputWrapperOrder: ORDER };
  if (knob.kind === "switch" || knob.kind === "choice") {
    const choices = knob.kind === "switch" ? ["true", "false"] : knob.choices;
    return (
      <Select
        {...shared}
        data={choices}
        value={word || null}
        placeholder={standard || "by default"}
        onChange={(value) => set(value ?? "")}
        clearable
      />
    );
  }
  return (
    <TextInput
      {...shared}
      value={word}
      placeholder={standard || (knob.required ? knob.rule : "by default")}
      inputMode={knob.kind === "text" ? "text" : "decimal"}
      error={knob.kind !== "text" && word.trim() && Number.isNaN(Number(word)) ? `It must be ${knob.rule}.` : undefined}
      onChange={(event) => set(event.currentTarget.value)}
    />
  );
}
