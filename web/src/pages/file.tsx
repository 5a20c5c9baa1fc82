import { Alert, Anchor, Badge, Box, Button, Group, List, Stack, Table, Text, Textarea } from "@mantine/core";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { Link, useNavigate, useSearchParams } from "react-router";

import { type Schemas, ask, client, contentOf, upload } from "../client";
import { files } from "../client/queries";
import { Page, Part } from "../parts/page";
import { Failed, Waiting } from "../parts/said";
import { count, plural, when } from "../parts/words";
import { EMPTY } from "./recipe";
import { ModelSelect, Value } from "./train";

type Finding = Schemas["pumice__errors__Finding"];

export default function FilePage() {
  const [query, setQuery] = useSearchParams();
  const file = query.get("file") ?? "";
  const model = query.get("model") ?? EMPTY.model;
  const kept = useQuery(files);
  const entry = kept.data?.data.find((each) => each.id === file);
  const found = useQuery({
    queryKey: ["check", file, model],
    queryFn: async ({ signal }) => {
      const answer = await ask(client.POST("/api/checks", { body: { file, model }, signal }));
      // The client's types forget how long a pair is.
      return answer as Schemas["Checked"];
    },
    staleTime: Infinity,
  });
  const name = found.data?.check.path ?? entry?.filename ?? file;
  const versions = (kept.data?.data ?? []).filter((each) => entry && each.filename === entry.filename);
  return (
    <Page
      title={name}
      about={entry ? `uploaded ${when(entry.created_at)}` : undefined}
      side={
        <Group align="flex-end" gap="xs">
          <Box w={260}>
            <ModelSelect label="Judged for" value={model} set={(chosen) => setQuery({ file, model: chosen }, { replace: true })} />
          </Box>
          <Button component={Link} to={`/train?${new URLSearchParams({ data: file, model })}`} disabled={!found.data?.ok} data-disabled={!found.data?.ok}>
            Train on it
          </Button>
        </Group>
      }
    >
      <Failed error={found.error} retry={() => void found.refetch()} />
      {found.isPending && <Waiting what="Reading every row" />}
      {found.data && <Checked found={found.data} file={file} />}
      {versions.length > 1 && (
        <Part title="Versions">
          <List size="sm" spacing={4}>
            {versions.map((each, at) => (
              <List.Item key={each.id}>
                {each.id === file ? (
                  <Text size="sm" fw={600}>
                    {versions.length - at}: this one, {when(each.created_at)}
                  </Text>
                ) : (
                  <Anchor size="sm" component={Link} to={`/data/file?${new URLSearchParams({ file: each.id, model })}`}>
                    {versions.length - at}: {when(each.created_at)}
                  </Anchor>
                )}
              </List.Item>
            ))}
          </List>
        </Part>
      )}
    </Page>
  );
}

export function Checked({ found, file }: { found: Schemas["Checked"]; file: string }) {
  const { check, split } = found;
  return (
    <>
      <Alert color={found.ok ? "green" : "red"} variant="light" role="status" title={found.ok ? "It can be trained on as it is" : `${plural(check.errors, "error")}: it cannot be trained on as it is`}>
        {count(check.rows)} good {check.rows === 1 ? "row" : "rows"}
        {check.kind ? ` of ${check.kind} data` : ""}.
        {split && ` ${count(split.trained)} are trained on; ${count(split.asked)} are asked afterwards (${split.set}).`}
      </Alert>
      {check.findings.length > 0 && <Findings found={found} file={file} />}
      {(check.warnings.length > 0 || check.notes.length > 0) && (
        <Part title="Worth knowing">
          <List size="sm" spacing={4}>
            {[...check.warnings, ...check.notes].map((each) => (
              <List.Item key={each} className="wrap">
                {each}
              </List.Item>
            ))}
          </List>
        </Part>
      )}
      {check.lengths && <Lengths lengths={check.lengths} />}
      {check.sample.length > 0 && <Sample check={check} />}
    </>
  );
}

