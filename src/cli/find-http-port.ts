import { createServer } from "node:net";

/**
 * The configured port; 0 (any free one) when nobody chose it and another program has the default one:
 * a first `npm start` must not fail because of that. A port that was chosen is never exchanged.
 */
export async function findHttpPort(
  http: { readonly host: string; readonly port: number },
  env: Readonly<Record<string, string | undefined>>,
): Promise<number> {
  const isChosen = (env["BALLAST_HTTP_PORT"] ?? "") !== "";
  return isChosen || (await isFree(http)) ? http.port : 0;
}

function isFree({
  host,
  port,
}: {
  readonly host: string;
  readonly port: number;
}): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = createServer();
    probe.once("error", () => resolve(false));
    probe.listen(port, host, () => {
      probe.close(() => resolve(true));
    });
  });
}
