import { readFile, rename, rm, writeFile } from "node:fs/promises";
import { z } from "zod";

const schema = z.object({
  pid: z.number().int().positive(),
  startedAt: z.string(),
  directory: z.string(),
});

/** Which server was started on a data directory, so that the next start can end one that was left behind. */
export type ServerRecord = z.output<typeof schema>;

/** The record in `file`; undefined where there is none or it cannot be read as one. */
export async function readServerRecord(file: string): Promise<ServerRecord | undefined> {
  try {
    const content: unknown = JSON.parse(await readFile(file, "utf8"));
    return schema.safeParse(content).data;
  } catch {
    return undefined;
  }
}

/** Write the record so that a crash leaves the old one or the new one, never half of one. */
export async function writeServerRecord(file: string, record: ServerRecord): Promise<void> {
  const temporary = `${file}.${String(process.pid)}`;
  await writeFile(temporary, JSON.stringify(record));
  await rename(temporary, file);
}

/** Remove the record after a clean stop. */
export async function removeServerRecord(file: string): Promise<void> {
  await rm(file, { force: true });
}
