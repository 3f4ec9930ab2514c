import { access, readFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { parse } from "yaml";
import { z } from "zod";
import { loadConfig } from "../../src/config/config.ts";
import { VARIABLES } from "../../src/config/variables.ts";

const root = join(import.meta.dirname, "..", "..");

const condition = z.object({ condition: z.literal("service_healthy") });
const service = z.object({
  image: z.string(),
  build: z.object({ context: z.string(), dockerfile: z.string() }).optional(),
  command: z.array(z.string()).optional(),
  environment: z.record(z.string(), z.string()).default({}),
  secrets: z.array(z.string()).default([]),
  volumes: z.array(z.string()).default([]),
  depends_on: z.record(z.string(), condition).default({}),
  healthcheck: z.union([
    z.object({ test: z.array(z.string()).min(2) }).loose(),
    z.object({ disable: z.literal(true) }),
  ]),
  stop_grace_period: z.string().optional(),
});
const composeFile = z.object({
  services: z.record(z.string(), service),
  volumes: z.record(z.string(), z.null()),
  secrets: z.record(z.string(), z.object({ file: z.string() })),
});

type Service = z.output<typeof service>;

async function readCompose(): Promise<z.output<typeof composeFile>> {
  const text = await readFile(join(root, "docker-compose.yml"), "utf8");
  return composeFile.parse(parse(text, { merge: true }));
}

function serviceOf(services: Readonly<Record<string, Service>>, name: string): Service {
  const found = services[name];
  if (found === undefined) throw new Error(`No service ${name}`);
  return found;
}

test("web and worker are built here, wait for healthy servers and are watched themselves", async () => {
  const { services } = await readCompose();
  for (const name of ["web", "worker"]) {
    const { build, command, depends_on: needs, healthcheck } = serviceOf(services, name);
    expect(build).toEqual({ context: ".", dockerfile: "deploy/Dockerfile" });
    expect(command).toEqual([name]);
    expect(Object.keys(needs)).toEqual(["redis", "postgres"]);
    expect(healthcheck).toHaveProperty("test");
  }
  for (const name of ["redis", "postgres"]) {
    expect(serviceOf(services, name).healthcheck).toHaveProperty("test");
  }
});

test("Redis keeps its keys: append-only, never evicting, on a volume", async () => {
  const { services } = await readCompose();
  const redis = serviceOf(services, "redis");
  const command = redis.command?.join(" ");
  expect(command).toContain("--appendonly yes");
  expect(command).toContain("--maxmemory-policy noeviction");
  expect(redis.volumes).toEqual(["redis-data:/data"]);
});

test("every variable, secret and volume that a service names exists", async () => {
  const { services, secrets, volumes } = await readCompose();
  const known = new Set(VARIABLES.flatMap(({ name }) => [name, `${name}_FILE`]));
  for (const { secrets: used, volumes: mounted } of Object.values(services)) {
    for (const secret of used) expect(Object.keys(secrets)).toContain(secret);
    for (const mount of mounted) expect(Object.keys(volumes)).toContain(mount.split(":")[0]);
  }
  for (const name of ["web", "worker", "migrate"]) {
    const { environment } = serviceOf(services, name);
    expect(Object.keys(environment).filter((variable) => !known.has(variable))).toEqual([]);
  }
});

test("what the services set is a good configuration, and no secret stands in the file", async () => {
  const { services } = await readCompose();
  const contents: Readonly<Record<string, string>> = {
    "/run/secrets/database-url": "postgres://ballast:pw@postgres/ballast\n",
    "/run/secrets/encryption-keys": `k1:${Buffer.alloc(32, 7).toString("base64")}\n`,
    "/run/secrets/google-client-secret": "from-google",
  };
  const { environment } = serviceOf(services, "worker");
  const config = loadConfig(
    { ...environment, GOOGLE_CLIENT_ID: "from-the-env-file" },
    { readFile: (path) => contents[path] ?? "" },
  );
  expect(config).toMatchObject({
    redisUrl: "redis://redis:6379",
    database: { kind: "postgres" },
    google: { client: { id: "from-the-env-file", secret: "from-google" } },
    warnings: [],
  });
  expect(Object.keys(environment).filter((name) => /SECRET|KEYS|DATABASE/.test(name))).toSatisfy(
    (names: string[]) => names.every((name) => name.endsWith("_FILE")),
  );
});

test("a drain has time to end before Docker kills the process", async () => {
  const { services } = await readCompose();
  const grace = serviceOf(services, "worker").stop_grace_period ?? "";
  expect(Number.parseInt(grace, 10) * 1_000).toBeGreaterThan(loadConfig({}).shutdownMs);
});

test("the image copies only what is there, and runs as another user than root", async () => {
  const dockerfile = await readFile(join(root, "deploy", "Dockerfile"), "utf8");
  const copied = [...dockerfile.matchAll(/^COPY (?!--from)(.+) \S+$/gm)].flatMap((match) =>
    (match[1] ?? "").split(" "),
  );
  expect(copied.length).toBeGreaterThan(4);
  for (const path of copied) {
    await expect(access(join(root, path))).resolves.toBeUndefined();
  }
  expect(dockerfile).toMatch(/^USER node$/m);
  expect(dockerfile).toMatch(/^HEALTHCHECK[^]*\/livez/m);
});
