/** A reproducible stream of random numbers; streams forked under different names do not disturb each other. */
export interface Random {
  /** Uniform in [0, 1). */
  next(): number;
  /** A whole number in [0, below). */
  integer(below: number): number;
  /** One of the items; the list must not be empty. */
  pick<T>(items: readonly T[]): T;
  /** True with this probability. */
  chance(probability: number): boolean;
  /** An independent stream derived from this seed and a name. */
  fork(name: string): Random;
  /** Lower-case base32hex text, as event ids use it. */
  text(length: number): string;
}

const BASE32_HEX = "0123456789abcdefghijklmnopqrstuv";

/** Create the stream of a seed (sfc32 seeded by a 128-bit string hash): the same seed gives the same numbers everywhere. */
export function createRandom(seed: string | number): Random {
  const text = String(seed);
  const next = sfc32(hash128(text));
  const integer = (below: number): number => Math.floor(next() * below);
  return {
    next,
    integer,
    pick: (items) => {
      const item = items[integer(items.length)];
      if (item === undefined) throw new Error("Cannot pick from an empty list");
      return item;
    },
    chance: (probability) => next() < probability,
    fork: (name) => createRandom(`${text}/${name}`),
    text: (length) =>
      Array.from({ length }, () => BASE32_HEX.charAt(Math.floor(next() * 32))).join(""),
  };
}

/** A 53-bit checksum of text under a key. Cheap, because every list answer carries a token; keeps honest clients honest, no more. */
export function checksum(key: string, text: string): string {
  let low = 0xdeadbeef;
  let high = 0x41c6ce57;
  for (const part of [key, text]) {
    for (let index = 0; index < part.length; index++) {
      const code = part.charCodeAt(index);
      low = Math.imul(low ^ code, 2654435761);
      high = Math.imul(high ^ code, 1597334677);
    }
  }
  low = Math.imul(low ^ (low >>> 16), 2246822507) ^ Math.imul(high ^ (high >>> 13), 3266489909);
  high = Math.imul(high ^ (high >>> 16), 2246822507) ^ Math.imul(low ^ (low >>> 13), 3266489909);
  return (4294967296 * (2097151 & high) + (low >>> 0)).toString(36);
}

function hash128(text: string): [number, number, number, number] {
  let [a, b, c, d] = [1779033703, 3144134277, 1013904242, 2773480762];
  for (let index = 0; index < text.length; index++) {
    const code = text.charCodeAt(index);
    a = b ^ Math.imul(a ^ code, 597399067);
    b = c ^ Math.imul(b ^ code, 2869860233);
    c = d ^ Math.imul(c ^ code, 951274213);
    d = a ^ Math.imul(d ^ code, 2716044179);
  }
  return [a >>> 0, b >>> 0, c >>> 0, d >>> 0];
}

function sfc32(seed: [number, number, number, number]): () => number {
  let [a, b, c, d] = seed;
  const next = (): number => {
    const sum = (((a + b) | 0) + d) | 0;
    d = (d + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = ((c << 21) | (c >>> 11)) + sum;
    return (sum >>> 0) / 4294967296;
  };
  for (let round = 0; round < 15; round++) next();
  return next;
}
