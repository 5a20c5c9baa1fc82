// What a page says when it waits, fails, or has nothing: each with what to do next.
import { Alert, Button, Group, Loader, Stack, Text } from "@mantine/core";
import type { ReactNode } from "react";

import { Failure } from "../client";

export function Failed({ error, retry }: { error: unknown; retry?: () => void }) {
  if (!error) return null;
  const told = error instanceof Error ? error.message : String(error);
  const title =
    error instanceof Failure && error.status === 403
      ? "This key may not do that"
      : error instanceof Failure && error.status === 0
        ? "No answer"
        : "That did not work";
  return (
    <Alert color="red" title={title} role="alert" variant="light">
      <Text size="sm" style={{ whiteSpace: "pre-wrap", overflowWrap: "anywhere" }}>
        {told}
      </Text>
      {retry && (
        <Button mt="sm" size="xs" variant="default" onClick={retry}>
          Try again
        </Button>
      )}
    </Alert>
  );
}

export function Waiting({ what = "Loading" }: { what?: string }) {
  return (
    <Group role="status" gap="sm" p="md">
      <Loader size="sm" type="dots" />
      <Text size="sm" c="dimmed">
        {what} …
      </Text>
    </Group>
  );
}

export function Empty({ children, action }: { children: ReactNode; action?: ReactNode }) {
  return (
    <Stack align="flex-start" gap="sm" py="md">
      <Text c="dimmed">{children}</Text>
      {action}
    </Stack>
  );
}
