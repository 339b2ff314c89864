// Verifies what a Keywright server signs: license tokens, license files and leases. Node 18 or newer, no packages.
//
// A library that checks the signature alone accepts tokens with repeated members, a foreign type or negative
// seats. So every rule is spelled out here, and each one names itself when it refuses.

import { createHash, createPublicKey, timingSafeEqual, verify as holds } from "node:crypto";

export const LICENSE = "lic+jwt";
export const LEASE = "lease+jwt";

const KEY_SET = "keys+jwt";
const REVOKED = "crl+jwt";

const LONGEST_TOKEN = 8192;
const LONGEST_KEY_SET = 65536;
const LONGEST_LIST = 2 ** 23;
const DEEPEST = 64; // objects and lists inside one another; ours are two deep
const SKEW = 60; // seconds that this machine's clock may differ from the server's
const LATEST = 253402300799; // the end of the year 9999
const MOST = 2 ** 31 - 1;
const NOTHING_REVOKED = { licenses: new Set(), tokens: new Set(), keys: new Set() };
const BEGIN = "-----BEGIN KEYWRIGHT LICENSE-----";
const END = "-----END KEYWRIGHT LICENSE-----";

/** The token does not count. `reason` is a stable word, `claim` names the claim at fault if it is one. */
export class Refused extends Error {
  constructor(reason, claim) {
    super(claim === undefined ? reason : `${reason}: ${claim}`);
    this.reason = reason;
    this.claim = claim;
  }
}

/** The token in a license file; a text that is no such file is taken as the token itself, as it is. */
export function tokenOf(text) {
  if (!text.trimStart().startsWith("-----")) return text;
  // Mail programs change line ends and put blanks around lines.
  const lines = text.trim().split("\n").map((line) => line.trim());
  if (lines.length < 3 || lines[0] !== BEGIN || lines.at(-1) !== END) throw new Refused("shape");
  return lines.slice(1, -1).join("");
}

/**
 * The Ed25519 keys of a JWK set (RFC 7517) by their ids, each with the one type of token it may sign.
 * Throws Refused when the text is no key set, or names one key twice.
 */
export function readKeySet(text) {
  const set = parse(Buffer.from(text, "utf8"));
  if (!Array.isArray(set.keys)) throw new Refused("key set");
  const keys = new Map();
  for (const jwk of set.keys) {
    if (!isObject(jwk) || jwk.kty !== "OKP" || jwk.crv !== "Ed25519") continue; // a key of another kind
    if (!isText(jwk.kid) || !isText(jwk.x) || keys.has(jwk.kid)) throw new Refused("key set");
    keys.set(jwk.kid, { key: publicKey(unbase64url(jwk.x)), typ: jwk.typ });
  }
  return keys;
}

/**
 * The same from the key set that the seller's offline root signed (GET /.well-known/keywright-keys.jwt).
 *
 * rules: { root, iss }  the root's public key, base64url: the one thing that your program has to be built with
 *        oldest         the highest `seq` that this machine has seen; an older set is refused
 *        now            unix seconds
 */
export function readSignedKeySet(text, { root, iss, oldest = 0, now = Math.floor(Date.now() / 1000) }) {
  const thumbprint = createHash("sha256").update(`{"crv":"Ed25519","kty":"OKP","x":"${root}"}`).digest("base64url");
  const roots = new Map([[thumbprint, { key: publicKey(unbase64url(root)) }]]);
  const { claims } = opened(text, KEY_SET, roots, LONGEST_KEY_SET);
  checkDocument(claims, iss, oldest, now);
  demand(claims, "keys", (it) => Array.isArray(it) && it.every(isObject));
  demand(claims, "revoked", isListOfTexts);
  const keys = new Map();
  for (const { kid, x, typ, state } of claims.keys) {
    const usable = ["next", "active", "verify-only"].includes(state) && isText(typ) && isText(kid) && isText(x);
    if (!usable || keys.has(kid) || claims.revoked.includes(kid)) throw new Refused("claim", "keys");
    keys.set(kid, { key: publicKey(unbase64url(x)), typ });
  }
  return keys;
}

