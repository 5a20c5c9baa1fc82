// Answers of base and tuned model beside what was expected, with the words that differ marked.
import { Group, SimpleGrid, Stack, Switch, Text } from "@mantine/core";
import { useState } from "react";

import type { Schemas } from "../client";
import { type Piece, differ } from "../parts/differ";

const FEW = 5;

export function Samples({ report }: { report: Pick<Schemas["Report"], "samples" | "count"> }) {
  const [all, setAll] = useState(false);
  const samples = report.samples ?? [];
  if (samples.length === 0) return <Text c="dimmed">No answers were kept.</Text>;
  return (
    <Stack gap="md">
      <Group justify="space-between">
        <Text size="sm" c="dimmed">
          {report.count} were asked. Words in which the answers differ are marked.
        </Text>
        {samples.length > FEW && <Switch label={`All ${samples.length}`} checked={all} onChange={(event) => setAll(event.currentTarget.checked)} />}
      </Group>
      {(all ? samples : samples.slice(0, FEW)).map((sample, at) => {
        const [base, tuned] = differ(sample.base, sample.tuned);
        return (
          <div key={`${at}${sample.question}`}>
            <Text fw={600} size="sm" className="wrap">
              {sample.question}
            </Text>
            <SimpleGrid cols={{ base: 1, sm: 3 }} spacing="sm" mt={4}>
              <Side name="expected" pieces={[{ text: sample.reference, same: true }]} />
              <Side name="base" pieces={base} />
              <Side name="tuned" pieces={tuned} />
            </SimpleGrid>
          </div>
        );
      })}
    </Stack>
  );
}

export function Side({ name, pieces }: { name: string; pieces: Piece[] }) {
  return (
    <div>
      <Text size="xs" c="dimmed">
        {name}
      </Text>
      <Text size="sm" className="wrap">
        {pieces.map((piece, at) => (piece.same ? <span key={at}>{piece.text}</span> : <mark key={at} className="differs">{piece.text}</mark>))}
      </Text>
    </div>
  );
}
