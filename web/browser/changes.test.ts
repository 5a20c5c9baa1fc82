// What is changed by hand, after the story and over what it left: budgets, retention, templates, weights, a data set of
// picked requests; and a job that is stopped and resumed meanwhile, with its curves over those of the first.
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";

import { KEY, URL, launch, open, seriousFindings, signIn } from "./chromium";

const MINUTES = 60_000;
let browser: Browser;
let page: Page;
let faults: string[];
/** Of the job that trains beside all this. */
let job: string;

const asked = async <T>(path: string, body?: unknown): Promise<T> => {
  const headers = { Authorization: `Bearer ${KEY}`, "Content-Type": "application/json" };
  const answer = await fetch(URL + path, body === undefined ? { headers } : { method: "POST", headers, body: JSON.stringify(body) });
  expect(answer.status).toBe(200);
  return (await answer.json()) as T;
};

beforeAll(async () => {
  browser = await launch();
  ({ page, faults } = await open(browser));
  const { data } = await asked<{ data: { id: string; filename: string }[] }>("/v1/files");
  const stones = data.find((each) => each.filename.startsWith("stones"));
  const recipe = { data: stones?.id, name: "pebbles", epochs: 1000, batch_size: 1, lora: { r: 4 } };
  job = (await asked<{ id: string }>("/api/jobs", { recipe, task: "train" })).id;
  await signIn(page, "/settings");
});
afterAll(() => browser.close());

test("a key is given another budget", async () => {
  const row = page.getByRole("row", { name: /^asker/ });
  await page.getByRole("button", { name: "Make a key" }).click();
  await page.getByRole("textbox", { name: "Name" }).fill("asker");
  await page.getByLabel("Tokens a day").fill("many");
  await page.getByText("A whole number from 1").waitFor();
  expect(await page.getByRole("button", { name: "Make it" }).isDisabled()).toBe(true);
  await page.getByLabel("Tokens a day").fill("5,000");
  await page.getByRole("button", { name: "Make it" }).click();
  await page.getByText("Copy it now").waitFor();
  await page.keyboard.press("Escape");
  await row.getByText("5,000").waitFor();
  await page.getByRole("button", { name: "Budget of asker" }).click();
  expect(await seriousFindings(page)).toEqual([]);
  await page.getByLabel("Requests a minute").fill("7");
  await page.getByLabel("Tokens a day").fill("");
  await page.getByRole("button", { name: "Set the budget" }).click();
  await row.getByRole("cell", { name: "7", exact: true }).waitFor();
  await row.getByRole("cell", { name: "no limit" }).waitFor();
});

test("a shorter retention says what it deletes, and does it once that is wanted", async () => {
  await page.getByRole("tab", { name: "Server" }).click();
  const days = page.getByLabel("Days that the log keeps a request");
  await days.fill("soon");
  await page.getByText("A whole number of days").waitFor();
  await days.fill("7");
  await page.getByRole("button", { name: "Keep them so long" }).click();
  await page.getByText("1 request older than 7 days").waitFor();
  expect(await seriousFindings(page)).toEqual([]);
  await page.getByRole("button", { name: "Keep them", exact: true }).click();
  expect(await asked("/api/settings/retention?days=7")).toMatchObject({ days: 30, requests: 1 });
  await page.getByRole("button", { name: "Keep them so long" }).click();
  await page.getByRole("button", { name: "Delete them" }).click();
  await page.getByText("1 request older than 7 days").waitFor({ state: "hidden" });
  await expect.poll(() => asked("/api/settings/retention?days=7")).toMatchObject({ days: 7, requests: 0 });
});

test("a template is written, changed, filled in and sent", async () => {
  await page.goto(`${URL}/console/playground?model=stones`);
  await page.getByRole("button", { name: "Write one" }).click();
  await page.getByRole("textbox", { name: "Name" }).fill("pebbles");
  await page.getByLabel("Text", { exact: true }).fill("Of {{ kind }}: {{ question");
  await page.getByRole("button", { name: "Keep it" }).click();
  await page.getByText("pebbles:1:").waitFor();
  expect(await seriousFindings(page)).toEqual([]);
  await page.getByLabel("Text", { exact: true }).fill("Of {{ kind }}: {{ question }}");
  await page.getByRole("button", { name: "Keep it" }).click();
  await page.getByRole("button", { name: "Change it" }).click();
  await page.getByText("Change pebbles@1").waitFor();
  await page.getByLabel("Text", { exact: true }).fill("{% system %}Be short.{% endsystem %}About {{ kind }}: {{ question }}");
  await page.getByRole("button", { name: "Keep it" }).click();
  await page.getByLabel("kind", { exact: true }).fill("lava");
  await page.getByLabel("Prompt", { exact: true }).fill("Is it grey?");
  await page.getByRole("button", { name: "Put it around the prompt" }).click();
  await expect.poll(() => page.getByLabel("Prompt", { exact: true }).inputValue()).toBe("About lava: Is it grey?");
  expect(await page.getByLabel("System prompt").inputValue()).toBe("Be short.");
  expect(await page.getByRole("combobox", { name: "Template" }).inputValue()).toBe("pebbles@2");
  await page.getByLabel("max_tokens").fill("4");
  await page.getByRole("button", { name: "Send" }).click();
  await page.getByText(/tokens in · \d+ out/).waitFor({ timeout: 2 * MINUTES });
});