/** What was revoked (GET /.well-known/keywright-revoked.jwt), for the rule `revoked` of verifyToken. */
export function readRevocations(text, { keys, iss, oldest = 0, now = Math.floor(Date.now() / 1000) }) {
  const { claims } = opened(text, REVOKED, keys, LONGEST_LIST);
  checkDocument(claims, iss, oldest, now);
  for (const name of ["licenses", "tokens", "keys"]) demand(claims, name, isListOfTexts);
  const [licenses, tokens, kids] = [claims.licenses, claims.tokens, claims.keys].map((list) => new Set(list));
  return { seq: claims.seq, licenses, tokens, keys: kids };
}

/** A public key from its 32 bytes. */
export function publicKey(raw) {
  if (raw.length !== 32) throw new Refused("key set");
  return createPublicKey({ format: "jwk", key: { kty: "OKP", crv: "Ed25519", x: raw.toString("base64url") } });
}

/** Whether this key's owner made this signature over these bytes. */
export function isSigned(key, data, signature) {
  return signature.length === 64 && holds(null, data, key, signature);
}

/**
 * Verify a token completely and return its claims. Throws Refused and nothing else, whatever the text.
 *
 * rules: { keys, iss, aud }  the key set as readKeySet returns it, the one issuer and the one product that count
 *        typ                 LICENSE (the default) or LEASE
 *        now                 unix seconds; the clock of this machine when left out
 *        fingerprint         what names this machine; needed for whatever is bound to one
 *        nonce               what was sent with the call; then a lease must carry it
 *        revoked             what readRevocations returned
 *        perpetual           true lets a license token without `exp` pass
 */
export function verifyToken(token, rules) {
  const { keys, iss, aud, typ = LICENSE, now = Math.floor(Date.now() / 1000) } = rules;
  const { claims, kid } = opened(token, typ, keys, LONGEST_TOKEN);
  if (!isText(claims.iss) || claims.iss !== iss) throw new Refused("iss");
  if (!isText(claims.aud) || claims.aud !== aud) throw new Refused("aud");
  if (!isText(claims.sub)) throw new Refused("sub");
  checkTimes(claims, now, typ === LEASE || rules.perpetual !== true);
  checkContent(claims);
  if (typ === LEASE) checkLease(claims, now, rules.nonce);
  checkMachine(claims, rules.fingerprint);
  const { licenses, tokens, keys: kids } = rules.revoked ?? NOTHING_REVOKED;
  if (licenses.has(claims.sub) || tokens.has(claims.jti) || kids.has(kid)) throw new Refused("revoked");
  return claims;
}

/** The machine's name in a token: of the product's slug and the fingerprint. */
export function machineId(product, fingerprint) {
  const digest = createHash("sha256").update(`${product}\0${fingerprint}`, "utf8").digest();
  return digest.subarray(0, 16).toString("base64url");
}

/** The claims of a signed text, and the id of the key that signed it. What the claims say is not looked at. */
function opened(token, typ, keys, longest) {
  if (typeof token !== "string" || token.length > longest) throw new Refused("size");
  const parts = token.split(".");
  if (parts.length !== 3) throw new Refused("shape");
  const [head, payload, signature] = parts.map(unbase64url);
  const header = parse(head);
  const key = keyFor(header, typ, keys);
  // The signature stands over the text as received, not over anything written anew.
  if (!isSigned(key, Buffer.from(`${parts[0]}.${parts[1]}`, "ascii"), signature)) throw new Refused("signature");
  return { claims: parse(payload), kid: header.kid };
}

function keyFor(header, typ, keys) {
  const members = Object.keys(header).sort().join();
  if (members !== "alg,kid,typ" || !Object.values(header).every(isText)) throw new Refused("header");
  // Two names of one algorithm (RFC 9864). The key decides what is computed, never the header.
  if (header.alg !== "EdDSA" && header.alg !== "Ed25519") throw new Refused("alg");
  if (header.typ !== typ) throw new Refused("typ");
  const found = keys.get(header.kid);
  if (found === undefined || (found.typ !== undefined && found.typ !== typ)) throw new Refused("kid");
  return found.key;
}

function checkDocument(claims, iss, oldest, now) {
  if (!isText(claims.iss) || claims.iss !== iss) throw new Refused("iss");
  checkTimes(claims, now, true);
  if (claims.v !== undefined && claims.v !== 1) throw new Refused("version");
  demand(claims, "seq", isTime);
  if (claims.seq < oldest) throw new Refused("older");
}

