import { Anchor, Badge, Button, Group, SimpleGrid, Table, Tabs, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { Link } from "react-router";

import type { Schemas } from "../client";
import { catalogue, models } from "../client/queries";
import { Page, Part } from "../parts/page";
import { Empty, Failed, Waiting } from "../parts/said";
import { State } from "../parts/state";
import { count, size, when } from "../parts/words";
import { Rows } from "../parts/rows";
import { Lineage } from "./lineage";

export default function Models() {
  const found = useQuery(models);
  const rows = found.data?.data ?? [];
  return (
    <Page title="Models" about="What was made here, where it comes from, and what it is trusted with.">
      <Failed error={found.error} retry={() => void found.refetch()} />
      <Tabs defaultValue="made">
        <Tabs.List mb="md">
          <Tabs.Tab value="made">Made here</Tabs.Tab>
          <Tabs.Tab value="bases">Known bases</Tabs.Tab>
        </Tabs.List>
        <Tabs.Panel value="made">
          {found.isPending && <Waiting />}
          {found.data && rows.length === 0 && (
            <Empty
              action={
                <Button component={Link} to="/train">
                  Train one
                </Button>
              }
            >
              No model was made here yet.
            </Empty>
          )}
          {rows.length > 0 && <Made rows={rows} />}
        </Tabs.Panel>
        <Tabs.Panel value="bases">
          <Bases />
        </Tabs.Panel>
      </Tabs>
    </Page>
  );
}

function Made({ rows }: { rows: Schemas["ShownModel"][] }) {
  return (
    <SimpleGrid cols={1} spacing="md">
      <Part title="Versions">
        <Rows minWidth={640} label="Versions" head={["Model", "Stage", "Method", "From", "Against its base", "Made"]}>
          {rows.map((model) => (
            <Table.Tr key={model.id}>
              <Table.Td>
                <Anchor component={Link} to={`/models/${model.id}`} size="sm">
                  {model.id}
                </Anchor>
              </Table.Td>
              <Table.Td>
                <State is={model.stage} />
              </Table.Td>
              <Table.Td fz="sm">{model.method}</Table.Td>
              <Table.Td fz="sm">{model.parent}</Table.Td>
              <Table.Td fz="sm">
                {model.report ? (
                  <Group gap={6} wrap="nowrap">
                    <State is={model.report.report.verdict} />
                    <Text size="xs">
                      {model.report.rows[0]?.[0]} {model.report.rows[0]?.[3]}
                    </Text>
                  </Group>
                ) : (
                  <Text size="xs" c="dimmed">
                    not compared
                  </Text>
                )}
              </Table.Td>
              <Table.Td fz="sm">{when(model.created)}</Table.Td>
            </Table.Tr>
          ))}
        </Rows>
      </Part>
      <Part title="Lineage">
        <Lineage models={rows} />
      </Part>
    </SimpleGrid>
  );
}

function Bases() {
  const found = useQuery(catalogue);
  if (found.error) return <Failed error={found.error} retry={() => void found.refetch()} />;
  if (!found.data) return <Waiting />;
  const mark = (yes: boolean | undefined) =>
    yes ? (
      <Badge variant="light" color="green" tt="none">
        yes
      </Badge>
    ) : (
      <Text size="sm" c="dimmed">
        no
      </Text>
    );
  return (
    <Part title="Bases that are known, and what this machine can do with each">
      <Rows minWidth={700} label="Bases" head={["Base", "Size", "Window", "Licence", "full", "lora", "qlora", "serve"]}>
        {found.data.data.map((base) => (
          <Table.Tr key={base.id}>
            <Table.Td fz="sm">{base.id}</Table.Td>
            <Table.Td fz="sm">{size(base.parameters)}</Table.Td>
            <Table.Td fz="sm">{count(base.window)}</Table.Td>
            <Table.Td fz="sm">{base.licence}</Table.Td>
            {["full", "lora", "qlora"].map((way) => (
              <Table.Td key={way}>{mark(base.train[way])}</Table.Td>
            ))}
            <Table.Td>{mark(base.serve)}</Table.Td>
          </Table.Tr>
        ))}
      </Rows>
    </Part>
  );
}
