import { BlockList, isIP } from "node:net";

/*
 * Where a webhook may point. Its address is written by who runs a tenant, and the request comes from inside of
 * our network: it must not be a way to what only that network can reach.
 */

const MOST_LETTERS = 2_048;

/** IANA's special-purpose registries: what is not somebody's public address. */
const NOT_PUBLIC_V4: readonly (readonly [net: string, prefix: number])[] = [
  ["0.0.0.0", 8],
  ["10.0.0.0", 8],
  ["100.64.0.0", 10],
  ["127.0.0.0", 8],
  ["169.254.0.0", 16],
  ["172.16.0.0", 12],
  ["192.0.0.0", 24],
  ["192.0.2.0", 24],
  ["192.88.99.0", 24],
  ["192.168.0.0", 16],
  ["198.18.0.0", 15],
  ["198.51.100.0", 24],
  ["203.0.113.0", 24],
  ["224.0.0.0", 4],
  ["240.0.0.0", 4],
];

/** Of the global unicast block, what leads elsewhere: Teredo and its neighbours, documentation, 6to4. */
const NOT_PUBLIC_V6: readonly (readonly [net: string, prefix: number])[] = [
  ["2001::", 23],
  ["2001:db8::", 32],
  ["2002::", 16],
  ["3fff::", 20],
];

const notPublic = new BlockList();
for (const [net, prefix] of NOT_PUBLIC_V4) notPublic.addSubnet(net, prefix, "ipv4");
for (const [net, prefix] of NOT_PUBLIC_V6) notPublic.addSubnet(net, prefix, "ipv6");
const globalUnicast = new BlockList();
globalUnicast.addSubnet("2000::", 3, "ipv6");

/** Whether an IP address is one that the whole Internet knows by it. */
export function isPublicAddress(address: string): boolean {
  const family = isIP(address);
  if (family === 4) return !notPublic.check(address, "ipv4");
  // What maps or translates to IPv4 (::ffff:…, 64:ff9b::…) lies outside of the block.
  return family === 6 && globalUnicast.check(address, "ipv6") && !notPublic.check(address, "ipv6");
}

/** What is wrong with a webhook's address; undefined: nothing. Names are looked up, and checked, when it is called. */
export function findAddressProblem(
  text: string,
  { allowPrivate }: { readonly allowPrivate: boolean },
): string | undefined {
  const url = text.length <= MOST_LETTERS ? URL.parse(text) : null;
  if (url === null) return "it is not an address of at most 2048 letters";
  if (url.username !== "" || url.password !== "") return "it must not hold a name and password";
  if (url.hash !== "") return "it must not have a #fragment";
  if (allowPrivate) {
    return ["https:", "http:"].includes(url.protocol) ? undefined : "it must be http(s)";
  }
  if (url.protocol !== "https:") return "it must be https";
  const host = url.hostname.replace(/^\[(.*)\]$/, "$1");
  const isPrivate = isIP(host) === 0 ? isLocalName(host) : !isPublicAddress(host);
  return isPrivate ? "it must not be a private or loopback address" : undefined;
}

function isLocalName(host: string): boolean {
  const name = host.replace(/\.$/, "");
  return name === "localhost" || name.endsWith(".localhost") || !name.includes(".");
}
