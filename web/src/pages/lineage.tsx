// Where versions come from, as a small graph: columns by distance from their base, one line a step.
import { Box } from "@mantine/core";
import { useNavigate } from "react-router";

import type { Schemas } from "../client";

type Link = Pick<Schemas["ShownModel"], "id" | "parent" | "stage" | "method">;

const [WIDTH, HEIGHT, GAP, ROW] = [210, 40, 70, 54];

interface Node {
  id: string;
  column: number;
  row: number;
  model: Link | undefined;
}

export function layOut(models: Link[]): Node[] {
  const by = new Map(models.map((model) => [model.id, model]));
  const depth = (id: string, seen: Set<string> = new Set()): number => {
    const model = by.get(id);
    if (!model || seen.has(id)) return 0;
    return 1 + depth(model.parent, seen.add(id));
  };
  const children = new Map<string, Link[]>();
  for (const model of models) children.set(model.parent, [...(children.get(model.parent) ?? []), model]);
  const nodes: Node[] = [];
  let row = 0;
  const place = (id: string) => {
    if (nodes.some((node) => node.id === id)) return;
    nodes.push({ id, column: depth(id), row, model: by.get(id) });
    const below = [...(children.get(id) ?? [])].reverse();
    below.forEach((child, at) => {
      if (at > 0) row += 1;
      place(child.id);
    });
  };
  for (const root of new Set(models.map((model) => model.parent).filter((parent) => !by.has(parent)))) {
    place(root);
    row += 1;
  }
  return nodes;
}

export function Lineage({ models }: { models: Link[] }) {
  const go = useNavigate();
  const nodes = layOut(models);
  const at = new Map(nodes.map((node) => [node.id, node]));
  const x = (node: Node) => 4 + node.column * (WIDTH + GAP);
  const y = (node: Node) => 4 + node.row * ROW;
  const width = Math.max(...nodes.map(x)) + WIDTH + 8;
  const height = Math.max(...nodes.map(y)) + HEIGHT + 8;
  return (
    <Box style={{ overflowX: "auto" }} tabIndex={0} role="group" aria-label="Lineage of the versions">
      <svg width={width} height={height} role="img" aria-label={models.map((model) => `${model.id} from ${model.parent}`).join("; ")}>
        {nodes.map((node) => {
          const from = node.model && at.get(node.model.parent);
          if (!from) return null;
          const [x1, y1, x2, y2] = [x(from) + WIDTH, y(from) + HEIGHT / 2, x(node), y(node) + HEIGHT / 2];
          return (
            <g key={`line ${node.id}`}>
              <path d={`M${x1} ${y1} C${x1 + GAP / 2} ${y1} ${x2 - GAP / 2} ${y2} ${x2} ${y2}`} fill="none" stroke="var(--mantine-color-dimmed)" strokeWidth="1.5" />
              <text x={x2 - 6} y={y2 - 6} fontSize="11" textAnchor="end" fill="var(--mantine-color-dimmed)">
                {node.model?.method}
              </text>
            </g>
          );
        })}
        {nodes.map((node) => (
          <g
            key={node.id}
            style={node.model ? { cursor: "pointer" } : {}}
            onClick={() => node.model && void go(`/models/${node.id}`)}
          >
            <rect
              x={x(node)}
              y={y(node)}
              width={WIDTH}
              height={HEIGHT}
              rx="8"
              fill="var(--mantine-color-default)"
              stroke={node.model?.stage === "production" ? "var(--mantine-color-green-6)" : "var(--mantine-color-default-border)"}
              strokeWidth={node.model?.stage === "production" ? 2 : 1}
            />
            <text x={x(node) + 10} y={y(node) + HEIGHT / 2 + 4} fontSize="12" fill="var(--mantine-color-text)">
              {node.id.length > 29 ? `${node.id.slice(0, 28)}…` : node.id}
            </text>
          </g>
        ))}
      </svg>
    </Box>
  );
}
