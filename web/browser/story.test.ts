// The main story, in real Chromium, with the real default model: from a file with mistakes to a model in use.
import { writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import type { Browser } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";

import { URL, type Watched, launch, open, signIn } from "./chromium";

const MINUTES = 60_000;
let browser: Browser;
let watched: Watched;

beforeAll(async () => {
  browser = await launch();
  watched = await open(browser);
  await signIn(watched.page);
});
afterAll(() => browser.close());

function rowsWithThreeMistakes(): string {
  const rows = [...Array(12).keys()].map((at) => JSON.stringify({ prompt: `What colour is stone ${at}?`, completion: `Stone ${at} is grey.` }));
  rows[2] = '{"prompt": "What colour is stone 2?", "completion": ""}';
  rows[5] = '{"prompt": "What colour is stone 5?" "completion": "Stone 5 is grey."}';
  rows[8] = '{"prompt": 8, "completion": "Stone 8 is grey."}';
  return `${rows.join("\n")}\n`;
}

test("a dropped file with three mistakes is mended row by row", async () => {
  const { page } = watched;
  await page.getByRole("heading", { name: "Start here" }).waitFor();
  const file = join(tmpdir(), `stones-${Date.now()}.jsonl`);
  writeFileSync(file, rowsWithThreeMistakes());
  await page.locator("input[type=file]").setInputFiles(file);
  await page.getByRole("button", { name: "Check the file" }).click();
  await page.getByText("3 errors: it cannot be trained on as it is").waitFor({ timeout: 3 * MINUTES });
  // Each row with its text, the rule and the way out.
  await page.getByText("The answer is empty.").waitFor();
  await page.getByText("A comma is missing before this.").waitFor();
  await page.getByLabel("Row in line 3").fill('{"prompt": "What colour is stone 2?", "completion": "Stone 2 is grey."}');
  await page.getByLabel("Row in line 6").fill('{"prompt": "What colour is stone 5?", "completion": "Stone 5 is grey."}');
  await page.getByLabel("Row in line 9").fill('{"prompt": "What colour is stone 8?", "completion": "Stone 8 is grey."}');
  await page.getByRole("button", { name: "Keep as a new version" }).click();
  await page.getByText("It can be trained on as it is").waitFor({ timeout: MINUTES });
  await page.getByRole("heading", { name: "Versions" }).waitFor();
  expect(await page.locator("mark.trained").count()).toBeGreaterThan(3);
});

test("the default model is trained for three steps, and the curve moves", async () => {
  const { page } = watched;
  await page.getByRole("link", { name: "Train on it" }).click();
  await page.getByLabel("Name", { exact: true }).fill("stones");
  await page.getByLabel("epochs").fill("1");
  await page.getByLabel("batch_size").fill("4");
  await page.getByText("epochs: 1.0").waitFor({ timeout: MINUTES });
  const before = await page.getByText("name: stones").textContent();
  await page.getByRole("button", { name: "lora", exact: true }).click();
  await page.getByLabel("r", { exact: true }).fill("4");
  await page.getByText("r: 4").waitFor({ timeout: MINUTES });
  expect(before).toContain("batch_size: 4");
  await page.getByRole("button", { name: "Start training" }).click();
  await page.getByText(/^\d+ of 3$/).waitFor({ timeout: 8 * MINUTES });
  await page.getByText("Loss by step").waitFor();
  await page.getByText("3 of 3").waitFor({ timeout: 8 * MINUTES });
  await page.getByText("stones@1 is registered").waitFor({ timeout: 10 * MINUTES });
  await page.getByRole("heading", { name: /recall of trained rows/ }).waitFor();
});

test("the answers are compared blind, and the vote is kept", async () => {
  const { page } = watched;
  await page.goto(`${URL}/console/compare?right=stones@1`);
  await page.getByRole("switch", { name: /Blind/ }).check();
  await page.getByLabel("Prompt", { exact: true }).fill("What colour is stone 3?");
  await page.getByRole("button", { name: "Ask them" }).click();
  await page.getByRole("button", { name: "Left", exact: true }).click({ timeout: 4 * MINUTES });
  await page.getByText(/Kept: left\. Left was/).waitFor();
  await page.getByRole("tab", { name: "Votes" }).click();
  await page.getByRole("cell", { name: "stones@1" }).first().waitFor();
});

test("the version is promoted, and who did it is kept", async () => {
  const { page } = watched;
  await page.getByRole("navigation").getByRole("link", { name: "Models" }).click();
  await page.getByRole("link", { name: "stones@1" }).first().click();
  await page.getByRole("tab", { name: "Stage" }).click();
  await page.getByRole("button", { name: "Promote to production" }).click();
  await page.getByRole("button", { name: "Yes, make it production" }).click();
  await page.getByText(/candidate → production by owner/).waitFor();
});

test("the promoted model answers, and its request is found in the log by its words", async () => {
  const { page, faults } = watched;
  await page.goto(`${URL}/console/playground?model=stones`);
  await page.getByLabel("Prompt", { exact: true }).fill("What colour is the very last {{what}}?");
  await page.getByLabel("what", { exact: true }).fill("pebble");
  await page.getByRole("button", { name: "Send" }).click();
  await page.getByText(/tokens in · \d+ out/).waitFor({ timeout: 2 * MINUTES });
  await page.getByRole("tab", { name: "boto3" }).click();
  await page.getByText("client.converse(").waitFor();
  await page.getByRole("navigation").getByRole("link", { name: "Traffic" }).click();
  const searched = page.waitForResponse((answer) => answer.url().includes("contains="));
  await page.getByLabel("Words").fill("very last pebble");
  await searched;
  const row = page.getByRole("button", { name: /chat stones@1 200/ }).first();
  await row.waitFor();
  await row.click();
  await page.getByRole("button", { name: "Good answer" }).click();
  await page.getByRole("button", { name: "Good answer", pressed: true }).waitFor();
  expect(faults).toEqual([]);
  expect(page.url()).toContain(`${URL}/console/traffic`);
});
