// The same bundle as `pumice deploy aws` puts it on CloudFront: an API with a key behind it, and nothing else.
import type { Browser } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";

import { KEY, OUT, URL, launch, open, seriousFindings } from "./chromium";

let browser: Browser;

beforeAll(async () => {
  browser = await launch();
});
afterAll(() => browser.close());

// CloudFront answers over TLS alone; whatever stands before the emulator says that it came so.
const OVER_TLS = { extraHTTPHeaders: { "X-Forwarded-Proto": "https" } };

test("sign in with the API's key, ask, read, and say whether it was good", async () => {
  const { page, faults } = await open(browser, OVER_TLS);
  const enter = async (key: string) => {
    await page.getByLabel("Key", { exact: true }).fill(key);
    await page.getByRole("button", { name: "Sign in" }).click();
  };
  await page.goto(URL);
  await enter("wrong");
  await page.getByText("The API does not know this key.").waitFor();
  await enter(KEY);
  await page.getByRole("heading", { name: "Playground" }).waitFor();
  expect(await page.getByRole("navigation").getByRole("link").allTextContents()).toEqual(["Playground"]);
  expect(await page.getByRole("combobox").count()).toBe(0);

  await page.getByLabel("Prompt", { exact: true }).fill("What is pumice?");
  await page.getByLabel("max_tokens").fill("8");
  await page.getByRole("button", { name: "Send" }).click();
  await page.getByText(/\d+ tokens in · \d+ out/).waitFor();
  const said = await page.getByRole("log").locator("p").last().textContent();
  expect(said?.trim() && said !== "…").toBeTruthy();
  await page.getByRole("button", { name: "Good answer" }).click();
  await page.getByRole("button", { name: "Good answer", pressed: true }).waitFor();
  expect(await page.locator("pre").first().textContent()).toContain(`curl ${URL}/v1/chat/completions`);
  expect(await page.getByText(KEY).count()).toBe(0);
  await page.mouse.move(0, 0);
  expect(await seriousFindings(page)).toEqual([]);
  if (OUT) {
    await page.screenshot({ path: `${OUT}/gateway-1280.png`, fullPage: true });
    await page.setViewportSize({ width: 390, height: 844 });
    // The menu leaves slowly.
    await page.waitForTimeout(1_000);
    await page.screenshot({ path: `${OUT}/gateway-390.png`, fullPage: true });
  }

  // The tab remembers the key, and nothing that outlives it does.
  await page.reload();
  await page.getByRole("heading", { name: "Playground" }).waitFor();
  expect(await page.evaluate(() => JSON.stringify(localStorage))).not.toContain(KEY);
  expect(await page.context().cookies()).toEqual([]);
  await page.goto(`${URL}/console/models`);
  await page.getByText("There is no such page").waitFor();

  // A key that was switched off meanwhile.
  await page.goto(`${URL}/console/playground`);
  await page.evaluate(() => sessionStorage.setItem("pumice-key", "revoked"));
  await page.getByLabel("Prompt", { exact: true }).fill("And now?");
  await page.getByRole("button", { name: "Send" }).click();
  await page.getByText("Sign in with another.").waitFor();
  if (OUT) await page.screenshot({ path: `${OUT}/gateway-sign-in.png` });
  await enter(KEY);
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.getByRole("button", { name: "Sign in" }).waitFor();
  expect(await page.evaluate(() => JSON.stringify(sessionStorage))).not.toContain(KEY);
  expect(faults).toEqual([]);
  await page.context().close();
});
