// Every page in both themes and widths: no serious finding of axe, nothing wider than the window, painted at once.
import type { Browser } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";

import { KEY, OUT, URL, launch, open, seriousFindings, signIn } from "./chromium";

const PATHS = ["/", "/data", "/train", "/models", "/compare", "/playground", "/traffic", "/settings"];
let browser: Browser;

beforeAll(async () => {
  browser = await launch();
});
afterAll(() => browser.close());

async function everything(): Promise<string[]> {
  const headers = { Authorization: `Bearer ${KEY}` };
  const list = async (path: string) =>
    ((await (await fetch(URL + path, { headers })).json()) as { data: { id: string; task?: string; filename?: string }[] }).data;
  const [jobs, models, files] = await Promise.all([list("/api/jobs"), list("/api/models"), list("/v1/files")]);
  const file = files.find((each) => each.filename?.startsWith("stones")) ?? files[0];
  return [
    ...PATHS,
    ...(file ? [`/data/file?file=${file.id}`] : []),
    ...jobs.filter((job) => job.task === "run").slice(0, 1).map((job) => `/train/${job.id}`),
    ...models.slice(0, 1).map((model) => `/models/${model.id}`),
  ];
}

for (const colorScheme of ["light", "dark"] as const) {
  for (const width of [1280, 390]) {
    test(`at ${width} pixels, ${colorScheme}`, async () => {
      const { page, faults } = await open(browser, { colorScheme, viewport: { width, height: width === 390 ? 844 : 800 } });
      await page.goto(`${URL}/console/`);
      await page.getByLabel("Key", { exact: true }).waitFor();
      expect(await seriousFindings(page)).toEqual([]);
      await signIn(page);
      const found: string[] = [];
      for (const path of await everything()) {
        await page.goto(`${URL}/console${path}`);
        await page.getByRole("heading", { level: 1 }).waitFor();
        await page.waitForLoadState("networkidle").catch(() => undefined);
        const [wide, painted] = await page.evaluate(() => [
          document.documentElement.scrollWidth,
          performance.getEntriesByName("first-contentful-paint")[0]?.startTime ?? 0,
        ]);
        if (wide > width) found.push(`${path} is ${wide} pixels wide`);
        if (process.env["CONSOLE_PAINT"]) found.push(`${path} painted after ${Math.round(painted)} ms`);
        found.push(...(await seriousFindings(page)).map((each) => `${path}: ${each}`));
        if (OUT) {
          const name = path.split("?")[0]?.replace(/^\/train\/.+/, "train-job").replace(/^\/models\/.+/, "models-model").split("/").filter(Boolean).join("-") || "home";
          await page.screenshot({ path: `${OUT}/${name}-${colorScheme}-${width}.png` });
        }
      }
      if (process.env["CONSOLE_PAINT"]) process.stdout.write(`${found.join("\n")}\n`);
      else expect(found).toEqual([]);
      expect(faults).toEqual([]);
      await page.context().close();
    });
  }
}

test("with the keyboard alone", async () => {
  const { page } = await open(browser);
  await signIn(page);
  await page.keyboard.press("Tab");
  await page.goto(`${URL}/console/`);
  await page.getByRole("heading", { level: 1 }).waitFor();
  await page.keyboard.press("Tab");
  expect(await page.evaluate(() => document.activeElement?.textContent)).toBe("Skip to the page");
  const seen: string[] = [];
  for (let at = 0; at < 14; at++) {
    await page.keyboard.press("Tab");
    seen.push(await page.evaluate(() => document.activeElement?.textContent ?? ""));
  }
  for (const name of ["Sign out", "Home", "Data", "Train", "Settings"]) expect(seen).toContain(name);
  await page.getByRole("navigation").getByRole("link", { name: "Settings" }).focus();
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { level: 1, name: "Settings" }).waitFor();
  await page.context().close();
});
