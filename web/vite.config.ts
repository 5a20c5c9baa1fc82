import react from "@vitejs/plugin-react";
import { defineConfig } from "vitest/config";

export default defineConfig({
  base: "/console/",
  plugins: [react()],
  build: {
    outDir: "../pumice/api/static",
    emptyOutDir: true,
    assetsInlineLimit: 0,
    target: "es2023",
  },
  // `npm run dev` draws the pages; a server on its usual port answers.
  server: { proxy: { "/api": "http://127.0.0.1:8080", "/v1": "http://127.0.0.1:8080" } },
  test: { include: ["src/**/*.test.{ts,tsx}"], environment: "jsdom", setupFiles: ["src/tests/setup.ts"], css: false },
});
