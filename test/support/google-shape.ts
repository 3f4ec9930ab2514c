import { Ajv } from "ajv";
import schemas from "../../src/simulator/google-schemas.json" with { type: "json" };

const ajv = new Ajv({ strict: false });
ajv.addSchema({ $id: "google", ...schemas });

const RESOURCE_OF_KIND: Readonly<Record<string, string | undefined>> = {
  "api#channel": "Channel",
  "calendar#calendar": "Calendar",
  "calendar#calendarList": "CalendarList",
  "calendar#calendarListEntry": "CalendarListEntry",
  "calendar#event": "Event",
  "calendar#events": "Events",
  "calendar#freeBusy": "FreeBusyResponse",
};

const validateError = ajv.compile({
  type: "object",
  required: ["error"],
  additionalProperties: false,
  properties: {
    error: {
      type: "object",
      required: ["errors", "code", "message"],
      additionalProperties: false,
      properties: {
        code: { type: "integer" },
        message: { type: "string" },
        errors: {
          type: "array",
          minItems: 1,
          items: {
            type: "object",
            required: ["domain", "reason", "message"],
            additionalProperties: false,
            properties: {
              domain: { type: "string" },
              reason: { type: "string" },
              message: { type: "string" },
              locationType: { type: "string" },
              location: { type: "string" },
            },
          },
        },
      },
    },
  },
});

/** What is wrong with a resource, by the schemas of Google's own client; an empty list when nothing is. */
export function problemsOf(value: unknown, resource: string): readonly unknown[] {
  const validate = ajv.getSchema(`google#/definitions/${resource}`);
  if (!validate) throw new Error(`There is no schema of ${resource}`);
  return validate(value) ? [] : (validate.errors ?? []);
}

/** The same for any whole answer: a resource that says its kind, or a refusal. Parts under a `fields` mask say no kind. */
export function problemsOfAnswer(status: number, body: object): readonly unknown[] {
  if (status >= 400) return validateError(body) ? [] : (validateError.errors ?? []);
  const kind = "kind" in body && typeof body.kind === "string" ? body.kind : undefined;
  if (kind === undefined) return [];
  const resource = RESOURCE_OF_KIND[kind];
  return resource === undefined ? [{ unknownKind: kind }] : problemsOf(body, resource);
}
