// Debian's Chromium, a page that must say nothing wrong on its console, and axe.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

import { type Browser, type BrowserContextOptions, type Page, chromium } from "playwright-core";

export const URL = process.env["CONSOLE_URL"] ?? "http://127.0.0.1:8080";
export const KEY = process.env["CONSOLE_KEY"] ?? "";
export const OUT = process.env["CONSOLE_OUT"] ?? "";
/** What answers in place of every host, where the address is a name that nobody knows here. */
const AT = process.env["CONSOLE_AT"] ?? "";
const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

export function launch(): Promise<Browser> {
  return chromium.launch({
    executablePath: process.env["CONSOLE_CHROMIUM"] ?? "/usr/bin/chromium",
    args: [
      "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
      "--disable-component-update", "--disable-sync", ...(AT ? [`--host-resolver-rules=MAP * ${AT}`] : []),
    ],
  });
}

export interface Watched {
  page: Page;
  /** What went wrong in it: exceptions, and breaches of the content-security policy. */
  faults: string[];
}

export async function open(browser: Browser, options: BrowserContextOptions = {}): Promise<Watched> {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, colorScheme: "light", locale: "en-US", ...options });
  // A click that finds nothing shall say so soon; waits for the machine say their own time.
  context.setDefaultTimeout(30_000);
  const page = await context.newPage();
  const faults: string[] = [];
  page.on("pageerror", (error) => faults.push(error.message));
  page.on("console", (message) => {
    if (message.type() === "error" && /content security policy/i.test(message.text())) faults.push(message.text());
  });
  page.on("request", (request) => {
    if (!request.url().startsWith(URL) && !request.url().startsWith("data:") && !request.url().startsWith("blob:")) {
      faults.push(`asked another place: ${request.url()}`);
    }
  });
  return { page, faults };
}

export async function signIn(page: Page, path = "/"): Promise<void> {
  await page.goto(`${URL}/console${path}`);
  await page.getByLabel("Key", { exact: true }).fill(KEY);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByRole("button", { name: "Sign out" }).waitFor();
}

/** Serious and critical findings of axe on the page as it stands. */
export async function seriousFindings(page: Page): Promise<string[]> {
  // What is just being faded in has the contrast of neither state; it begins a frame or two after it is there.
  await page.evaluate(() => new Promise((resolve) => setTimeout(resolve, 50)));
  await page.waitForFunction(() => !document.getAnimations().some((each) => each instanceof CSSTransition));
  // The policy lets no script in by the page itself; the debugger's own world is another.
  const session = await page.context().newCDPSession(page);
  const { frameTree } = await session.send("Page.getFrameTree");
  const { executionContextId } = await session.send("Page.createIsolatedWorld", { frameId: frameTree.frame.id, worldName: "axe" });
  await session.send("Runtime.evaluate", { expression: AXE, contextId: executionContextId });
  const { result } = await session.send("Runtime.evaluate", {
    expression: "axe.run(document, { resultTypes: ['violations'] }).then((found) => JSON.stringify(found.violations))",
    contextId: executionContextId,
    awaitPromise: true,
    returnByValue: true,
  });
  await session.detach();
  const violations = JSON.parse(String(result.value)) as { id: string; impact: string; nodes: { html: string; failureSummary: string }[] }[];
  return violations
    .filter((each) => ["serious", "critical"].includes(each.impact))
    .map((each) => `${each.id}: ${each.nodes.map((node) => `${node.html.slice(0, 160)} ${node.failureSummary.slice(0, 240)}`).join(" | ")}`);
}
