// The log's filter as it is typed, and as the server takes it.
import type { Schemas } from "../client";

export interface Fields {
  contains: string;
  model: string;
  status: string;
  key: string;
  variant: string;
}

export type Fitting = Schemas["Filter"];

export const NO_FILTER: Fields = { contains: "", model: "", status: "", key: "", variant: "" };

/** Only what is filled in; a status counts once it is one. */
export function fittingOf(fields: Fields): Fitting {
  const { status, ...words } = fields;
  const said = Object.entries(words).map(([name, word]) => [name, word.trim()] as const);
  return {
    ...(Object.fromEntries(said.filter(([, word]) => word)) as Fitting),
    ...(/^[1-5]\d\d$/.test(status.trim()) && { status: Number(status) }),
  };
}
