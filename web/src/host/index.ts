// What answers the pages: the server that they came from, or an API on AWS that only chats. The page itself says which.
import type { ReactNode } from "react";

import type { Failure, Schemas } from "../client";
import type { Body } from "../client/chat";
import { gateway } from "./gateway";
import { server } from "./server";

export interface Host {
  /** The Playground, and nothing else. */
  alone: boolean;
  /** Those that the page itself names; none where the server is asked, or where there is one. */
  models: string[];
  /** Whether answers come as they are written. */
  streams: boolean;
  /** What is said when nothing answers. */
  silent: string;
  signIn: { about: ReactNode; ended: string; kept: string };
  /** The same request as a program that needs no console. */
  programs: [string, (origin: string, body: Body) => string][];
  /** What every request carries. */
  headers(): Record<string, string>;
  failure(status: number, body: unknown): Failure;
  /** Who is here. Throws a `Failure` of 401 for nobody. */
  who(): Promise<Schemas["Session"]>;
  enter(key: string): Promise<unknown>;
  leave(): Promise<unknown>;
  /** Say of an answer whether it was good; where there is none, the log is where it is said. */
  rate?(request: string, good: boolean): Promise<void>;
}

export const host: Host = document.querySelector<HTMLMetaElement>("meta[name=host]")?.content === "gateway" ? gateway : server;
