import { createPrivateKey, createSign, type KeyObject } from "node:crypto";
import { readFile } from "node:fs/promises";
import { text as readAll } from "node:stream/consumers";
import { z } from "zod";
import type { EpochMs } from "../core/clock.ts";
import { CliError } from "./cli-error.ts";
import { EXIT } from "./exit-codes.ts";

/** A service account's key, as Google's console hands it out. */
export interface ServiceAccountKey {
  readonly clientEmail: string;
  readonly privateKey: string;
}

const keySchema = z.object({
  type: z.literal("service_account"),
  client_email: z.email(),
  private_key: z.string().min(1),
});
const ASSERTION_SECONDS = 600;

/** Read and try the key; `-` reads stdin. What is wrong with it is told by its shape, never by its content. */
export async function readServiceAccountKey(file: string): Promise<ServiceAccountKey> {
  const name = file === "-" ? "stdin" : file;
  let content: string;
  try {
    content = file === "-" ? await readAll(process.stdin) : await readFile(file, "utf8");
  } catch (error) {
    throw unusable(`${name} cannot be read: ${error instanceof Error ? error.message : ""}`, error);
  }
  const parsed = keySchema.safeParse(parseJson(content));
  if (!parsed.success) {
    const fields = parsed.error.issues.map(({ path }) => path.join(".")).filter((path) => path);
    throw unusable(
      `${name} is no service account's key${fields.length === 0 ? "" : `: look at ${fields.join(", ")}`}`,
    );
  }
  const { client_email: clientEmail, private_key: privateKey } = parsed.data;
  openKey(name, privateKey);
  return { clientEmail, privateKey };
}

/** What is sent to the token endpoint to try it (RFC 7523). */
export function signAssertion(
  key: ServiceAccountKey,
  claims: {
    readonly subject: string | undefined;
    readonly scopes: readonly string[];
    readonly audience: string;
    readonly now: EpochMs;
  },
): string {
  const issuedAt = Math.floor(claims.now / 1_000);
  const parts = [
    { alg: "RS256", typ: "JWT" },
    {
      iss: key.clientEmail,
      scope: claims.scopes.join(" "),
      aud: claims.audience,
      iat: issuedAt,
      exp: issuedAt + ASSERTION_SECONDS,
      ...(claims.subject === undefined ? {} : { sub: claims.subject }),
    },
  ];
  const signed = parts
    .map((part) => Buffer.from(JSON.stringify(part)).toString("base64url"))
    .join(".");
  const signature = createSign("RSA-SHA256")
    .update(signed)
    .sign(openKey("it", key.privateKey), "base64url");
  return `${signed}.${signature}`;
}

function openKey(name: string, privateKey: string): KeyObject {
  try {
    return createPrivateKey(privateKey);
  } catch {
    // OpenSSL's reason says nothing to a person, and an error that was made with a key is not passed on.
    throw unusable(`the private_key that ${name} holds is none`);
  }
}

function parseJson(content: string): unknown {
  try {
    return JSON.parse(content);
  } catch {
    return undefined;
  }
}

function unusable(problem: string, cause?: unknown): CliError {
  return new CliError(`The service account cannot be used: ${problem}.`, {
    exitCode: EXIT.configuration,
    code: "BALLAST_SERVICE_ACCOUNT_FILE",
    next: "give the JSON key file that Google's console makes: IAM, Service accounts, Keys, Add key",
    cause,
  });
}
