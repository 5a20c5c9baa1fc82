// A budget as it is typed: an empty field is no limit.
import type { Schemas } from "../client";

export interface Limits {
  requests: string;
  tokens: string;
}

export const NO_LIMITS: Limits = { requests: "", tokens: "" };
const MOST = 2 ** 31 - 1;

/** A limit, null for none; undefined for what is no whole number from 1. */
export function limitOf(word: string): number | null | undefined {
  const plain = word.replace(/[\s,]/g, "");
  if (!plain) return null;
  const value = Number(plain);
  return /^\d+$/.test(plain) && value >= 1 && value <= MOST ? value : undefined;
}

/** Both limits; null while one of them is none. */
export function budgetOf({ requests, tokens }: Limits): Schemas["Budget"] | null {
  const [rate, day] = [limitOf(requests), limitOf(tokens)];
  return rate === undefined || day === undefined ? null : { requests_per_minute: rate, tokens_per_day: day };
}
