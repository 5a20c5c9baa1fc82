import { Code } from "@mantine/core";

import { OWN, SILENT, ask, client, failure } from "../client";
import { asBoto3, asCurl, asOpenai } from "../pages/copy-as";
import type { Host } from ".";

export const server: Host = {
  alone: false,
  models: [],
  streams: true,
  silent: SILENT,
  signIn: {
    about: (
      <>
        It begins with <Code>sk-pumice-</Code>. Make one: <Code>pumice keys create NAME --role admin</Code>
      </>
    ),
    ended: "Your session has ended. Sign in again; nothing on the server was lost.",
    kept: "The key is traded for a cookie of twelve hours and is not kept in the browser.",
  },
  programs: [
    ["curl", asCurl],
    ["OpenAI Python", asOpenai],
    ["boto3", asBoto3],
  ],
  headers: () => OWN,
  failure,
  who: () => ask(client.GET("/api/session")),
  enter: (key) => ask(client.POST("/api/session", { body: { key } })),
  leave: () => ask(client.DELETE("/api/session")),
};
