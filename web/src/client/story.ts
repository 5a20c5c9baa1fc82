// A job's story as it is told: server-sent events, each seen once, whatever happens to the connection.
import { useEffect, useState } from "react";

import type { Schemas } from "./index";

export interface Told {
  number: number;
  at: string | null;
  kind: string;
  data: Record<string, unknown>;
}

export interface Step {
  step: number;
  steps: number;
  epoch: number;
  loss: number;
  learning_rate: number;
  tokens: number;
  tokens_per_second: number;
  seconds_left: number;
  metrics?: Record<string, number>;
}

export interface Story {
  events: Told[];
  ended: boolean;
  /** Whether the connection is gone and is being made anew. */
  lost: boolean;
}

const NOTHING: Story = { events: [], ended: false, lost: false };

/** Follow a job; `again` changes when it was resumed. */
export function useStory(job: string, again: string): Story {
  const [story, setStory] = useState<Story>(NOTHING);
  useEffect(() => {
    const told: Told[] = [];
    let waiting = false;
    let lost = false;
    let ended = false;
    const show = () => {
      if (waiting) return;
      waiting = true;
      // Many events come at once when an old story is read; they are drawn together.
      window.setTimeout(() => {
        waiting = false;
        setStory({ events: [...told], ended, lost });
      }, 100);
    };
    const source = new EventSource(`/api/jobs/${encodeURIComponent(job)}/events`);
    source.onopen = () => {
      lost = false;
      show();
    };
    source.onmessage = (message: MessageEvent<string>) => {
      if (message.data === "[DONE]") {
        ended = true;
        source.close();
      } else {
        const event = JSON.parse(message.data) as Told;
        told[event.number] = event;
      }
      show();
    };
    source.onerror = () => {
      lost = !ended;
      show();
    };
    return () => source.close();
  }, [job, again]);
  return story;
}

/** The curve: each step once, as it was told last. */
export function stepsOf(story: Story): Step[] {
  const found = new Map<number, Step>();
  for (const event of story.events) {
    if (event?.kind === "step") {
      const step = event.data as unknown as Step;
      found.set(step.step, step);
    }
  }
  return [...found.values()].sort((one, other) => one.step - other.step);
}

/** The loss of rows that are not trained on, by the step after which they were read. */
export function looksOf(story: Story): Map<number, number> {
  const told = story.events.filter((event) => event?.kind === "validation");
  return new Map(told.map(({ data }) => [Number(data["step"]), Number(data["validation_loss"])]));
}

/** The comparison with the base, once it was made. */
export function reportOf(story: Story): Schemas["Report"] | undefined {
  return story.events.findLast((event) => event?.kind === "report")?.data as Schemas["Report"] | undefined;
}
