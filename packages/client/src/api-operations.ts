/** Generated from Ballast's OpenAPI document by `npm run generate:client`; edit the routes, not this file. */
/* oxlint-disable max-lines -- as long as the document */

/** Every code that Ballast refuses with. */
export type ApiProblemCode =
  | "bad-request"
  | "invalid-parameter"
  | "range-empty"
  | "range-too-long"
  | "bad-time-zone"
  | "bad-cursor"
  | "answer-too-large"
  | "invalid-body"
  | "body-too-large"
  | "unsupported-media-type"
  | "token-missing"
  | "token-unknown"
  | "scope-missing"
  | "operators-only"
  | "route-unknown"
  | "unknown-tenant"
  | "unknown-account"
  | "unknown-calendar"
  | "unknown-webhook"
  | "changes-forgotten"
  | "calendar-not-refreshable"
  | "reconnect-impossible"
  | "being-removed"
  | "too-many-requests"
  | "store-unavailable"
  | "overloaded"
  | "internal";

export type Account = {
  readonly id: string;
  readonly tenant: string;
  readonly name: string;
  readonly state: "connected" | "needs-reconnect" | "paused" | "removed";
  readonly reason: string | null;
  readonly since: string;
  readonly by: "refresh-token" | "service-account";
  readonly scopes: readonly string[];
  readonly connectedAt: string;
  readonly discoveredAt: string | null;
};

/** What is neither in `busy` nor in `unknown` is free in all calendars. `freshness` null: there is no such calendar. */
export type Busy = {
  readonly schemaVersion: 1;
  readonly from: string;
  readonly to: string;
  readonly busy: readonly BusyTime[];
  readonly unknown: readonly UnknownTime[];
  readonly calendars: readonly {
    readonly calendarId: string;
    readonly freshness: Freshness | null;
    readonly busy: readonly BusyTime[];
    readonly unknown: readonly UnknownTime[];
  }[];
};

/** Busy from here to before there. */
export type BusyTime = { readonly from: string; readonly to: string };

export type Calendar = {
  readonly id: string;
  readonly tenant: string;
  readonly accountId: string;
  readonly googleCalendarId: string;
  readonly summary: string | null;
  readonly timeZone: string | null;
  readonly accessRole: string | null;
  readonly isPrimary: boolean;
  readonly isHidden: boolean;
  readonly publishedAt: string | null;
  readonly requested: number;
  readonly served: number;
  readonly dueAt: string | null;
  readonly dueReason: string;
  readonly freshness: Freshness;
};

/** What changed; read it anew from the mirror. `calendar-replaced`: too much to name, read the whole calendar. The state of an account is the one it came into. */
export type Change =
  | {
      readonly kind: "event-created" | "event-updated" | "event-deleted";
      readonly accountId: string;
      readonly calendarId: string;
      readonly eventId: string;
      readonly generation: number;
      readonly at: string;
    }
  | {
      readonly kind:
        | "calendar-added"
        | "calendar-replaced"
        | "calendar-lost"
        | "calendar-returned"
        | "calendar-removed";
      readonly accountId: string;
      readonly calendarId: string;
      readonly generation: number;
      readonly at: string;
    }
  | {
      readonly kind:
        | "account-connected"
        | "account-needs-reconnect"
        | "account-paused"
        | "account-resumed"
        | "account-removed";
      readonly accountId: string;
      readonly state: "connected" | "needs-reconnect" | "paused" | "removed";
      readonly reason: string | null;
      readonly at: string;
    };

/** How current a calendar's copy is. `ageMs` counts from the last moment it was known to be current; null: never synced. `pending`: something newer was announced and is not in it yet. */
export type Freshness = {
  readonly state: "never" | "fresh" | "stale" | "slowed" | "lost" | "paused";
  readonly ageMs: number | null;
  readonly syncedAt: string | null;
  readonly generation: number;
  readonly reason: string | null;
  readonly pending: boolean;
};

export type Removal = {
  readonly id: string;
  readonly kind: "tenant" | "account" | "calendar";
  readonly subject: string;
  readonly tenant: string;
  readonly stage: "marking" | "releasing" | "erasing" | "settling";
  readonly revoke: boolean;
  readonly askedAt: string;
  readonly askedBy: string;
  readonly reason: string | null;
  readonly done: {
    readonly channelsStopped: number;
    readonly channelsLeft: number;
    readonly tokensRevoked: number;
    readonly tokensLeft: number;
    readonly erasedRows: number;
  };
};

