import { readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import type { Redis } from "ioredis";

/** A secret that was planted, by the name it is told by. */
export interface Canary {
  readonly name: string;
  readonly bytes: Buffer;
}

export interface CanarySearch {
  /** Look through what a place holds. `known` is what must be found there, or the search of it proves nothing. */
  look(place: string, held: string | Buffer, known?: string): void;
  /** One line for each canary and place. */
  found(): readonly string[];
  /** Places where what must be there was never seen. */
  blind(): readonly string[];
  places(): readonly string[];
}

/** A canary of text. */
export function canary(name: string, text: string): Canary {
  return { name, bytes: Buffer.from(text) };
}

/** Remembers what was found, and which places were searched with eyes that see. */
export function createCanarySearch(canaries: readonly Canary[]): CanarySearch {
  const found = new Set<string>();
  const seeing = new Map<string, boolean>();
  return {
    look: (place, held, known) => {
      const bytes = typeof held === "string" ? Buffer.from(held) : held;
      const sees = known !== undefined && bytes.includes(known);
      seeing.set(place, (seeing.get(place) ?? false) || sees);
      for (const { name, bytes: secret } of canaries) {
        if (bytes.includes(secret)) found.add(`${name} in ${place}`);
      }
    },
    found: () => [...found],
    blind: () => [...seeing].filter(([, sees]) => !sees).map(([place]) => place),
    places: () => [...seeing.keys()],
  };
}

/** Every byte of the files of a directory, those below it too; a file that has gone meanwhile holds nothing. */
export async function bytesUnder(directory: string): Promise<readonly [string, Buffer][]> {
  const files: [string, Buffer][] = [];
  for (const name of await readdir(directory, { recursive: true })) {
    const path = join(directory, name);
    const bytes = await readFileIfThere(path);
    if (bytes !== undefined) files.push([name, bytes]);
  }
  return files;
}

async function readFileIfThere(path: string): Promise<Buffer | undefined> {
  try {
    return (await stat(path)).isFile() ? await readFile(path) : undefined;
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return undefined;
    throw error;
  }
}

/** Every key with its value, of whatever type. Not DUMP: that compresses. */
export async function dumpRedis(redis: Redis): Promise<string> {
  const lines: string[] = [];
  let cursor = "0";
  do {
    const [next, keys] = await redis.scan(cursor, "COUNT", 500);
    cursor = next;
    for (const key of keys) lines.push(key, await readKey(redis, key));
  } while (cursor !== "0");
  return lines.join("\n");
}

async function readKey(redis: Redis, key: string): Promise<string> {
  const readers: Readonly<Record<string, () => Promise<unknown>>> = {
    string: () => redis.get(key),
    hash: () => redis.hgetall(key),
    list: () => redis.lrange(key, "0", "-1"),
    set: () => redis.smembers(key),
    zset: () => redis.zrange(key, "0", "-1"),
    stream: () => redis.xrange(key, "-", "+"),
    none: () => Promise.resolve(""),
  };
  const type = await redis.type(key);
  const read = readers[type];
  if (read === undefined) throw new Error(`A key of type ${type} cannot be searched`);
  return JSON.stringify(await read());
}
