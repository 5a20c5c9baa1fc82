import { Badge, SimpleGrid, Table, Tabs, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";

import { ask, client } from "../client";
import { session } from "../client/queries";
import { Page, Part } from "../parts/page";
import { Failed, Waiting } from "../parts/said";
import { bytes, count } from "../parts/words";
import { Keys } from "./keys";
import { Server } from "./server";
import { Value } from "./train";

export default function Settings() {
  return (
    <Page title="Settings" about="Who may ask, how this server is set, and what the machine can do.">
      <Tabs defaultValue="keys" keepMounted={false}>
        <Tabs.List mb="md">
          <Tabs.Tab value="keys">Keys</Tabs.Tab>
          <Tabs.Tab value="server">Server</Tabs.Tab>
          <Tabs.Tab value="machine">Machine</Tabs.Tab>
          <Tabs.Tab value="about">About</Tabs.Tab>
        </Tabs.List>
        <Tabs.Panel value="keys">
          <Keys />
        </Tabs.Panel>
        <Tabs.Panel value="server">
          <Server />
        </Tabs.Panel>
        <Tabs.Panel value="machine">
          <Machine />
        </Tabs.Panel>
        <Tabs.Panel value="about">
          <About />
        </Tabs.Panel>
      </Tabs>
    </Page>
  );
}

function Machine() {
  const found = useQuery({ queryKey: ["doctor"], queryFn: () => ask(client.GET("/api/doctor")) });
  if (found.error) return <Failed error={found.error} retry={() => void found.refetch()} />;
  if (!found.data) return <Waiting what="Looking at the machine" />;
  const { machine, largest, findings } = found.data.examination;
  return (
    <Part
      title="This machine"
      side={
        <Badge color={found.data.ok ? "green" : "yellow"} variant="light" tt="none">
          {found.data.ok ? "all that a run needs is here" : "something is to mend"}
        </Badge>
      }
    >
      <SimpleGrid cols={{ base: 2, sm: 4 }} mb="md">
        <Value name="cores" value={count(machine.cores)} />
        <Value name="memory" value={bytes(machine.memory)} note={`${bytes(machine.free)} free`} />
        {machine.gpus.length === 0 ? (
          <Value name="gpu" value="none" />
        ) : (
          machine.gpus.map((gpu) => <Value key={gpu.name} name="gpu" value={gpu.name} note={`${bytes(gpu.free)} free`} />)
        )}
      </SimpleGrid>
      <Table>
        <Table.Tbody>
          {Object.entries(largest).map(([way, model]) => (
            <Table.Tr key={way}>
              <Table.Th scope="row" fw={500}>
                largest for {way}
              </Table.Th>
              <Table.Td className="wrap">{String(model)}</Table.Td>
            </Table.Tr>
          ))}
          {findings.map((each) => (
            <Table.Tr key={each.what}>
              <Table.Th scope="row" fw={500}>
                {each.what}
              </Table.Th>
              <Table.Td className="wrap">
                {each.state}
                {each.fix && (
                  <Text size="sm" c="orange">
                    {each.fix}
                  </Text>
                )}
              </Table.Td>
            </Table.Tr>
          ))}
        </Table.Tbody>
      </Table>
    </Part>
  );
}

function About() {
  const who = useQuery(session);
  return (
    <Part title="Pumice">
      <Text size="sm">
        Version {who.data?.version}. Fine-tunes, evaluates, serves and watches your own language model, behind the APIs you already code against. Apache-2.0.
      </Text>
      <Text size="sm" mt="sm">
        Whatever this console does, curl can do too: the server's OpenAPI document is at{" "}
        <a href="/openapi.json" style={{ color: "var(--mantine-color-anchor)" }}>
          /openapi.json
        </a>
        . Nothing leaves this machine.
      </Text>
    </Part>
  );
}
