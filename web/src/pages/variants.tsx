// Endpoints' variants: what each answers, and how much of the traffic it gets.
import { Button, Group, Progress, Stack, Table, Text, TextInput } from "@mantine/core";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";

import { type Schemas, ask, client } from "../client";
import { Part } from "../parts/page";
import { Rows } from "../parts/rows";
import { Empty, Failed, Waiting } from "../parts/said";
import { sharesOf, weightOf } from "./shares";

type Variant = Schemas["ShownVariant"];

export function Variants() {
  const found = useQuery({ queryKey: ["variants"], queryFn: () => ask(client.GET("/api/variants")) });
  if (found.error) return <Failed error={found.error} retry={() => void found.refetch()} />;
  if (!found.data) return <Waiting />;
  const endpoints = [...new Set(found.data.data.map((each) => each.endpoint))];
  if (endpoints.length === 0) return <Empty>No endpoint has variants. SageMaker's create_endpoint_config and create_endpoint make one.</Empty>;
  return (
    <Stack>
      {endpoints.map((name) => (
        <Endpoint key={name} name={name} variants={found.data.data.filter((each) => each.endpoint === name)} />
      ))}
    </Stack>
  );
}

function Endpoint({ name, variants }: { name: string; variants: Variant[] }) {
  const kept = Object.fromEntries(variants.map((each) => [each.variant, String(each.weight)]));
  const [words, setWords] = useState(kept);
  const queries = useQueryClient();
  const weights = variants.map((each) => weightOf(words[each.variant] ?? ""));
  const good = weights.filter((each) => each !== null);
  const shares = good.length === weights.length ? sharesOf(good) : null;
  const changed = variants.some((each, at) => weights[at] !== each.weight);
  const ready = variants.every((each) => each.status === "InService");
  const move = useMutation({
    mutationFn: () => {
      const body = { weights: Object.fromEntries(variants.map((each, at) => [each.variant, weights[at] ?? 0])) };
      return ask(client.PUT("/api/variants/{endpoint}", { params: { path: { endpoint: name } }, body }));
    },
    onSuccess: (now) => queries.setQueryData(["variants"], now),
  });
  return (
    <Part title={name}>
      <Rows minWidth={300} label={`Variants of ${name}`} head={["Variant", "Weight", "Share"]}>
        {variants.map((each, at) => (
          <Table.Tr key={each.variant}>
            <Table.Td className="wrap">
              {each.variant}
              <Text size="xs" c="dimmed">
                {each.model || "inference components"}
              </Text>
            </Table.Td>
            <Table.Td>
              <TextInput
                size="xs"
                w={72}
                aria-label={`Weight of ${each.variant}`}
                inputMode="decimal"
                value={words[each.variant] ?? ""}
                onChange={(event) => setWords({ ...words, [each.variant]: event.currentTarget.value })}
                error={weights[at] === null}
              />
            </Table.Td>
            <Table.Td>
              {shares && (
                <>
                  {Math.round(100 * (shares[at] ?? 0))} %
                  <Progress w={90} value={100 * (shares[at] ?? 0)} aria-label={`Share of ${each.variant}`} />
                </>
              )}
            </Table.Td>
          </Table.Tr>
        ))}
      </Rows>
      {!shares && (
        <Text size="sm" c="red" role="alert" mt="xs">
          A weight is a number from 0; only how they stand to each other counts.
        </Text>
      )}
      <Failed error={move.error} />
      <Group mt="sm" gap="xs">
        <Button size="xs" disabled={!changed || !shares || !ready} loading={move.isPending} onClick={() => move.mutate()}>
          Shift the traffic
        </Button>
        <Button size="xs" variant="default" disabled={!changed} onClick={() => setWords(kept)}>
          Undo
        </Button>
        <Text size="xs" c="dimmed">
          {ready ? "It counts from the next request on." : `It is ${variants[0]?.status ?? ""}; its weights can be changed once it is in service.`}
        </Text>
      </Group>
    </Part>
  );
}
