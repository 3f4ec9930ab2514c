import type { Command } from "commander";
import { addOwnKey } from "../../operator-app.ts";
import type { Config } from "../../config/config.ts";
import type { AccountId } from "../../core/ids.ts";
import { nameArgument } from "../arguments.ts";
import { CliError } from "../cli-error.ts";
import { runs, type CommandContext } from "../command-context.ts";
import { EXIT, type ExitCode } from "../exit-codes.ts";
import { operatorName } from "../operator-name.ts";
import { withStore, type Store } from "../with-store.ts";

interface Options {
  readonly to?: string;
  readonly json?: true;
}

/** Small enough that a write holds nobody up. */
const PORTION = 100;
/** A worker that had not heard of the new key may have sealed something behind the place where a pass was. */
const MAX_PASSES = 5;
const RETIRED = "keys.retired.";

/** `ballast keys rotate`: seal what is stored with the newest key, while everything runs. */
export function addKeysCommand(program: Command, context: CommandContext): void {
  program
    .command("keys")
    .description("The keys that stored credentials are encrypted with")
    .command("rotate")
    .description("Encrypt stored credentials with the newest key, while workers run")
    .option("--to <id>", "refuse unless this is the newest key", nameArgument)
    .option("--json", "one JSON document")
    .addHelpText(
      "after",
      `
With BALLAST_ENCRYPTION_KEYS, in this order:
  1. add the new key at the end of the list, everywhere, and restart: now everyone can read with it;
  2. put it first, everywhere, and restart: now everyone writes with it;
  3. ballast keys rotate; stopped at any point it may be run again;
  4. when \`ballast doctor\` says that the old key seals nothing any more, drop it from the list.
Without that variable (embedded mode) a new key is made in BALLAST_DATA_DIR and running processes find it there.

Exit codes: 0 everything is encrypted with the newest key, 3 something could not be opened, 4 refused.

Examples:
  ballast keys rotate
  ballast keys rotate --to k2027 --json`,
    )
    .action(
      runs<Options>(context, (options) =>
        withStore(context, (store, config) => rotate(options, { store, config }, context)),
      ),
    );
}

async function rotate(
  options: Options,
  { store, config }: { readonly store: Store; readonly config: Config },
  context: CommandContext,
): Promise<ExitCode> {
  const { output } = context;
  await chooseKey(options, { store, config }, context);
  const to = store.keyRotation.currentKeyId();
  const before = await oldSecrets(store);
  const done = await passes(store, before.count, context);
  const after = await oldSecrets(store);
  const entry = { to, rotated: done.rotated, left: after.count, interrupted: done.isInterrupted };
  await record(store, { ...entry, from: before.keys.join(" ") }, context);
  context.interrupted.throwIfAborted();
  if (after.count === 0) await retire(store, before.keys, context);
  if (options.json) {
    output.json({ to, rotated: done.rotated, left: after.count, unopened: done.unopened });
  } else {
    output.data(
      before.count === 0
        ? `Nothing to do: all that is stored is encrypted with ${to}.`
        : `${String(done.rotated)} secrets are encrypted with ${to}; ${String(after.count)} are left with older keys.`,
    );
    for (const id of done.unopened.slice(0, 20)) {
      output.say(`${id} cannot be opened: its key is missing, or is another one of that name`);
    }
    if (done.unopened.length > 0) {
      output.say("next: ballast doctor    (says which keys are missing)");
    } else if (after.count > 0) {
      output.say("next: ballast keys rotate    (once every worker has the new key first)");
    }
  }
  return after.count === 0 ? EXIT.ok : EXIT.partial;
}

/** Which key is the newest, and whether it may be: going back to one that was left is asked for by name. */
async function chooseKey(
  { to }: Options,
  { store, config }: { readonly store: Store; readonly config: Config },
  context: CommandContext,
): Promise<void> {
  const { keyRotation, settings } = store;
  if (to === undefined && (await oldSecrets(store)).count === 0) {
    const added = await addOwnKey(config);
    if (added !== undefined && store.vault.knows(added)) {
      context.output.say(`A new key ${added} was made in ${config.dataDirectory}.`);
    }
  }
  const current = keyRotation.currentKeyId();
  if (to !== undefined && to !== current) {
    throw refused(
      `${to} is not the newest key: ${current} comes first.`,
      `put ${to} first in BALLAST_ENCRYPTION_KEYS, everywhere, then the same again`,
    );
  }
  if ((await settings.get(RETIRED + current)) === undefined) return;
  if (to === undefined) {
    throw refused(
      `${current} comes first, and secrets have been moved away from it before: the list of keys may be in the wrong order.`,
      `put the newest key first; or, to go back on purpose: ballast keys rotate --to ${current}`,
    );
  }
  await settings.set(RETIRED + current, undefined, by(context, "in use again"));
}

function refused(message: string, next: string): CliError {
  return new CliError(message, { exitCode: EXIT.configuration, code: "BALLAST_KEY_ORDER", next });
}

async function oldSecrets(
  store: Store,
): Promise<{ readonly count: number; readonly keys: readonly string[] }> {
  const current = store.keyRotation.currentKeyId();
  const old = (await store.keyRotation.usage()).filter(({ keyId }) => keyId !== current);
  return {
    count: old.reduce((sum, { secrets }) => sum + secrets, 0),
    keys: old.map(({ keyId }) => keyId),
  };
}

interface Done {
  readonly rotated: number;
  readonly unopened: readonly string[];
  readonly isInterrupted: boolean;
}

async function passes(store: Store, total: number, context: CommandContext): Promise<Done> {
  const { output, interrupted } = context;
  let rotated = 0;
  for (let pass = 1; ; pass += 1) {
    const unopened: string[] = [];
    let moved = 0;
    let after: AccountId | undefined;
    do {
      if (interrupted.aborted) return { rotated, unopened, isInterrupted: true };
      const portion = await store.keyRotation.rotateSome({ after, limit: PORTION });
      moved += portion.rotated;
      rotated += portion.rotated;
      unopened.push(...portion.unopened);
      after = portion.next;
      const left = Math.max(0, total - rotated);
      output.progress(`encrypted anew ${String(rotated)}, left ${String(left)}`);
    } while (after !== undefined);
    if (moved === 0 || pass === MAX_PASSES) return { rotated, unopened, isInterrupted: false };
  }
}

async function record(
  store: Store,
  details: Readonly<Record<string, string | number | boolean>> & { readonly to: string },
  { clock }: CommandContext,
): Promise<void> {
  await store.operatorLog.append({
    at: clock.now(),
    actor: operatorName(),
    action: "keys.rotated",
    subject: details.to,
    reason: undefined,
    details,
  });
}

/** Remembered, so that a list in the wrong order is noticed. */
async function retire(
  store: Store,
  keys: readonly string[],
  context: CommandContext,
): Promise<void> {
  const to = store.keyRotation.currentKeyId();
  for (const key of keys) {
    await store.settings.set(RETIRED + key, { for: to }, by(context, `replaced by ${to}`));
  }
}

function by({ clock }: CommandContext, reason: string): Parameters<Store["settings"]["set"]>[2] {
  return { actor: operatorName(), reason, now: clock.now() };
}
