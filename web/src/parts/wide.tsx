// A table that may be wider than a small window: it scrolls by itself, by keyboard too.
import { Table } from "@mantine/core";
import type { ReactNode } from "react";

export function Wide({ minWidth, label, children }: { minWidth: number; label: string; children: ReactNode }) {
  return (
    <Table.ScrollContainer minWidth={minWidth} scrollAreaProps={{ viewportProps: { tabIndex: 0, role: "group", "aria-label": label } }}>
      {children}
    </Table.ScrollContainer>
  );
}