function checkTimes(claims, now, needsEnd) {
  demand(claims, "iat", isTime);
  if (needsEnd) demand(claims, "exp", isTime);
  allow(claims, "nbf", isTime);
  allow(claims, "exp", isTime);
  if (Math.max(claims.iat, claims.nbf ?? 0) > now + SKEW) throw new Refused("not_yet_valid");
  if (claims.exp !== undefined && now >= claims.exp + SKEW) throw new Refused("expired");
}

function checkContent(claims) {
  if (claims.v !== undefined && claims.v !== 1) throw new Refused("version");
  for (const name of ["jti", "plan", "status", "firm"]) allow(claims, name, isText);
  for (const name of ["seats", "off"]) allow(claims, name, isCount);
  for (const name of ["entitled_until", "grace_until"]) allow(claims, name, (it) => it === null || isTime(it));
  allow(claims, "mid", (it) => typeof it === "string" && /^[A-Za-z0-9_-]{22}$/.test(it));
  allow(claims, "entitlements", (it) => Array.isArray(it) && it.every(isText));
  allow(claims, "limits", (it) => isObject(it) && Object.values(it).every(isCount));
}

function checkLease(claims, now, nonce) {
  demand(claims, "mid", isText);
  for (const name of ["lexp", "srv"]) demand(claims, name, isTime);
  demand(claims, "seq", (it) => Number.isSafeInteger(it) && it >= 0);
  demand(claims, "code", isText);
  allow(claims, "nonce", isText);
  if (now >= claims.lexp + SKEW) throw new Refused("lease_ended");
  if (nonce !== undefined && claims.nonce !== nonce) throw new Refused("nonce");
}

/** What is bound to a machine counts on that machine only, so without a fingerprint it does not count. */
function checkMachine(claims, fingerprint) {
  if (claims.mid === undefined) return;
  if (!isText(fingerprint)) throw new Refused("fingerprint_needed");
  const ours = Buffer.from(machineId(claims.aud, fingerprint));
  if (!timingSafeEqual(ours, Buffer.from(claims.mid))) throw new Refused("mid");
}

/** Only the one canonical spelling counts: decoders drop foreign characters and spare bits. */
function unbase64url(text) {
  const data = Buffer.from(text, "base64url");
  if (data.toString("base64url") !== text) throw new Refused("encoding");
  return data;
}

/** A JSON object with one meaning: UTF-8, no member twice, whole numbers only, no NUL, no lone surrogate. */
function parse(bytes) {
  let text, value;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
    value = JSON.parse(text);
  } catch {
    throw new Refused("json");
  }
  if (!isObject(value) || !hasOneMeaning(text)) throw new Refused("json");
  return value;
}

/** JSON.parse takes the last of two members, and rounds numbers. So the text is looked at once more. */
function hasOneMeaning(text) {
  const open = []; // one set of names for each object, null for each list
  // After JSON.parse the text is known to be JSON: strings, marks, and words without blanks between them.
  for (const [token, mark] of text.matchAll(/"(?:[^"\\]|\\.)*"(\s*:)?|[{}[\]]|[^\s"{}[\],:]+/g)) {
    if (token === "{" || token === "[") {
      if (open.push(token === "{" ? new Set() : null) > DEEPEST) return false;
    } else if (token === "}" || token === "]") {
      open.pop();
    } else if (token.startsWith('"')) {
      const string = JSON.parse(mark === undefined ? token : token.slice(0, -mark.length));
      if (/\0|\p{Surrogate}/u.test(string)) return false;
      if (mark !== undefined) {
        const names = open[open.length - 1];
        if (names.has(string)) return false;
        names.add(string);
      }
    } else if (!/^(true|false|null)$/.test(token)) {
      if (!/^-?(0|[1-9]\d*)$/.test(token) || !Number.isSafeInteger(Number(token))) return false;
    }
  }
  return true;
}

function demand(claims, name, isRight) {
  if (!Object.hasOwn(claims, name) || !isRight(claims[name])) throw new Refused("claim", name);
}

function allow(claims, name, isRight) {
  if (Object.hasOwn(claims, name) && !isRight(claims[name])) throw new Refused("claim", name);
}

function isObject(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isListOfTexts(value) {
  return Array.isArray(value) && value.every(isText);
}

function isText(value) {
  return typeof value === "string" && value !== "";
}

function isTime(value) {
  return Number.isSafeInteger(value) && value >= 0 && value <= LATEST;
}

function isCount(value) {
  return Number.isSafeInteger(value) && value >= 0 && value <= MOST;
}