test("a data set is made of what was picked, and of what the filter finds", async () => {
  await page.getByRole("navigation").getByRole("link", { name: "Traffic" }).click();
  await page.getByLabel("Words").fill("About lava");
  await page.getByText("1 in all", { exact: true }).waitFor();
  await page.getByRole("checkbox", { name: /^Pick req-/ }).check();
  await page.getByText("1 picked for a data set").waitFor();
  await page.getByLabel("Words").fill("very last pebble");
  await page.getByRole("button", { name: "Make a data set of 1" }).click();
  expect(await seriousFindings(page)).toEqual([]);
  await page.getByRole("button", { name: "Make it" }).click();
  // The one that was picked, not what the filter finds now.
  await page.locator(".rendered").getByText("About lava: Is it grey?").waitFor({ timeout: MINUTES });
  await page.getByRole("navigation").getByRole("link", { name: "Traffic" }).click();
  await page.getByLabel("Status").fill("418");
  await page.getByText("No request fits.").waitFor();
  await page.getByRole("button", { name: "Make a data set" }).click();
  await page.getByRole("button", { name: "Make it" }).click();
  await page.getByText("Nothing here makes a row of instruction data.").waitFor();
  await page.keyboard.press("Escape");
});

test("an endpoint's traffic is shifted", async () => {
  await page.getByRole("tab", { name: "Variants" }).click();
  await page.getByLabel("Weight of old").fill("1");
  await page.getByText("25 %").waitFor();
  expect(await seriousFindings(page)).toEqual([]);
  await page.getByRole("button", { name: "Shift the traffic" }).click();
  await expect.poll(() => asked("/api/variants")).toMatchObject({ data: [{ variant: "old", model: "stones@1", weight: 1 }, { variant: "new", weight: 3 }] });
});

test("a suite's answers stand beside each other, with the words that differ marked", async () => {
  await page.goto(`${URL}/console/compare?right=stones@1`);
  await page.getByRole("tab", { name: "Suite" }).click();
  await page.getByText("Words in which the answers differ are marked.").waitFor();
  expect(await page.locator("mark.differs").count()).toBeGreaterThan(1);
  await page.getByText("expected", { exact: true }).first().waitFor();
});

test("a job is stopped and resumed, and its curves lie over those of another", async () => {
  await page.goto(`${URL}/console/train/${job}`);
  await page.getByText(/^[\d,]+ of 12,000$/).waitFor({ timeout: 5 * MINUTES });
  await page.getByRole("button", { name: "Stop" }).click();
  await page.getByText("stopped", { exact: true }).waitFor({ timeout: 2 * MINUTES });
  const at = (await page.getByText(/Checkpoint at step \d+\.$/).last().textContent())?.match(/step (\d+)/)?.[1] ?? "";
  await page.getByRole("button", { name: "Resume" }).click();
  await page.getByText(`Goes on from checkpoint-${at}.`).waitFor({ timeout: 5 * MINUTES });
  await page.getByRole("button", { name: "Stop" }).click();
  await page.getByRole("navigation").getByRole("link", { name: "Train" }).click();
  const { data } = await asked<{ data: { id: string; model: string | null }[] }>("/api/jobs");
  const first = data.find((each) => each.model === "stones@1")?.id ?? "";
  for (const id of [first, job]) await page.getByLabel(`Choose ${id}`).check();
  await page.getByRole("button", { name: "Lay curves over each other" }).click();
  const loss = page.getByRole("figure").filter({ hasText: "Loss by step" });
  for (const id of [first, job]) await loss.getByText(new RegExp(`^${id}: \\d`)).waitFor();
  expect(faults).toEqual([]);
});
