import { defineConfig } from "vitest/config";

// Real Chromium against a real server, which tests/console starts: CONSOLE_URL and CONSOLE_KEY say where.
export default defineConfig({
  test: {
    include: ["browser/**/*.test.ts"],
    environment: "node",
    testTimeout: 900_000,
    hookTimeout: 60_000,
    fileParallelism: false,
    reporters: ["verbose"],
    bail: 1,
  },
});
