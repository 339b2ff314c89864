// Verifies HMAC keys: what an on-premise installation checks with a secret that it shares with the seller.
// Node 18 or newer, no packages. Whoever holds the secret can also make keys for that firm; see README.md.

import { createHmac, timingSafeEqual } from "node:crypto";

const ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"; // Crockford's base32
const BODY = 15;
const TAGS = new Map([
  [50, 16], // the short form, for people: the first 16 bytes of the tag
  [127, 64], // the full form, for files
]);
const NEVER = 0xffff;
const DAY = 86400;
const BEGIN = "-----BEGIN KEYWRIGHT HMAC LICENSE-----";
const END = "-----END KEYWRIGHT HMAC LICENSE-----";

/** The key does not count. `reason` is a stable word. */
export class Refused extends Error {
  constructor(reason) {
    super(reason);
    this.reason = reason;
  }
}

/** HMAC-SHA512 (RFC 2104), all 64 bytes. */
export function mac(secret, message) {
  return createHmac("sha512", secret).update(message).digest();
}

/**
 * Verify a key, or a file that holds one, and return what it says. Throws Refused for everything that does not count.
 *
 * rules: { firm, secrets }  the firm's id, and its secrets as readSecrets returns them
 *        product            the product's code, if the key must name it
 *        now                unix seconds; the clock of this machine when left out
 */
export function verifyKey(text, { firm, secrets, product, now = Math.floor(Date.now() / 1000) }) {
  const { body, tag } = takenApart(text);
  const said = read(body);
  const secret = secrets.get(said.epoch);
  if (secret === undefined) throw new Refused("epoch");
  if (!isProven(body, tag, firm, secret)) throw new Refused("tag");
  if (product !== undefined && said.product !== product) throw new Refused("product");
  if (said.ends_at !== null && now >= said.ends_at) throw new Refused("expired");
  return said;
}

/**
 * A firm's secrets by their epochs, from lines as `keywright license secret --firm FIRM` prints them. While a secret
 * is changed there are two lines, the old one and the new one. Throws Refused for anything else.
 */
export function readSecrets(text) {
  const secrets = new Map();
  for (const line of text.split("\n").map((one) => one.trim())) {
    if (line === "") continue;
    const found = /^(\d{1,3})\.([A-Za-z0-9_-]{86})$/.exec(line);
    if (found === null) throw new Refused("secret");
    secrets.set(Number(found[1]), Buffer.from(found[2], "base64url"));
  }
  if (secrets.size === 0) throw new Refused("secret");
  return secrets;
}

/** Body and tag of a key as it was typed. Case and dashes are free; I and L are read as 1, O as 0. */
function takenApart(text) {
  let inside = text.length > 512 ? "" : text.trim();
  if (inside.startsWith(BEGIN)) {
    if (!inside.endsWith(END)) throw new Refused("shape");
    inside = inside.slice(BEGIN.length, -END.length);
  }
  const typed = inside
    .replace(/[\s\u00ad\u200b\ufeff\-\u2010-\u2015\u2212]/g, "")
    .replace(/[a-z]/g, (one) => one.toUpperCase())
    .replace(/[IL]/g, "1")
    .replace(/O/g, "0");
  const size = TAGS.get(typed.length);
  if (size === undefined || !/^[0-9A-HJKMNP-TV-Z]+$/.test(typed)) throw new Refused("shape");
  const data = decoded(typed, BODY + size);
  const body = data.subarray(0, BODY);
  if (body[0] !== 1 || body[9] > 1) throw new Refused("shape"); // version; flags
  return { body, tag: data.subarray(BODY) };
}

/** Base32 to bytes. The bits that are left over must be zero: else one key would have several texts. */
function decoded(text, size) {
  let number = 0n;
  for (const one of text) number = (number << 5n) | BigInt(ALPHABET.indexOf(one));
  const spare = BigInt(text.length * 5 - size * 8);
  if (number & ((1n << spare) - 1n)) throw new Refused("shape");
  return Buffer.from((number >> spare).toString(16).padStart(size * 2, "0"), "hex");
}

function isProven(body, tag, firm, secret) {
  const named = Buffer.from(firm.normalize("NFC").trim(), "utf8");
  const length = Buffer.from([named.length >> 8, named.length & 255]);
  const expected = mac(secret, Buffer.concat([Buffer.from("hmaclic/1"), length, named, body]));
  return timingSafeEqual(expected.subarray(0, tag.length), tag);
}

function read(body) {
  const day = body.readUInt16BE(6);
  return {
    tier: body[1], // the plan's code
    product: body.readUInt16BE(2),
    seats: body.readUInt16BE(4), // 65535 stands for as many and more
    ends_at: day === NEVER ? null : (day + 1) * DAY, // the last day counts whole, UTC
    epoch: body[8],
    trial: body[9] === 1,
    serial: body.subarray(10).toString("hex"),
  };
}
