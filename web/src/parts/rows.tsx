// A table with a heading a column; its children are the rows.
import { Table } from "@mantine/core";
import type { ReactNode } from "react";

import { Wide } from "./wide";

export function Rows({ head, children, ...wide }: { head: ReactNode[]; minWidth: number; label: string; children: ReactNode }) {
  return (
    <Wide {...wide}>
      <Table verticalSpacing="xs">
        <Table.Thead>
          <Table.Tr>
            {head.map((name, at) => (
              <Table.Th key={at}>{name}</Table.Th>
            ))}
          </Table.Tr>
        </Table.Thead>
        <Table.Tbody>{children}</Table.Tbody>
      </Table>
    </Wide>
  );
}
