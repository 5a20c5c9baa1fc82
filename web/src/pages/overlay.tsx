// Several jobs' curves over each other: the same steps, one line a job.
import { Anchor, Group, Stack } from "@mantine/core";
import { useState } from "react";
import { Link, useSearchParams } from "react-router";

import { type Step, looksOf, stepsOf, useStory } from "../client/story";
import { Chart } from "../parts/chart";
import { Page, Part } from "../parts/page";
import { Empty } from "../parts/said";

export default function Overlay() {
  const [query] = useSearchParams();
  const ids = [...new Set(query.getAll("job"))];
  const [found, setFound] = useState<Record<string, Told>>({});
  const seen = Object.values(found).flatMap(({ steps, looks }) => [...steps.map((step) => step.step), ...looks.keys()]);
  const x = [...new Set(seen)].sort((a, b) => a - b);
  const over = (of: (told: Told) => Map<number, number>) =>
    ids.map((id) => {
      const by = found[id] ? of(found[id]) : new Map<number, number>();
      return { label: id, values: x.map((step) => by.get(step) ?? null) };
    });
  const lines = (of: (step: Step) => number) => over(({ steps }) => new Map(steps.map((step) => [step.step, of(step)])));
  const looked = Object.values(found).some(({ looks }) => looks.size > 0);
  return (
    <Page title="Curves of several jobs" about="They grow while the jobs run.">
      {ids.length === 0 && <Empty action={<Anchor component={Link} to="/train">Choose jobs</Anchor>}>No job was named.</Empty>}
      {ids.map((id) => (
        <Watch key={id} id={id} tell={(told) => setFound((before) => ({ ...before, [id]: told }))} />
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
              {looked && <Chart title="Loss of rows not trained on, by step" x={x} lines={over(({ looks }) => looks)} />}
              <Chart title="Learning rate by step" x={x} lines={lines((step) => step.learning_rate)} />
              <Chart title="Tokens a second by step" x={x} lines={lines((step) => step.tokens_per_second)} />
            </Stack>
          </Part>
        </>
      )}
    </Page>
  );
}

interface Told {
  steps: Step[];
  looks: Map<number, number>;
}

function Watch({ id, tell }: { id: string; tell: (told: Told) => void }) {
  const story = useStory(id, "");
  const steps = stepsOf(story);
  const looks = looksOf(story);
  const [told, setTold] = useState(-1);
  if (steps.length + looks.size !== told) {
    setTold(steps.length + looks.size);
    // After this drawing: a parent is not changed while its child is drawn.
    queueMicrotask(() => tell({ steps, looks }));
  }
  return null;
}
