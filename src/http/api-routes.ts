/** Every route under `/v1`, by the name of its operation. How to add one: `define-route.ts`. */
import { z } from "zod";
import {
  connectAccount,
  createAccountHandlers,
  getAccount,
  getReconnectUrl,
  listAccounts,
  type AccountRoutesDeps,
} from "./account-routes.ts";
import { createApiDocument } from "./api-document.ts";
import { askBusy, createBusyHandlers, getBusy } from "./busy-routes.ts";
import {
  createCalendarHandlers,
  getCalendar,
  listCalendars,
  type CalendarRoutesDeps,
} from "./calendar-routes.ts";
import { createChangeHandlers, listChanges, type ChangeRoutesDeps } from "./change-routes.ts";
import { createCopyHandlers, readCopy, type CopyRouteDeps } from "./copy-routes.ts";
import { defineRoute, type ApiHandler } from "./define-route.ts";
import { createEventHandlers, listEvents, type ReadRoutesDeps } from "./event-routes.ts";
import { createQuotaHandlers, getQuota, type QuotaRouteDeps } from "./quota-route.ts";
import {
  createRemovalHandlers,
  listRemovals,
  removeAccount,
  removeCalendar,
  removeTenant,
  type RemovalRoutesDeps,
} from "./removal-routes.ts";
import { createRefreshHandlers, requestRefresh, type RefreshRouteDeps } from "./refresh-route.ts";
import {
  createTenantHandlers,
  getTenant,
  listTenants,
  type TenantRoutesDeps,
} from "./tenant-routes.ts";
import {
  createWebhookHandlers,
  getWebhook,
  removeWebhook,
  setWebhook,
  type WebhookRoutesDeps,
} from "./webhook-routes.ts";

const getApiDocument = defineRoute({
  method: "GET",
  path: "/v1/openapi.json",
  summary: "This document.",
  access: { scope: "read", for: "tenants" },
  answer: z.looseObject({ openapi: z.string() }),
  problems: [],
});

/** The table. */
export const API_ROUTES = {
  listTenants,
  getTenant,
  listAccounts,
  getAccount,
  connectAccount,
  getReconnectUrl,
  listCalendars,
  getCalendar,
  requestRefresh,
  listEvents,
  getBusy,
  askBusy,
  listChanges,
  readCopy,
  getWebhook,
  setWebhook,
  removeWebhook,
  removeTenant,
  removeAccount,
  removeCalendar,
  listRemovals,
  getQuota,
  getApiDocument,
} as const;

type ApiRoutes = typeof API_ROUTES;

/** What does the work of each route; one that has none does not compile. */
export type ApiHandlers = { readonly [Name in keyof ApiRoutes]: ApiHandler<ApiRoutes[Name]> };

/** What the routes need, together. */
export type ApiDeps = TenantRoutesDeps &
  AccountRoutesDeps &
  CalendarRoutesDeps &
  RefreshRouteDeps &
  ReadRoutesDeps &
  ChangeRoutesDeps &
  CopyRouteDeps &
  WebhookRoutesDeps &
  RemovalRoutesDeps &
  QuotaRouteDeps;

/** The handlers of all routes. */
export function createApiHandlers(deps: ApiDeps): ApiHandlers {
  // Made once: it takes milliseconds, and whoever may read may ask for it often.
  let document: (Record<string, unknown> & { readonly openapi: string }) | undefined;
  return {
    ...createTenantHandlers(deps),
    ...createAccountHandlers(deps),
    ...createCalendarHandlers(deps),
    ...createRefreshHandlers(deps),
    ...createEventHandlers(deps),
    ...createBusyHandlers(deps),
    ...createChangeHandlers(deps),
    ...createCopyHandlers(deps),
    ...createWebhookHandlers(deps),
    ...createRemovalHandlers(deps),
    ...createQuotaHandlers(deps),
    getApiDocument: () => {
      document ??= { ...createApiDocument(API_ROUTES) };
      return Promise.resolve({ body: document });
    },
  };
}
