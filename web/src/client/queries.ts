// What more than one page asks for, under one name each.
import { queryOptions } from "@tanstack/react-query";

import { host } from "../host";
import { type Schemas, ask, client } from "./index";

export const session = queryOptions({
  queryKey: ["session"],
  queryFn: () => host.who(),
  staleTime: Infinity,
});
export const overview = queryOptions({
  queryKey: ["overview"],
  queryFn: () => ask(client.GET("/api/overview")),
  refetchInterval: 3000,
});
export const files = queryOptions({
  queryKey: ["files"],
  queryFn: () => ask(client.GET("/v1/files", { params: { query: { purpose: "fine-tune" } } })),
});
export const methods = queryOptions({
  queryKey: ["methods"],
  queryFn: () => ask(client.GET("/api/methods")),
  staleTime: Infinity,
});
export const jobs = queryOptions({
  queryKey: ["jobs"],
  queryFn: () => ask(client.GET("/api/jobs", { params: { query: { limit: 100 } } })),
  refetchInterval: 3000,
});
export const models = queryOptions({
  queryKey: ["models"],
  // The client's types forget how long a pair is.
  queryFn: () => ask(client.GET("/api/models")) as Promise<Schemas["Models"]>,
});
export const catalogue = queryOptions({
  queryKey: ["catalogue"],
  queryFn: () => ask(client.GET("/api/catalogue")),
  staleTime: Infinity,
});
export const names = queryOptions({ queryKey: ["names"], queryFn: () => ask(client.GET("/v1/models")) });
export const votes = queryOptions({ queryKey: ["votes"], queryFn: () => ask(client.GET("/api/votes")) });
export const feedback = queryOptions({ queryKey: ["feedback"], queryFn: () => ask(client.GET("/api/feedback")) });
export const prompts = queryOptions({ queryKey: ["prompts"], queryFn: () => ask(client.GET("/api/prompts")) });
