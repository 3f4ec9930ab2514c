import { freshPostgresDatabase } from "./fresh-postgres.ts";
import { storeConformance } from "./store-conformance.ts";

storeConformance("Postgres", freshPostgresDatabase);
