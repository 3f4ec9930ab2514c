/** `npm run generate:client`: writes what the client knows of the routes. */
import { writeFile } from "node:fs/promises";
import { API_CLIENT_FILE, writeApiClientSource } from "./api-client-source.ts";

await writeFile(API_CLIENT_FILE, await writeApiClientSource());
