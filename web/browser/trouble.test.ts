// When things go wrong each shows something sensible: a server that is gone, a slow stream, an expired key, much of all.
import type { Browser } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";

import { URL, launch, open, signIn } from "./chromium";

let browser: Browser;

beforeAll(async () => {
  browser = await launch();
});
afterAll(() => browser.close());

test("a server that does not answer", async () => {
  const { page } = await open(browser);
  await signIn(page);
  await page.route("**/api/**", (route) => route.abort("connectionrefused"));
  await page.getByRole("navigation").getByRole("link", { name: "Models" }).click();
  await page.getByText("The server does not answer.").waitFor();
  await page.unroute("**/api/**");
  await page.getByRole("button", { name: "Try again" }).click();
  await page.getByRole("tab", { name: "Known bases" }).waitFor();
  await page.getByText("The server does not answer.").waitFor({ state: "detached" });
  await page.context().close();
});

test("a server that fails says where its log has the reason", async () => {
  const { page } = await open(browser);
  await signIn(page);
  await page.route("**/api/models", (route) =>
    route.fulfill({ status: 500, json: { error: { message: "The server failed; its log holds the reason under req-1.", code: "internal_error" } } }),
  );
  await page.getByRole("navigation").getByRole("link", { name: "Models" }).click();
  await page.getByText("its log holds the reason under req-1").waitFor();
  await page.context().close();
});

test("a wrong key, and a session that has ended", async () => {
  const { page } = await open(browser);
  await page.goto(`${URL}/console/`);
  await page.getByLabel("Key", { exact: true }).fill("sk-pumice-wrong");
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByText("This key is unknown or revoked.").waitFor();
  await signIn(page);
  const [cookie] = await page.context().cookies();
  expect(cookie).toMatchObject({ name: "pumice_session", httpOnly: true, sameSite: "Strict" });
  await page.context().addCookies([{ name: "pumice_session", value: "stale", url: URL }]);
  await page.getByRole("navigation").getByRole("link", { name: "Models" }).click();
  await page.getByText("Your session has ended.").waitFor();
  await signIn(page);
  await page.context().close();
});

test("a change that another page sends with the cookie is refused", async () => {
  const { page } = await open(browser);
  await signIn(page);
  const status = await page.evaluate(async () => (await fetch("/api/keys", { method: "POST", body: "{}", headers: { "Content-Type": "application/json" } })).status);
  expect(status).toBe(403);
  await page.context().close();
});

test("a stream without a token, and one that breaks off", async () => {
  const { page } = await open(browser);
  await signIn(page, "/playground");
  await page.clock.install();
  let free = () => {};
  const held = new Promise<void>((resolve) => {
    free = resolve;
  });
  await page.route("**/v1/chat/completions", async (route) => {
    await held;
    await route.fulfill({ status: 200, contentType: "text/event-stream", body: 'data: {"model":"m","choices":[{"delta":{"content":"Half of"}}]}\n\n' });
  });
  await page.goto(`${URL}/console/playground`);
  await page.getByLabel("Prompt", { exact: true }).fill("Hello");
  await page.getByRole("button", { name: "Send" }).click();
  await page.clock.runFor(9_000);
  await page.getByText("No token yet.").waitFor();
  free();
  await page.getByText("The answer broke off").waitFor();
  await page.getByText("Half of", { exact: true }).waitFor();
  await page.context().close();
});

test("ten thousand rows of the log are read on and never all drawn", async () => {
  const { page } = await open(browser);
  await signIn(page);
  let pages = 0;
  await page.route("**/api/requests*", async (route) => {
    const first = pages++ * 500;
    const data = [...Array(500).keys()].map((at) => ({
      id: `req-${first + at}`, at: "2026-11-28T07:00:00Z", key: null, operation: "chat", asked: `model ${first + at}`, model: `model ${first + at}`,
      variant: null, status: 200, input_tokens: 1, output_tokens: 2, first_token_seconds: 0.1, seconds: 0.2, request: null, response: null,
    }));
    await route.fulfill({ json: { object: "list", data, first_id: data[0]?.id, last_id: data.at(-1)?.id, has_more: first + 500 < 10_000 } });
  });
  await page.getByRole("navigation").getByRole("link", { name: "Traffic" }).click();
  const list = page.getByRole("group", { name: "Requests, the newest first" });
  await list.waitFor();
  for (let at = 0; at < 60 && pages < 20; at++) {
    await list.evaluate((each) => each.scrollTo(0, each.scrollHeight));
    await page.waitForTimeout(100);
  }
  await page.getByText("10,000 in all").waitFor();
  await list.evaluate((each) => each.scrollTo(0, each.scrollHeight));
  await page.getByText("model 9999").waitFor();
  expect(await list.getByRole("button").count()).toBeLessThan(60);
  await page.context().close();
});

const PASTE = (times: number) => `
  const field = document.activeElement;
  const row = (at) => JSON.stringify({ prompt: "Stone " + at + "?", completion: "grey ".repeat(20) + at });
  const data = new DataTransfer();
  data.setData("text/plain", [...Array(${times}).keys()].map(row).join("\\n"));
  field.dispatchEvent(new ClipboardEvent("paste", { clipboardData: data, bubbles: true, cancelable: true }));
`;

test("two megabytes of pasted rows, and of pasted prompt", async () => {
  const { page, faults } = await open(browser);
  await signIn(page, "/data");
  await page.getByRole("button", { name: "Paste rows" }).click();
  await page.getByLabel("Rows", { exact: true }).focus();
  await page.evaluate(PASTE(14_000));
  await page.getByText("2.0 MB were pasted").waitFor();
  await page.getByRole("button", { name: "Keep and check" }).click();
  await page.getByText("14,000 good rows").waitFor({ timeout: 180_000 });
  await page.getByRole("navigation").getByRole("link", { name: "Playground" }).click();
  await page.getByLabel("Prompt", { exact: true }).focus();
  await page.evaluate(PASTE(14_000));
  await page.getByText("characters were not pasted").waitFor();
  expect(faults).toEqual([]);
  await page.context().close();
});
