// Several jobs' curves over each other: the same steps, one line a job.
import { Anchor, Group, Stack } from "@mantine/core";
import { useState } from "react";
import { Link, useSearchParams } from "react-router";

import { type Step, stepsOf, useStory } from "../client/story";
import { Chart } from "../parts/chart";
import { Page, Part } from "../parts/page";
import { Empty } from "../parts/said";

export default function Overlay() {
  const [query] = useSearchParams();
  const ids = [...new Set(query.getAll("job"))];
  const [found, setFound] = useState<Record<string, Step[]>>({});
  const x = [...new Set(Object.values(found).flatMap((steps) => steps.map((step) => step.step)))].sort((a, b) => a - b);
  const lines = (of: (step: Step) => number) =>
    ids.map((id) => {
      const by = new Map((found[id] ?? []).map((step) => [step.step, of(step)]));
      return { label: id, values: x.map((step) => by.get(step) ?? null) };
    });
  return (
    <Page title="Curves of several jobs" about="They grow while the jobs run.">
      {ids.length === 0 && <Empty action={<Anchor component={Link} to="/train">Choose jobs</Anchor>}>No job was named.</Empty>}
      {ids.map((id) => (
        <Watch key={id} id={id} tell={(steps) => setFound((before) => ({ ...before, [id]: steps }))} />
      ))}
      {ids.length > 0 && (
        <>
          <Group>
            {ids.map((id) => (
              <Anchor key={id} component={Link} to={`/train/${id}`}>
                {id}
              </Anchor>
            ))}
          </Group>
          <Part title="Curves">
            <Stack>
              <Chart title="Loss by step" x={x} lines={lines((step) => step.loss)} height={320} />
              <Chart title="Learning rate by step" x={x} lines={lines((step) => step.learning_rate)} />
              <Chart title="Tokens a second by step" x={x} lines={lines((step) => step.tokens_per_second)} />
            </Stack>
          </Part>
        </>
      )}
    </Page>
  );
}

function Watch({ id, tell }: { id: string; tell: (steps: Step[]) => void }) {
  const story = useStory(id, "");
  const steps = stepsOf(story);
  const [told, setTold] = useState(-1);
  if (steps.length !== told) {
    setTold(steps.length);
    // After this drawing: a parent is not changed while its child is drawn.
    queueMicrotask(() => tell(steps));
  }
  return null;
}
