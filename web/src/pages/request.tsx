// One request of the log with its words, and what is said of its answer.
import { Alert, Button, Group, Stack, Text, Textarea } from "@mantine/core";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";

import { type Schemas, ask, client } from "../client";
import { feedback } from "../client/queries";
import { Copied } from "../parts/copy";
import { Failed, Waiting } from "../parts/said";
import { when } from "../parts/words";

type Row = Schemas["ShownRequest"];

export function Whole({ id }: { id: string }) {
  const found = useQuery({
    queryKey: ["request", id],
    queryFn: () => ask(client.GET("/api/requests/{request_id}", { params: { path: { request_id: id } } })),
  });
  if (found.error) return <Failed error={found.error} retry={() => void found.refetch()} />;
  return found.data ? <One row={found.data} /> : <Waiting />;
}

function One({ row }: { row: Row }) {
  const said = useQuery(feedback);
  const queries = useQueryClient();
  const before = said.data?.data.find((each) => each.request === row.id);
  const answer = answerOf(row);
  const [edit, setEdit] = useState<string | null>(null);
  const say = useMutation({
    mutationFn: (thumb: "up" | "down" | null) =>
      ask(client.POST("/api/feedback", { body: { request: row.id, thumb, edit: (edit ?? before?.edit) || null } })),
    onSettled: () => queries.invalidateQueries({ queryKey: ["feedback"] }),
  });
  return (
    <Stack>
      <Text size="sm">
        {[
          when(row.at),
          row.operation,
          row.asked && `asked ${row.asked}`,
          row.model && `answered by ${row.model}${row.variant ? ` as ${row.variant}` : ""}`,
          `status ${row.status}`,
          row.key ? `key ${row.key}` : "no key",
        ]
          .filter(Boolean)
          .join("; ")}
      </Text>
      {row.request === null ? (
        <Alert variant="light" title="Its words were not kept">
          Those of questions and answers are, where the server was started with PUMICE_LOG_BODIES=1.
        </Alert>
      ) : (
        <>
          <Group>
            <Button variant={before?.thumb === "up" ? "filled" : "default"} size="xs" aria-pressed={before?.thumb === "up"} onClick={() => say.mutate("up")}>
              Good answer
            </Button>
            <Button variant={before?.thumb === "down" ? "filled" : "default"} size="xs" color="red" aria-pressed={before?.thumb === "down"} onClick={() => say.mutate("down")}>
              Bad answer
            </Button>
          </Group>
          {answer !== null && (
            <>
              <Textarea label="The answer as it should have been" value={edit ?? before?.edit ?? answer} onChange={(event) => setEdit(event.currentTarget.value)} autosize minRows={3} maxRows={12} />
              <Group>
                <Button size="xs" disabled={edit === null || edit === answer} loading={say.isPending} onClick={() => say.mutate(before?.thumb ?? null)}>
                  Keep the edit
                </Button>
                {before?.edit && <Text size="xs" c="dimmed">An edit is kept.</Text>}
              </Group>
            </>
          )}
          <Failed error={say.error} />
          <Text fw={600}>Asked</Text>
          <Copied text={JSON.stringify(row.request, null, 2)} />
          <Text fw={600}>Answered</Text>
          <Copied text={JSON.stringify(row.response, null, 2)} />
        </>
      )}
    </Stack>
  );
}

function answerOf(row: Row): string | null {
  const response = row.response as { choices?: { message?: { content?: unknown } }[] } | null | undefined;
  const text = response?.choices?.[0]?.message?.content;
  return typeof text === "string" ? text : null;
}
