// A table with a heading a column; its children are the rows. In a narrow window each row is a block, its cells named.
import { Table } from "@mantine/core";
import type { CSSProperties, ReactNode } from "react";

import { Wide } from "./wide";

export function Rows({ head, children, ...wide }: { head: ReactNode[]; minWidth: number; label: string; children: ReactNode }) {
  const names = head.flatMap((name, at) => (typeof name === "string" && name ? [[`--column-${at + 1}`, JSON.stringify(name)]] : []));
  return (
    <Wide {...wide}>
      <Table verticalSpacing="xs" className="rows" style={Object.fromEntries(names) as CSSProperties}>
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
