import { Alert, Button, Card, Center, PasswordInput, Stack, Text, Title } from "@mantine/core";
import { useDocumentTitle } from "@mantine/hooks";
import { useState } from "react";

import type { Failure } from "../client";
import { host } from "../host";
import { Failed } from "../parts/said";

export function SignIn({ why, enter }: { why: Failure; enter: () => void }) {
  useDocumentTitle("Sign in · Pumice");
  const [key, setKey] = useState("");
  const [error, setError] = useState<unknown>(null);
  const [busy, setBusy] = useState(false);
  const submit = async () => {
    setBusy(true);
    setError(null);
    try {
      await host.enter(key);
      enter();
    } catch (failed) {
      setError(failed);
    } finally {
      setBusy(false);
    }
  };
  return (
    <Center mih="100vh" p="md" component="main">
      <Card withBorder radius="md" padding="xl" w="100%" maw={420}>
        <form
          onSubmit={(event) => {
            event.preventDefault();
            void submit();
          }}
        >
          <Stack>
            <Title order={1} size="h2">
              Pumice
            </Title>
            {why.code === "session_ended" && (
              <Alert color="yellow" role="status">
                {host.signIn.ended}
              </Alert>
            )}
            <PasswordInput
              label="Key"
              description={host.signIn.about}
              value={key}
              onChange={(event) => setKey(event.currentTarget.value)}
              autoComplete="current-password"
              data-autofocus
            />
            <Failed error={error} />
            <Button type="submit" loading={busy} disabled={!key.trim()}>
              Sign in
            </Button>
            <Text size="xs" c="dimmed">
              {host.signIn.kept}
            </Text>
          </Stack>
        </form>
      </Card>
    </Center>
  );
}
