// A job's state, a version's stage: one colour and one word each.
import { Badge } from "@mantine/core";

const COLOURS: Record<string, string> = {
  queued: "gray",
  running: "blue",
  stopped: "yellow",
  interrupted: "orange",
  failed: "red",
  succeeded: "green",
  candidate: "gray",
  production: "green",
  archived: "yellow",
  better: "green",
  worse: "red",
  undecided: "gray",
  "recall only": "gray",
};

export function State({ is }: { is: string }) {
  return (
    <Badge color={COLOURS[is] ?? "gray"} variant="light" tt="none" autoContrast>
      {is}
    </Badge>
  );
}
