import { expect, test } from "vitest";

import { layOut } from "./lineage";

const version = (id: string, parent: string) => ({ id, parent, stage: "candidate" as const, method: "lora" });

test("columns follow the distance from the base, rows never meet", () => {
  const nodes = layOut([version("a@1", "base"), version("a@2", "a@1"), version("b@1", "a@1"), version("c@1", "other")]);
  const column = Object.fromEntries(nodes.map((node) => [node.id, node.column]));
  expect(column).toEqual({ base: 0, "a@1": 1, "a@2": 2, "b@1": 2, other: 0, "c@1": 1 });
  const places = nodes.map((node) => `${node.column}/${node.row}`);
  expect(new Set(places).size).toBe(places.length);
});