function Findings({ found, file }: { found: Schemas["Checked"]; file: string }) {
  const { check, texts } = found;
  const lines = [...new Set(check.findings.filter((each) => texts[String(each.line)] !== undefined && each.path === check.path).map((each) => each.line))];
  const [edits, setEdits] = useState<Record<number, string>>({});
  const queries = useQueryClient();
  const go = useNavigate();
  const mine = file.startsWith("file-");
  const save = useMutation({
    mutationFn: async () => {
      const rows = (await contentOf(file)).split("\n");
      // From below, so that the numbers above stay true when a row goes.
      for (const line of Object.keys(edits).map(Number).sort((one, other) => other - one)) {
        const text = edits[line] ?? "";
        if (text.trim()) rows[line - 1] = text;
        else rows.splice(line - 1, 1);
      }
      return upload(new File([rows.join("\n")], check.path));
    },
    onSuccess: async (made) => {
      await queries.invalidateQueries({ queryKey: ["files"] });
      setEdits({});
      await go(`/data/file?${new URLSearchParams({ file: made.id })}`);
    },
  });
  const of = (line: number) => check.findings.filter((each) => each.line === line);
  const others = check.findings.filter((each) => !lines.includes(each.line));
  const whole = (line: number) => (texts[String(line)]?.length ?? 0) < 2000;
  return (
    <Part
      title="What is wrong"
      side={
        mine && lines.length > 0 ? (
          <Button size="xs" disabled={Object.keys(edits).length === 0} loading={save.isPending} onClick={() => save.mutate()}>
            Keep as a new version
          </Button>
        ) : undefined
      }
    >
      <Stack gap="md">
        <Failed error={save.error} />
        {lines.map((line) => (
          <Box key={line}>
            {of(line).map((finding) => (
              <Told key={`${finding.column}${finding.rule}`} finding={finding} />
            ))}
            <Textarea
              aria-label={`Row in line ${line}`}
              value={edits[line] ?? texts[String(line)] ?? ""}
              onChange={(event) => setEdits({ ...edits, [line]: event.currentTarget.value })}
              readOnly={!mine || !whole(line)}
              autosize
              minRows={1}
              maxRows={8}
              mt={4}
              spellCheck={false}
              styles={{ input: { fontFamily: "var(--mantine-font-family-monospace)", fontSize: 13 } }}
            />
          </Box>
        ))}
        {others.map((finding) => (
          <Told key={`${finding.path}${finding.line}${finding.column}${finding.rule}`} finding={finding} />
        ))}
        {check.errors > check.findings.length && <Text size="sm">… and {count(check.errors - check.findings.length)} more.</Text>}
        {mine && lines.length > 0 && (
          <Text size="xs" c="dimmed">
            Mend the rows here, or empty one to leave it out. The file itself stays as it is; a new version is made.
          </Text>
        )}
      </Stack>
    </Part>
  );
}

function Told({ finding }: { finding: Finding }) {
  return (
    <Text component="div" size="sm" className="wrap">
      <Badge variant="light" color="red" mr="xs" tt="none">
        {finding.line}:{finding.column}
      </Badge>
      {finding.field && <b>{finding.field}: </b>}
      {finding.rule} <i>{finding.fix}</i>
    </Text>
  );
}

function Lengths({ lengths }: { lengths: Schemas["Lengths"] }) {
  const most = Math.max(1, ...lengths.histogram.map((bar) => bar.rows));
  return (
    <Part title="Tokens a row">
      <Group gap="xl" mb="sm" align="flex-start">
        <Value name="longest row" value={count(lengths.longest)} note={`${count(lengths.limit)} fit`} />
        <Value name="tokens" value={count(lengths.total)} note={lengths.exact ? "counted" : `about, from ${count(lengths.measured)} rows`} />
        <Value name="trained" value={count(lengths.trained)} note={lengths.total ? `${Math.round((100 * lengths.trained) / lengths.total)} %` : ""} />
        <Value name="too long" value={count(lengths.too_long)} note={lengths.too_long ? `first in line ${lengths.too_long_lines[0] ?? ""}` : ""} />
      </Group>
      <Table withRowBorders={false} verticalSpacing={2} aria-label="Rows by length">
        <Table.Tbody>
          {lengths.histogram.map((bar) => (
            <Table.Tr key={bar.upto} style={bar.upto === lengths.limit ? { borderBottom: "2px solid var(--mantine-color-red-6)" } : {}}>
              <Table.Th scope="row" fw={500} w={130} fz="sm">
                {count(bar.over + 1)} to {count(bar.upto)}
              </Table.Th>
              <Table.Td w={60} ta="right" fz="sm">
                {count(bar.rows)}
              </Table.Td>
              <Table.Td>
                <Box h={14} w={`${(100 * bar.rows) / most}%`} miw={2} bg={bar.over >= lengths.limit ? "red" : "cyan"} style={{ borderRadius: 3 }} />
              </Table.Td>
            </Table.Tr>
          ))}
        </Table.Tbody>
      </Table>
      <Text size="xs" c="dimmed">
        The window of the base is {count(lengths.window)} tokens. {lengths.note}
      </Text>
    </Part>
  );
}

function Sample({ check }: { check: Schemas["Check"] }) {
  return (
    <Part title="A row as the model reads it">
      <Text size="sm" c="dimmed" mb="xs">
        <mark className="trained">What is trained</mark> is marked.
      </Text>
      <Marked tokens={check.sample} />
      {(check.sample_rejected ?? []).length > 0 && (
        <>
          <Text size="sm" c="dimmed" my="xs">
            The same with the rejected answer:
          </Text>
          <Marked tokens={check.sample_rejected ?? []} />
        </>
      )}
      {check.sample_label !== null && check.sample_label !== undefined && <Text size="sm" mt="xs">Its class: {String(check.sample_label)}</Text>}
    </Part>
  );
}

function Marked({ tokens }: { tokens: [string, boolean][] }) {
  return (
    <div className="rendered">
      {tokens.map(([text, trained], at) => (trained ? <mark key={at} className="trained">{text}</mark> : <span key={at}>{text}</span>))}
    </div>
  );
}
