// A page's head and its cards: every page looks the same from the top.
import { Card, Group, Stack, Text, Title, VisuallyHidden, type CardProps } from "@mantine/core";
import { useDocumentTitle } from "@mantine/hooks";
import type { ReactNode } from "react";

export function Page({ title, about, side, children }: { title: string; about?: ReactNode; side?: ReactNode; children: ReactNode }) {
  useDocumentTitle(`${title} · Pumice`);
  return (
    <Stack gap="md" maw={1280} mx="auto">
      <Group justify="space-between" align="flex-start" gap="sm">
        <div style={{ minWidth: 0 }}>
          <Title order={1} size="h2" style={{ overflowWrap: "anywhere" }}>
            {title}
          </Title>
          {about && (
            <Text c="dimmed" size="sm">
              {about}
            </Text>
          )}
        </div>
        {side}
      </Group>
      {children}
    </Stack>
  );
}

export function Part({ title, side, hidden, children, ...rest }: { title: string; side?: ReactNode; hidden?: boolean; children: ReactNode } & CardProps) {
  return (
    <Card withBorder radius="md" padding="md" component="section" aria-label={title} {...rest}>
      {hidden ? (
        <VisuallyHidden component="h2">{title}</VisuallyHidden>
      ) : (
        <Group justify="space-between" mb="sm" gap="xs">
          <Title order={2} size="h4">
            {title}
          </Title>
          {side}
        </Group>
      )}
      {children}
    </Card>
  );
}
