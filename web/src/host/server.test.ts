import { expect, test } from "vitest";

import { host } from ".";
import { server } from "./server";

test("a page that names no other host is answered by the server that it came from", () => {
  expect(host).toBe(server);
});
