import { z } from "zod";
import type { ProjectId } from "../core/ids.ts";
import {
  ledgerSettingSchema,
  parseLedgerSettings,
  quotaSettingsPrefix,
} from "./ledger-settings.ts";

/** What an operator wants to change, as it was typed. */
export interface SettingAsk {
  /** A setting's name, or `NAME.KEY` where its value is by class or by operation. */
  readonly name: string;
  /** `default` takes the setting back. */
  readonly value: string;
  /** Whose setting; undefined: the project's. */
  readonly of: { readonly kind: "tenant" | "consumer"; readonly id: string } | undefined;
}

/** What a change comes to; nothing is written yet. */
export type SettingPlan =
  | {
      readonly kind: "planned";
      /** The row in settings. */
      readonly row: string;
      /** Undefined: the row goes. */
      readonly value: unknown;
      readonly before: unknown;
      readonly after: unknown;
    }
  | { readonly kind: "unknown-setting"; readonly known: readonly string[] }
  | { readonly kind: "invalid"; readonly problem: string };

/** The project's rows of settings, as stored. */
export type SettingRows = readonly { readonly name: string; readonly value: unknown }[];

type Values = Readonly<Record<string, unknown>>;

const OWN_NAMES = { tenant: ["weight", "cap"], consumer: ["cap", "classes"] } as const;
const recordSchema = z.record(z.string(), z.unknown());

/** Check a change against the schema of its setting, and tell what is in force before and after. */
export function planSetting(projectId: ProjectId, rows: SettingRows, ask: SettingAsk): SettingPlan {
  return ask.of === undefined
    ? planOwn(projectId, rows, ask)
    : planOf(projectId, { rows, ask, of: ask.of });
}

function planOwn(projectId: ProjectId, rows: SettingRows, ask: SettingAsk): SettingPlan {
  const dot = ask.name.indexOf(".");
  const name = dot === -1 ? ask.name : ask.name.slice(0, dot);
  const known = settingNames();
  if (!known.includes(name)) return { kind: "unknown-setting", known };
  const row = `${quotaSettingsPrefix(projectId)}${name}`;
  const before = effective(projectId, rows)[name];
  const value = parseValue(ask.value);
  if (dot === -1) return check(projectId, { rows, row, name, value, before });
  const byKey = recordSchema.safeParse(before);
  if (!byKey.success) {
    return { kind: "invalid", problem: `${name} is one value and has no parts: leave out the dot` };
  }
  const key = ask.name.slice(dot + 1);
  const untouched = recordSchema.parse(effective(projectId, [])[name]);
  const changed = { ...byKey.data, [key]: value ?? untouched[key] };
  if (changed[key] === undefined) delete changed[key];
  return check(projectId, { rows, row, name, value: changed, before });
}

function planOf(
  projectId: ProjectId,
  asked: {
    readonly rows: SettingRows;
    readonly ask: SettingAsk;
    readonly of: { readonly kind: "tenant" | "consumer"; readonly id: string };
  },
): SettingPlan {
  const { rows, ask, of } = asked;
  const known: readonly string[] = OWN_NAMES[of.kind];
  if (!known.includes(ask.name)) return { kind: "unknown-setting", known };
  const name = `${of.kind}:${of.id}`;
  const row = `${quotaSettingsPrefix(projectId)}${name}`;
  const settings = effective(projectId, rows);
  const fallback = fallbackOf(of.kind, settings);
  const named = recordSchema.parse(of.kind === "tenant" ? settings.tenants : settings.consumers);
  const before = recordSchema.parse(named[of.id] ?? fallback);
  const typed = ask.name === "classes" ? parseClasses(ask.value) : parseValue(ask.value);
  // Written whole: what is left out would take the schema's word, and for a consumer that is every class.
  const value = { ...before, [ask.name]: typed ?? fallback[ask.name] };
  return check(projectId, { rows, row, name, value, before });
}

function fallbackOf(kind: "tenant" | "consumer", settings: Settings): Values {
  if (kind === "consumer") return recordSchema.parse(settings.consumers["*"]);
  return { weight: 1, cap: settings.defaultTenantCap };
}

function check(
  projectId: ProjectId,
  change: {
    readonly rows: SettingRows;
    readonly row: string;
    readonly name: string;
    readonly value: unknown;
    readonly before: unknown;
  },
): SettingPlan {
  const { rows, row, name, value, before } = change;
  const rest = rows.filter((one) => one.name !== row);
  if (value === undefined) {
    return { kind: "planned", row, value, before, after: effective(projectId, rest)[name] };
  }
  const parsed = ledgerSettingSchema(name)?.safeParse(value);
  if (parsed?.success !== true) {
    const problem = parsed === undefined ? "no such setting" : z.prettifyError(parsed.error);
    return { kind: "invalid", problem: problem.replaceAll("✖ ", "") };
  }
  return { kind: "planned", row, value, before, after: parsed.data };
}

/** The settings that stand alone. */
function settingNames(): readonly string[] {
  const { settings } = parseLedgerSettings("", []);
  return Object.keys(settings).filter((name) => ledgerSettingSchema(name) !== undefined);
}

type Settings = ReturnType<typeof parseLedgerSettings>["settings"] & Values;

function effective(projectId: ProjectId, rows: SettingRows): Settings {
  return { ...parseLedgerSettings(projectId, rows).settings };
}

/** JSON where it is any; `default`: undefined. */
function parseValue(text: string): unknown {
  if (text === "default") return undefined;
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

function parseClasses(text: string): readonly string[] | undefined {
  return text === "default" ? undefined : text.split(",").map((name) => name.trim());
}
