import type { AccountId } from "./ids.ts";

/** How many stored secrets an encryption key seals. */
export interface KeyUsage {
  readonly keyId: string;
  readonly secrets: number;
  /** Configured here; what an unknown key seals cannot be opened. */
  readonly isKnown: boolean;
}

/** What one portion of a rotation did. */
export interface RotatedPortion {
  readonly rotated: number;
  /** Whose secrets: their key is not configured, or is another one of that name, and they stay as they are. */
  readonly unopened: readonly string[];
  /** Where to go on; undefined: there is no more. */
  readonly next: AccountId | undefined;
}

/**
 * Seals stored secrets with the current key instead of older ones, while everyone goes on reading and writing
 * them. Stopped at any point it is begun again: what is sealed with the current key is not looked at.
 */
export interface KeyRotation {
  currentKeyId(): string;
  usage(): Promise<readonly KeyUsage[]>;
  rotateSome(portion: {
    readonly after: AccountId | undefined;
    readonly limit: number;
  }): Promise<RotatedPortion>;
}
