import { z } from "zod";
import { REQUEST_CLASSES, type RequestClass } from "../../../src/core/request.ts";
import type { GuardableAuth } from "./guard-auth.ts";

/** What proves to Google that you may act for an account. */
export type ClientCredentials =
  | {
      readonly clientId: string;
      readonly clientSecret: string;
      readonly refreshToken: string;
      /** Google may hand out a new refresh token with any refresh; store it. */
      readonly onNewRefreshToken?: ((refreshToken: string) => void) | undefined;
    }
  | {
      readonly clientEmail: string;
      readonly privateKey: string;
      /** The user it acts for (domain-wide delegation). */
      readonly subject?: string | undefined;
      readonly scopes: readonly string[];
    };

/** Whose calendar it is, who pays for the requests, and how urgent they are. */
export interface GuardedAccountOptions {
  readonly tenant: string;
  /** The account's name, as Ballast knows it within the tenant. */
  readonly account: string;
  /** Whom Google charges, exactly as Ballast has it: the Google account's `sub`, or its hash. */
  readonly quotaUser: string;
  readonly class: RequestClass;
  /** Either these … */
  readonly credentials?: ClientCredentials | undefined;
  /** … or an OAuth2Client or JWT of yours, used for nothing else. */
  readonly auth?: GuardableAuth | undefined;
}

const identity = z.string().min(1).max(256);
const accountSchema = z
  .looseObject({
    tenant: identity,
    account: identity,
    quotaUser: identity,
    class: z.enum(REQUEST_CLASSES),
    credentials: z
      .union([
        z.looseObject({
          clientId: z.string().min(1),
          clientSecret: z.string().min(1),
          refreshToken: z.string().min(1),
        }),
        z.looseObject({
          clientEmail: z.string().min(1),
          privateKey: z.string().min(1),
          scopes: z.array(z.string()).min(1),
        }),
      ])
      .optional(),
    auth: z.looseObject({}).optional(),
  })
  .refine(
    ({ credentials, auth }) => (credentials === undefined) !== (auth === undefined),
    "give either credentials or auth",
  );

const clientSchema = z.looseObject({
  redis: z.union([z.string().min(1), z.looseObject({})]),
  project: identity,
  consumer: identity,
  refresh: z.looseObject({ url: z.url(), token: z.string().min(1) }).optional(),
});

/** Plain JavaScript calls this too: every problem at once, before anything is opened. */
export function checkAccountOptions(options: GuardedAccountOptions): void {
  check("the account's options", accountSchema, options);
}

/** As above, for what the client itself needs. */
export function checkClientOptions(options: object): void {
  check("the client's options", clientSchema, options);
}

function check(what: string, schema: z.ZodType, value: unknown): void {
  const { error } = schema.safeParse(value);
  if (error === undefined) return;
  const problems = error.issues.map(({ path, message }) => `${path.join(".")}: ${message}`);
  throw new TypeError(`Please correct ${what}: ${problems.join("; ")}`);
}
