import type { z } from "zod";
import type { RequestClass } from "../core/request.ts";

/** What a job is told about the run it is part of. */
export interface JobRun {
  /** Aborts when the worker shuts down and the drain deadline nears. */
  readonly signal: AbortSignal;
}

/** What a run tells its run record: a word for the outcome and flat facts; never a secret. */
export interface JobReport {
  readonly outcome: string;
  readonly facts: Readonly<Record<string, string | number | boolean | undefined>>;
  /** What was thrown where the outcome came from an error. */
  readonly error?: unknown;
}

/**
 * One kind of job. A job only says that a row may be worked on now; what is to be done, and whether
 * and when to try again, stands in the row. So losing the queue loses nothing (I9).
 */
export interface JobDefinition<Context, Schema extends z.ZodType> {
  readonly name: string;
  readonly payload: Schema;
  /** Names the row that the job is about. BullMQ forbids ":" in ids, so keys use "-". */
  readonly dedupeKey: (payload: z.output<Schema>) => string;
  /** Which queue: `interactive` has workers of its own. */
  readonly classOf: (payload: z.output<Schema>) => RequestClass;
  readonly run: (context: Context, payload: z.output<Schema>, run: JobRun) => Promise<JobReport>;
}

/** Identity at run time; exists so that `payload` types `run` without annotations. */
export function defineJob<Context>(): <Schema extends z.ZodType>(
  definition: JobDefinition<Context, Schema>,
) => JobDefinition<Context, Schema> {
  return (definition) => definition;
}

/** A job of any payload, as the worker looks it up by name: parses before it runs. */
export interface RunnableJob<Context> {
  readonly name: string;
  /** Undefined when the payload does not parse; then `problem` says why. */
  prepare(
    payload: unknown,
  ):
    | { readonly kind: "ready"; run(context: Context, run: JobRun): Promise<JobReport> }
    | { readonly kind: "unparseable"; readonly problem: string };
}

/** Erase a definition's payload type, keeping its parsing. */
export function runnable<Context, Schema extends z.ZodType>(
  definition: JobDefinition<Context, Schema>,
): RunnableJob<Context> {
  return {
    name: definition.name,
    prepare(payload) {
      const parsed = definition.payload.safeParse(payload);
      if (!parsed.success) {
        return { kind: "unparseable", problem: describeIssues(parsed.error) };
      }
      return { kind: "ready", run: (context, run) => definition.run(context, parsed.data, run) };
    },
  };
}

/** Paths and codes only: a payload's values may be anything and are not ours to print. */
function describeIssues(error: z.ZodError): string {
  return error.issues
    .slice(0, 5)
    .map((issue) => `${issue.path.map(String).join(".") || "(payload)"}: ${issue.code}`)
    .join("; ");
}
