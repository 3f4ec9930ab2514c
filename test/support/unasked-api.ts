import { projectId } from "../../src/core/ids.ts";
import type { ApiDeps } from "../../src/http/api-routes.ts";
import type { HttpServerDeps } from "../../src/http/create-http-server.ts";

const unasked = (): Promise<never> => Promise.reject(new Error("not asked here"));

/** For tests of a server of which only a few routes are asked: what the others need fails when it is asked. */
export const unaskedApi: Omit<ApiDeps, "clock" | "recorder" | "targets" | "changeWaits"> &
  Pick<HttpServerDeps, "changes" | "changeNews"> = {
  tenants: { get: unasked, list: unasked },
  accounts: {
    get: unasked,
    find: unasked,
    list: unasked,
    connect: unasked,
    requestDiscovery: unasked,
  },
  calendars: { get: unasked, list: unasked },
  changes: { read: unasked, head: unasked, waiting: unasked },
  changeNews: { subscribe: () => () => undefined },
  webhooks: { get: unasked, set: unasked, remove: unasked },
  allowPrivateWebhooks: false,
  removals: { preview: unasked, ask: unasked, list: unasked },
  events: { readFacts: unasked, readEvents: unasked },
  reader: { readBusy: unasked, readEvents: unasked },
  projectId: projectId("default"),
  consent: undefined,
  readQuota: unasked,
};
