import { existsSync } from "node:fs";
import { chmod, mkdir, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { systemClock } from "../../src/core/clock.ts";
import { obtainRedis, RedisNotFound } from "../../src/embedded/obtain-redis.ts";
import { startPrivateRedis } from "../../src/embedded/redis-server.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

const isDebian = existsSync("/usr/bin/apt-get");
const DOWNLOAD_TIMEOUT_MS = 300_000;

function listen(): { readonly said: string[]; readonly say: (line: string) => void } {
  const said: string[] = [];
  return {
    said,
    say: (line) => {
      said.push(line);
    },
  };
}

test.runIf(isDebian)(
  "with none on PATH and an empty cache, Debian's package is obtained, said so, and runs",
  { timeout: DOWNLOAD_TIMEOUT_MS },
  async () => {
    const searchPath = await temporaryDirectory();
    const cacheDirectory = join(await temporaryDirectory(), "redis");
    const { said, say } = listen();

    const obtained = await obtainRedis({ searchPath, cacheDirectory }, { say });
    expect(obtained.origin).toBe("debian-packages");
    expect(obtained.path.startsWith(cacheDirectory)).toBe(true);
    expect(said[0]).toContain("nothing is installed");

    const server = await startPrivateRedis(
      { program: obtained, persistent: false },
      { clock: systemClock },
    );
    onTestFinished(() => server.stop());
    expect(server.version).toMatch(/^\w+ \d/);

    const again = listen();
    const cached = await obtainRedis({ searchPath, cacheDirectory }, again);
    expect(cached).toEqual({ ...obtained, origin: "cache" });
    expect(again.said).toEqual([]);
  },
);

test.runIf(isDebian)(
  "two processes that obtain at once, beside a broken copy, end with one good one",
  { timeout: DOWNLOAD_TIMEOUT_MS },
  async () => {
    const searchPath = await temporaryDirectory();
    const cacheDirectory = await temporaryDirectory();
    const broken = join(cacheDirectory, `${process.platform}-${process.arch}`, "usr", "bin");
    await mkdir(broken, { recursive: true });
    await writeFile(join(broken, "redis-server"), "#!/bin/sh\nexit 1\n");
    await chmod(join(broken, "redis-server"), 0o755);

    const both = await Promise.all(
      [1, 2].map(() => obtainRedis({ searchPath, cacheDirectory }, listen())),
    );

    expect(new Set(both.map(({ path }) => path)).size).toBe(1);
    expect(await readdir(cacheDirectory)).toEqual([`${process.platform}-${process.arch}`]);
  },
);

test.runIf(isDebian)(
  "empty package lists are read anew in a private place, without root's",
  { timeout: DOWNLOAD_TIMEOUT_MS },
  async () => {
    const searchPath = await temporaryDirectory();
    const toolPath = await temporaryDirectory();
    const empty = await temporaryDirectory();
    // The real apt-get, made to see a machine whose lists were never read.
    await writeFile(
      join(toolPath, "apt-get"),
      `#!/bin/sh
case "$*" in
  *Dir::State=*) echo private >> ${empty}/calls; exec /usr/bin/apt-get "$@" ;;
  *) exec /usr/bin/apt-get -oDir::State::lists=${empty}/lists "$@" ;;
esac
`,
    );
    await chmod(join(toolPath, "apt-get"), 0o755);

    const obtained = await obtainRedis(
      {
        searchPath,
        cacheDirectory: await temporaryDirectory(),
        toolPath: `${toolPath}:/usr/bin:/bin`,
      },
      listen(),
    );

    expect(obtained.origin).toBe("debian-packages");
    expect(await readdir(empty)).toContain("calls");
  },
);

test("where nothing can be obtained, the message names the commands that help", async () => {
  const nowhere = await temporaryDirectory();

  const failed = obtainRedis(
    { searchPath: nowhere, cacheDirectory: join(nowhere, "cache"), toolPath: nowhere },
    listen(),
  );

  await expect(failed).rejects.toThrow(RedisNotFound);
  await expect(failed).rejects.toThrow(
    /apt-get install redis-server[^]*brew install redis[^]*docker run/,
  );
});
