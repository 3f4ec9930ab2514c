import { access } from "node:fs/promises";
import { openAppStore } from "../operator-app.ts";
import type { Config } from "../config/config.ts";
import { CliError } from "./cli-error.ts";
import { readConfig, type CommandContext } from "./command-context.ts";
import { EXIT } from "./exit-codes.ts";

/** The database with its ports, as commands use it. */
export type Store = Awaited<ReturnType<typeof openAppStore>>;

/** Open the database for one command and close it after; never makes an empty one. */
export async function withStore<Result>(
  context: CommandContext,
  use: (store: Store, config: Config) => Promise<Result>,
): Promise<Result> {
  const config = readConfig(context);
  await requireDatabase(config);
  const store = await openAppStore(config, { clock: context.clock });
  try {
    return await use(store, config);
  } finally {
    await store.close();
  }
}

/** Opening a SQLite file that is not there makes one: a typing error in a path would look like an empty service. */
async function requireDatabase({ database }: Config): Promise<void> {
  if (database.kind !== "sqlite") return;
  try {
    await access(database.path);
  } catch (error) {
    throw new CliError(
      `There is no database at ${database.path}: nothing has been started with this BALLAST_DATA_DIR or DATABASE_URL yet.`,
      {
        exitCode: EXIT.dependencyDown,
        code: "BALLAST_NO_DATABASE",
        next: "ballast start    (or: ballast migrate apply, to make one without starting)",
        cause: error,
      },
    );
  }
}
