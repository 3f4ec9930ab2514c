import { roleOf } from "./api-call.ts";
import type { ApiAnswer, ApiCall } from "./api-call.ts";
import { applyFieldMask, parseFieldMask } from "./field-mask.ts";
import { checksum } from "./random.ts";
import type { Calendar } from "./world.ts";
import { currentVersion } from "./world.ts";

/** One page of events, its rows already JSON. */
export interface EventPage {
  readonly items: readonly string[];
  readonly nextPageToken?: string;
  readonly nextSyncToken?: string;
}

/** Wrap rows as an `Events` resource. Rows come as text because most are written once and sent often. */
export function listEnvelope(call: ApiCall, calendar: Calendar, page: EventPage): ApiAnswer {
  const role = roleOf(call.account, calendar);
  const revision = calendar.events.revision();
  const etag = `"p${revision.toString(36)}${checksum(calendar.id, `${role}${call.queryText}`)}"`;
  const envelope = {
    kind: "calendar#events",
    etag,
    summary: calendar.summary,
    ...(calendar.description === undefined ? {} : { description: calendar.description }),
    updated: new Date(lastChangeMs(calendar)).toISOString(),
    timeZone: call.query.get("timeZone") ?? calendar.timeZone,
    accessRole: role,
    defaultReminders: role === "owner" ? [{ method: "popup", minutes: 10 }] : [],
    ...(page.nextPageToken === undefined ? {} : { nextPageToken: page.nextPageToken }),
    ...(page.nextSyncToken === undefined ? {} : { nextSyncToken: page.nextSyncToken }),
  };
  const fields = call.query.get("fields");
  const items = `"items":[${page.items.join(",")}]}`;
  if (fields === null) {
    return { status: 200, etag, body: `${JSON.stringify(envelope).slice(0, -1)},${items}` };
  }
  const mask = parseFieldMask(fields);
  const head = JSON.stringify(applyFieldMask(envelope, mask));
  if (!mask.has("items") && !mask.has("*")) return { status: 200, etag, body: head };
  const comma = head === "{}" ? "" : ",";
  return { status: 200, etag, body: `${head.slice(0, -1)}${comma}${items}` };
}

function lastChangeMs(calendar: Calendar): number {
  const ordinal = calendar.events.changes.at(-1);
  const event = ordinal === undefined ? undefined : calendar.events.items[ordinal];
  return event ? currentVersion(event).fromMs : 0;
}
