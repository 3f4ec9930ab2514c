/**
 * The identities of this service, branded so that one cannot be passed for another.
 * Meanings: ARCHITECTURE.md, *Words*.
 */
declare const brand: unique symbol;
type Id<Name extends string> = string & { readonly [brand]: Name };

/** One Google Cloud project: an OAuth client and its limits. Ours; `default` unless named. */
export type ProjectId = Id<"project">;
/** A customer organisation. Chosen by the adopter. */
export type TenantId = Id<"tenant">;
/** One Google identity of a tenant. Chosen by the adopter, unique within the tenant. */
export type AccountName = Id<"account-name">;
/** Ballast's own id of an account (`acc_…`). */
export type AccountId = Id<"account">;
/** Ballast's own id of a calendar as seen through one account (`cal_…`). */
export type CalendarId = Id<"calendar">;
/** Google's id of a calendar: an address-like string; case matters; may hold `:` `/` `#` `%` and any unicode. */
export type GoogleCalendarId = Id<"google-calendar">;
/** Whom Google charges for a request, hashed where it is an address. */
export type QuotaUser = Id<"quota-user">;
/** The program or feature that asks: `ballast-worker`, `booking-api`, … */
export type Consumer = Id<"consumer">;

// oxlint-disable-next-line typescript/no-unnecessary-type-parameters -- callers name the brand by their return type
function as<T extends string>(value: string): T {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the one door into the brands
  return value as T;
}

export const projectId = (value: string): ProjectId => as(value);
export const tenantId = (value: string): TenantId => as(value);
export const accountName = (value: string): AccountName => as(value);
export const accountId = (value: string): AccountId => as(value);
/**
 * An account as the budget knows it, the same for whoever sends: guarded clients have no ids of ours, and a pause,
 * a park or a limit of writes that held one of two names would not hold the account.
 */
export const budgetAccount = (tenant: TenantId, name: AccountName): AccountId =>
  // The first slash ends the tenant, whose own are escaped: two accounts never share a key.
  as(`${tenant.replaceAll("%", "%25").replaceAll("/", "%2F")}/${name}`);
export const calendarId = (value: string): CalendarId => as(value);
export const googleCalendarId = (value: string): GoogleCalendarId => as(value);
export const quotaUser = (value: string): QuotaUser => as(value);
export const consumer = (value: string): Consumer => as(value);
