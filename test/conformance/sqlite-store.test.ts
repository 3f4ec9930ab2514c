import { join } from "node:path";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { storeConformance } from "./store-conformance.ts";

storeConformance("SQLite", async () => `sqlite:${join(await temporaryDirectory(), "store.db")}`);
