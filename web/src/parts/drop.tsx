// A place to drop a file on, or to choose one by keyboard.
import { Button, FileButton, Group, Paper, Text } from "@mantine/core";
import { useState } from "react";

export const KINDS = ".jsonl,.json,.csv,.parquet,.txt,.md,.html,.pdf,.docx";

export function Drop({ take, busy }: { take: (file: File) => void; busy: boolean }) {
  const [over, setOver] = useState(false);
  return (
    <Paper
      withBorder
      p="lg"
      radius="md"
      style={{ borderStyle: "dashed", borderWidth: 2, ...(over ? { borderColor: "var(--mantine-primary-color-filled)" } : {}) }}
      onDragOver={(event) => {
        event.preventDefault();
        setOver(true);
      }}
      onDragLeave={() => setOver(false)}
      onDrop={(event) => {
        event.preventDefault();
        setOver(false);
        const file = event.dataTransfer.files[0];
        if (file) take(file);
      }}
    >
      <Group justify="center" gap="md">
        <Text>Drop a file here</Text>
        <FileButton onChange={(file) => file && take(file)} accept={KINDS}>
          {(props) => (
            <Button {...props} loading={busy}>
              Choose a file
            </Button>
          )}
        </FileButton>
      </Group>
      <Text ta="center" size="xs" c="dimmed" mt="xs">
        JSONL, JSON, CSV, Parquet, text, PDF, Word, HTML or Markdown. It stays on this server.
      </Text>
    </Paper>
  );
}
