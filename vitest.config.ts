import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    globalSetup: ["./test/support/global-setup.ts"],
    include: ["test/**/*.test.ts"],
    // Two cores are the norm on CI: more workers than cores only add stalls.
    maxWorkers: 2,
    // Ceilings for a machine three times slower than a laptop, and busy: no test waits for them.
    testTimeout: 120_000,
    hookTimeout: 120_000,
    expect: { poll: { timeout: 60_000 } },
  },
});
