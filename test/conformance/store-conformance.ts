import { describe } from "vitest";
import { accountConformance } from "./store-accounts.ts";
import { calendarConformance } from "./store-calendars.ts";
import { changeConformance } from "./store-changes.ts";
import { claimModelConformance } from "./store-claim-model.ts";
import { channelConformance } from "./store-channels.ts";
import { deadGrantConformance } from "./store-dead-grants.ts";
import { eventConformance } from "./store-events.ts";
import { grantConformance } from "./store-grants.ts";
import { importConformance } from "./store-imports.ts";
import { ledgerRecordConformance } from "./store-ledger-record.ts";
import { pollConformance } from "./store-polls.ts";
import { publishModelConformance } from "./store-publish-model.ts";
import { recordConformance } from "./store-records.ts";
import { removalConformance } from "./store-removals.ts";
import { refreshHistoryConformance } from "./store-refresh-history.ts";
import { refreshConformance } from "./store-refreshes.ts";
import { tenantConformance } from "./store-tenants.ts";
import { tokenConformance } from "./store-tokens.ts";
import { usageConformance } from "./store-usage.ts";
import { webhookConformance } from "./store-webhooks.ts";

/** Gives a test an address of an empty database of its own. */
export type FreshDatabase = () => Promise<string>;

/** What every database behind the store's ports has to do. */
export function storeConformance(name: string, freshDatabase: FreshDatabase): void {
  describe(`store on ${name}`, () => {
    refreshConformance(freshDatabase);
    refreshHistoryConformance(freshDatabase);
    eventConformance(freshDatabase);
    calendarConformance(freshDatabase);
    accountConformance(freshDatabase);
    recordConformance(freshDatabase);
    tenantConformance(freshDatabase);
    removalConformance(freshDatabase);
    importConformance(freshDatabase);
    tokenConformance(freshDatabase);
    usageConformance(freshDatabase);
    deadGrantConformance(freshDatabase);
    grantConformance(freshDatabase);
    changeConformance(freshDatabase);
    webhookConformance(freshDatabase);
    channelConformance(freshDatabase);
    pollConformance(freshDatabase);
    ledgerRecordConformance(freshDatabase);
    publishModelConformance(freshDatabase);
    claimModelConformance(freshDatabase);
  });
}
