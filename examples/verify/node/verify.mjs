#!/usr/bin/env node
// Verifies a Keywright license file, license token or lease without a network. See README.md.
// Exit status: 0 it counts, 1 it does not (one line says why), 2 it could not be checked.

import { readFileSync, statSync } from "node:fs";
import { parseArgs } from "node:util";
import {
  LEASE,
  LICENSE,
  Refused,
  readKeySet,
  readRevocations,
  readSignedKeySet,
  tokenOf,
  verifyToken,
} from "./license.mjs";

const USAGE = `usage: node verify.mjs --keys JWKS --iss ISSUER --aud PRODUCT [options] FILE

  FILE               a license file, or a file with a token or a lease; - for standard input
  --keys JWKS        file with the server's keys: what GET /.well-known/jwks.json answered when you built your program
  --root X           the keys are in a set that the seller's offline root signed, and this is the root's public key:
                     FILE of --keys is then what GET /.well-known/keywright-keys.jwt answered
  --revoked LIST     file with what was revoked: the answer of GET /.well-known/keywright-revoked.jwt
  --iss ISSUER       whose licenses count: https://your-server/t/TENANT-ID
  --aud PRODUCT      for which product: its slug
  --fingerprint F    what names this machine; needed for whatever is bound to one
  --lease            FILE holds a lease, not a license
  --nonce N          the lease must answer this nonce
  --perpetual        a license token without an end counts, too
  --now SECONDS      unix time to judge by; the clock of this machine when left out
  --json             print the claims`;

const OPTIONS = {
  keys: { type: "string" },
  root: { type: "string" },
  revoked: { type: "string" },
  iss: { type: "string" },
  aud: { type: "string" },
  fingerprint: { type: "string" },
  nonce: { type: "string" },
  now: { type: "string" },
  lease: { type: "boolean" },
  perpetual: { type: "boolean" },
  json: { type: "boolean" },
};
const LARGEST_FILE = 65536; // a token is 8 KB at most; a key set has a few keys
const LARGEST_LIST = 2 ** 23;

class Unusable extends Error {}

function main() {
  const { values, positionals } = wanted();
  const { iss } = values;
  const now = values.now === undefined ? undefined : Number(values.now);
  const keys = usable(values.keys, () =>
    values.root === undefined
      ? readKeySet(read(values.keys))
      : readSignedKeySet(read(values.keys), { root: values.root, iss, now }),
  );
  const revoked =
    values.revoked && usable(values.revoked, () => readRevocations(read(values.revoked, LARGEST_LIST), { keys, iss, now }));
  const typ = values.lease ? LEASE : LICENSE;
  const claims = verifyToken(tokenOf(read(positionals[0])), { ...values, keys, revoked, typ, now });
  console.log(values.json ? JSON.stringify(claims) : summary(claims));
}

function wanted() {
  let found;
  try {
    found = parseArgs({ options: OPTIONS, allowPositionals: true, strict: true });
  } catch (error) {
    throw new Unusable(error.message);
  }
  const { values, positionals } = found;
  if (!values.keys || !values.iss || !values.aud || positionals.length !== 1) throw new Unusable(USAGE);
  if (values.now !== undefined && !/^\d{1,12}$/.test(values.now)) throw new Unusable("--now takes unix seconds");
  return found;
}

/** What cannot be used to judge is no judgment. */
function usable(path, made) {
  try {
    return made();
  } catch (error) {
    throw error instanceof Refused ? new Unusable(`${path} cannot be used: ${error.message}`) : error;
  }
}

/** The text of a file; the line end that editors and `echo` put behind it is not part of a token. */
function read(path, largest = LARGEST_FILE) {
  try {
    if (path !== "-" && statSync(path).size > largest) throw new Refused("size");
    const bytes = readFileSync(path === "-" ? 0 : path);
    if (bytes.length > largest) throw new Refused("size");
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes).replace(/\r?\n$/, "");
  } catch (error) {
    if (error instanceof Refused) throw error;
    if (error instanceof TypeError) throw new Refused("encoding"); // not UTF-8
    throw new Unusable(`${path} cannot be read: ${error.code ?? error.message}`);
  }
}

function summary(claims) {
  const end = claims.lexp ?? claims.exp;
  const until = end === undefined ? "without end" : `until ${new Date(end * 1000).toISOString()}`;
  return `valid: ${claims.aud}/${claims.plan ?? "?"}, ${claims.seats ?? "?"} seats, ${until}`;
}

try {
  main();
} catch (error) {
  const isRefusal = error instanceof Refused;
  console.error(isRefusal ? `refused: ${error.message}` : error instanceof Unusable ? error.message : `failed: ${error.message}`);
  process.exitCode = isRefusal ? 1 : 2;
}