export type Tenant = { readonly id: string; readonly createdAt: string };

/** A time about which nothing can be said, and why. It must not be taken for free. */
export type UnknownTime = {
  readonly from: string;
  readonly to: string;
  readonly reason:
    | "unknown-calendar"
    | "never-synced"
    | "lost"
    | "paused"
    | "slowed"
    | "stale"
    | "older-than-asked"
    | "changing"
    | "unreadable-event"
    | "too-much-to-expand";
  readonly eventIds: readonly string[];
};

export type Webhook = {
  readonly tenant: string;
  readonly url: string;
  readonly state: "active" | "failing" | "disabled";
  readonly reason: string | null;
  readonly failingSince: string | null;
  readonly retryAt: string | null;
  readonly deliveredAt: string | null;
  readonly cursor: string;
};

/** What each route takes and answers. */
export interface ApiOperations {
  /** The tenants that the token may see, in order of id. */
  readonly listTenants: {
    readonly input: { readonly limit?: number | undefined; readonly after?: string | undefined };
    readonly answer: {
      readonly schemaVersion: 1;
      readonly tenants: readonly Tenant[];
      readonly next: string | null;
    };
  };
  /** One tenant. */
  readonly getTenant: {
    readonly input: { readonly tenant: string };
    readonly answer: { readonly schemaVersion: 1; readonly tenant: Tenant };
  };
  /** Remove a tenant for good, with all that is stored of it: previewed, unless `confirm` repeats what the path names; then at once nothing of it is served or asked of Google, and a worker stops its channels, ends its credentials and erases its rows. At most one a second for each token. */
  readonly removeTenant: {
    readonly input: {
      readonly tenant: string;
      readonly confirm?: string | undefined;
      readonly revoke?: "true" | "false" | undefined;
      readonly reason?: string | undefined;
    };
    readonly answer: {
      readonly schemaVersion: 1;
      readonly preview: {
        readonly tenant: string;
        readonly accounts: number;
        readonly calendars: number;
        /** Counted up to 100000. */
        readonly events: number;
        readonly channels: number;
        readonly apiTokens: number;
      };
      readonly removal: Removal | null;
    };
  };
  /** The accounts that the token may see, with their state and its reason, in order of id. */
  readonly listAccounts: {
    readonly input: {
      readonly tenant?: string | undefined;
      readonly state?: "connected" | "needs-reconnect" | "paused" | "removed" | undefined;
      readonly limit?: number | undefined;
      readonly after?: string | undefined;
    };
    readonly answer: {
      readonly schemaVersion: 1;
      readonly accounts: readonly Account[];
      readonly next: string | null;
    };
  };
  /** Connect an account by a refresh token of the configured OAuth client, or connect it again: its ids, its calendars and an operator's pause are kept. Whether Google takes the token is found out by the first sync. */
  readonly connectAccount: {
    readonly input: {
      readonly tenant: string;
      readonly account: string;
      readonly refreshToken: string;
      readonly scopes?: readonly string[] | undefined;
      readonly sub?: string | undefined;
    };
    readonly answer: { readonly schemaVersion: 1; readonly account: Account };
  };
  /** One account. */
  readonly getAccount: {
    readonly input: { readonly accountId: string };
    readonly answer: { readonly schemaVersion: 1; readonly account: Account };
  };
  /** Remove an account for good, with all that is stored of it: previewed, unless `confirm` repeats what the path names; then at once nothing of it is served or asked of Google, and a worker stops its channels, ends its credentials and erases its rows. At most one a second for each token. */
  readonly removeAccount: {
    readonly input: {
      readonly accountId: string;
      readonly confirm?: string | undefined;
      readonly revoke?: "true" | "false" | undefined;
      readonly reason?: string | undefined;
    };
    readonly answer: {
      readonly schemaVersion: 1;
      readonly preview: {
        readonly tenant: string;
        readonly accounts: number;
        readonly calendars: number;
        /** Counted up to 100000. */
        readonly events: number;
        readonly channels: number;
        readonly apiTokens: number;
      };
      readonly removal: Removal | null;
    };
  };
  /** Google's consent page for the account's person. Google then sends them to `redirectUri` with a code, which your program exchanges for a refresh token; POST /v1/accounts takes that. */
  readonly getReconnectUrl: {
    readonly input: {
      readonly accountId: string;
      readonly redirectUri: string;
      readonly state: string;
    };
    readonly answer: { readonly schemaVersion: 1; readonly url: string };
  };
  /** The calendars that the token may see, each with how current its copy is, in order of id. */
  readonly listCalendars: {
    readonly input: {
      readonly tenant?: string | undefined;
      readonly accountId?: string | undefined;
      readonly state?: "never" | "fresh" | "stale" | "slowed" | "lost" | "paused" | undefined;
      readonly limit?: number | undefined;
      readonly after?: string | undefined;
    };
    readonly answer: {
      readonly schemaVersion: 1;
      readonly calendars: readonly Calendar[];
      readonly next: string | null;
    };
  };
  /** One calendar. */
  readonly getCalendar: {
    readonly input: { readonly calendarId: string };
    readonly answer: { readonly schemaVersion: 1; readonly calendar: Calendar };
  };
  /** Remove one calendar of an account that stays, which does not take it up again, for good, with all that is stored of it: previewed, unless `confirm` repeats what the path names; then at once nothing of it is served or asked of Google, and a worker stops its channels, ends its credentials and erases its rows. At most one a second for each token. */
  readonly removeCalendar: {
    readonly input: {
      readonly calendarId: string;
      readonly confirm?: string | undefined;
      readonly revoke?: "true" | "false" | undefined;
      readonly reason?: string | undefined;
    };
    readonly answer: {
      readonly schemaVersion: 1;
      readonly preview: {
        readonly tenant: string;
        readonly accounts: number;
        readonly calendars: number;
        /** Counted up to 100000. */
        readonly events: number;
        readonly channels: number;
        readonly apiTokens: number;
      };
      readonly removal: Removal | null;
    };
  };
  /** Someone knows that a calendar changed, or waits for it. However many ask, it is one refresh; nothing is waited for. It is served when the calendar's `served` has reached `mark`. An operator's token names the `tenant` beside an account. */
  readonly requestRefresh: {
    readonly input:
      | {
          readonly calendarId: string;
          /** `poll` where nobody waits. */
          readonly class?: "interactive" | "poll" | undefined;
        }
      | {
          readonly tenant?: string | undefined;
          readonly account: string;
          readonly googleCalendarId: string;
          /** `poll` where nobody waits. */
          readonly class?: "interactive" | "poll" | undefined;
        };
    readonly answer: {
      readonly schemaVersion: 1;
      readonly calendarId: string;
      readonly outcome: "marked";
      readonly mark: number;
    };
  };
  /** What takes place in a calendar in a range of time, by start: single events, exceptions, and series as their occurrences. `unknown` says what nothing can be said about. Compare `freshness.generation` between pages. */
  readonly listEvents: {
    readonly input: {
      readonly calendarId: string;
      readonly from: string;
      /** Before here; at most 400 days after `from`. */
      readonly to: string;
      /** Where all-day events begin, instead of in the calendar's own zone. */
      readonly timeZone?: string | undefined;
      /** An older copy is refreshed while you wait, at most `refreshDeadlineMs`; the answer says what it got. A younger one counts as known whatever its state. */
      readonly maxAgeMs?: number | undefined;
      readonly refreshDeadlineMs?: number | undefined;
      readonly limit?: number | undefined;
      /** `next` of the page before. */
      readonly after?: string | undefined;
    };
    readonly answer: {
      readonly schemaVersion: 1;
      readonly calendarId: string;
      readonly freshness: Freshness;
      readonly events: readonly {
        readonly start: string;
        readonly end: string;
        readonly isAllDay: boolean;
        readonly event: { readonly id: string; readonly [field: string]: unknown };
      }[];
      readonly unknown: readonly UnknownTime[];
      readonly next: string | null;
    };
  };
  /** When calendars are busy, and when nobody knows: `calendarId` once or many times, and each counts as one request. 404 when none of them is there; what is asked about one that is not there, beside others, is unknown. */
  readonly getBusy: {
    readonly input: {
      readonly calendarId: readonly string[];
      readonly from: string;
      /** Before here; at most 400 days after `from`. */
      readonly to: string;
      /** Where all-day events begin, instead of in the calendar's own zone. */
      readonly timeZone?: string | undefined;
      /** An older copy is refreshed while you wait, at most `refreshDeadlineMs`; the answer says what it got. A younger one counts as known whatever its state. */
      readonly maxAgeMs?: number | undefined;
      readonly refreshDeadlineMs?: number | undefined;
      /** What tentative and unanswered events are. */
      readonly tentative?: "busy" | "free" | undefined;
    };
    readonly answer: Busy;
  };
  /** As GET /v1/busy, for more calendars than an address can hold. Changes nothing. */
  readonly askBusy: {
    readonly input: {
      readonly calendarIds: readonly string[];
      readonly from: string;
      /** Before here; at most 400 days after `from`. */
      readonly to: string;
      /** Where all-day events begin, instead of in the calendar's own zone. */
      readonly timeZone?: string | undefined;
      readonly maxAgeMs?: number | undefined;
      readonly refreshDeadlineMs?: number | undefined;
      /** What tentative and unanswered events are. */
      readonly tentative?: "busy" | "free" | undefined;
    };
    readonly answer: Busy;
  };
  /** A tenant's changes after a cursor, in the order of their commits, at least once. Without `after`: where to begin; take it, read everything, then follow. With `wait`, an answer that would be empty is held back until something changes, at most so many seconds. `changes-forgotten`: its `next` is the cursor to go on from after everything was read anew. */
  readonly listChanges: {
    readonly input: {
      readonly tenant?: string | undefined;
      readonly after?: string | undefined;
      readonly limit?: number | undefined;
      readonly wait?: number | undefined;
    };
    readonly answer: {
      readonly schemaVersion: 1;
      readonly changes: readonly Change[];
      readonly next: string;
      readonly more: boolean;
    };
  };
  /** A calendar's published copy, in order of id: single events, series and their exceptions as Google gives them, for who follows the changes. With `eventId`, those alone; what is not in the answer is not in the copy. Compare `freshness.generation` between pages. */
  readonly readCopy: {
    readonly input: {
      readonly calendarId: string;
      readonly eventId?: readonly string[] | undefined;
      readonly limit?: number | undefined;
      readonly after?: string | undefined;
    };
    readonly answer: {
      readonly schemaVersion: 1;
      readonly calendarId: string;
      readonly freshness: Freshness;
      readonly events: readonly { readonly id: string; readonly [field: string]: unknown }[];
      readonly next: string | null;
    };
  };
  /** Where a tenant's changes are sent, and how that goes. */
  readonly getWebhook: {
    readonly input: { readonly tenant: string };
    readonly answer: { readonly schemaVersion: 1; readonly webhook: Webhook };
  };
  /** Send a tenant's changes to an address, signed with a new secret that is shown this once. A webhook that is there already keeps its place in the feed. */
  readonly setWebhook: {
    readonly input: { readonly tenant: string } & { readonly url: string };
    readonly answer: {
      readonly schemaVersion: 1;
      readonly webhook: Webhook;
      readonly secret: string;
    };
  };
  /** Send a tenant's changes nowhere any more. The feed itself is kept. */
  readonly removeWebhook: {
    readonly input: { readonly tenant: string };
    readonly answer: { readonly schemaVersion: 1; readonly removed: true };
  };
  /** The removals that are under way, longest asked first; what has ended is in the operator log. */
  readonly listRemovals: {
    readonly input: { readonly limit?: number | undefined };
    readonly answer: { readonly schemaVersion: 1; readonly removals: readonly Removal[] };
  };
  /** How Google's budget stands, who used it, and when the day runs out. Names tenants. */
  readonly getQuota: {
    readonly input: {
      /** How far back who spent it is looked for. */
      readonly hours?: number | undefined;
      readonly limit?: number | undefined;
    };
    readonly answer: {
      readonly schemaVersion: 1;
      readonly at: string;
      readonly source: "ledger" | "database";
      readonly minute: {
        readonly limit: number;
        readonly used: number;
        readonly left: number;
      } | null;
      readonly day: {
        readonly limit: number;
        readonly used: number;
        readonly left: number;
        readonly startedAt: string;
        readonly endsAt: string;
        readonly perMinute: number;
        readonly forecast: number;
        readonly exhaustedAt: string | null;
      };
      readonly retryTokens: number | null;
      readonly retryShare: number | null;
      readonly since: string;
      readonly spenders: readonly {
        readonly tenant: string;
        readonly consumer: string;
        readonly class: string;
        readonly attempt: string;
        readonly requests: number;
      }[];
      readonly unsuccessful: readonly {
        readonly tenant: string;
        readonly consumer: string;
        readonly class: string;
        readonly attempt: string;
        readonly requests: number;
        readonly outcome: string;
        readonly reason: string;
      }[];
    };
  };
  /** This document. */
  readonly getApiDocument: {
    readonly input: { readonly [field: string]: never };
    readonly answer: { readonly openapi: string; readonly [field: string]: unknown };
  };
}

