import type { RawBuilder } from "kysely";
import type { Dialect } from "./database.ts";

/** One step of the schema. Expand only: what an older supported build uses stays until a later release. */
export interface Migration {
  readonly version: number;
  readonly name: string;
  readonly description: string;
  /** What `migrate plan` says about it. */
  readonly plan: {
    /** The table whose every row is touched; undefined: none is. */
    readonly table: string | undefined;
    readonly locks: string;
    readonly millisecondsPerRow: number;
  };
  /** Run in order, in one transaction of this step's own. */
  statements(dialect: Dialect): readonly RawBuilder<unknown>[];
}