/** How each route is asked. */
export const API_OPERATIONS = {
  listTenants: {
    method: "GET",
    path: "/v1/tenants",
    inPath: [],
    inQuery: ["limit", "after"],
    hasBody: false,
  },
  getTenant: {
    method: "GET",
    path: "/v1/tenants/{tenant}",
    inPath: ["tenant"],
    inQuery: [],
    hasBody: false,
  },
  removeTenant: {
    method: "DELETE",
    path: "/v1/tenants/{tenant}",
    inPath: ["tenant"],
    inQuery: ["confirm", "revoke", "reason"],
    hasBody: false,
  },
  listAccounts: {
    method: "GET",
    path: "/v1/accounts",
    inPath: [],
    inQuery: ["tenant", "state", "limit", "after"],
    hasBody: false,
  },
  connectAccount: { method: "POST", path: "/v1/accounts", inPath: [], inQuery: [], hasBody: true },
  getAccount: {
    method: "GET",
    path: "/v1/accounts/{accountId}",
    inPath: ["accountId"],
    inQuery: [],
    hasBody: false,
  },
  removeAccount: {
    method: "DELETE",
    path: "/v1/accounts/{accountId}",
    inPath: ["accountId"],
    inQuery: ["confirm", "revoke", "reason"],
    hasBody: false,
  },
  getReconnectUrl: {
    method: "GET",
    path: "/v1/accounts/{accountId}/reconnect-url",
    inPath: ["accountId"],
    inQuery: ["redirectUri", "state"],
    hasBody: false,
  },
  listCalendars: {
    method: "GET",
    path: "/v1/calendars",
    inPath: [],
    inQuery: ["tenant", "accountId", "state", "limit", "after"],
    hasBody: false,
  },
  getCalendar: {
    method: "GET",
    path: "/v1/calendars/{calendarId}",
    inPath: ["calendarId"],
    inQuery: [],
    hasBody: false,
  },
  removeCalendar: {
    method: "DELETE",
    path: "/v1/calendars/{calendarId}",
    inPath: ["calendarId"],
    inQuery: ["confirm", "revoke", "reason"],
    hasBody: false,
  },
  requestRefresh: { method: "POST", path: "/v1/refresh", inPath: [], inQuery: [], hasBody: true },
  listEvents: {
    method: "GET",
    path: "/v1/events",
    inPath: [],
    inQuery: [
      "calendarId",
      "from",
      "to",
      "timeZone",
      "maxAgeMs",
      "refreshDeadlineMs",
      "limit",
      "after",
    ],
    hasBody: false,
  },
  getBusy: {
    method: "GET",
    path: "/v1/busy",
    inPath: [],
    inQuery: ["calendarId", "from", "to", "timeZone", "maxAgeMs", "refreshDeadlineMs", "tentative"],
    hasBody: false,
  },
  askBusy: { method: "POST", path: "/v1/busy", inPath: [], inQuery: [], hasBody: true },
  listChanges: {
    method: "GET",
    path: "/v1/changes",
    inPath: [],
    inQuery: ["tenant", "after", "limit", "wait"],
    hasBody: false,
  },
  readCopy: {
    method: "GET",
    path: "/v1/calendars/{calendarId}/copy",
    inPath: ["calendarId"],
    inQuery: ["eventId", "limit", "after"],
    hasBody: false,
  },
  getWebhook: {
    method: "GET",
    path: "/v1/tenants/{tenant}/webhook",
    inPath: ["tenant"],
    inQuery: [],
    hasBody: false,
  },
  setWebhook: {
    method: "POST",
    path: "/v1/tenants/{tenant}/webhook",
    inPath: ["tenant"],
    inQuery: [],
    hasBody: true,
  },
  removeWebhook: {
    method: "DELETE",
    path: "/v1/tenants/{tenant}/webhook",
    inPath: ["tenant"],
    inQuery: [],
    hasBody: false,
  },
  listRemovals: {
    method: "GET",
    path: "/v1/removals",
    inPath: [],
    inQuery: ["limit"],
    hasBody: false,
  },
  getQuota: {
    method: "GET",
    path: "/v1/quota",
    inPath: [],
    inQuery: ["hours", "limit"],
    hasBody: false,
  },
  getApiDocument: {
    method: "GET",
    path: "/v1/openapi.json",
    inPath: [],
    inQuery: [],
    hasBody: false,
  },
} as const;
