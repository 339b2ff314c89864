#!/usr/bin/env node
// Verifies a Keywright license file, license token or lease without a network. See README.md.
// Exit status: 0 it counts, 1 it does not (one line says why), 2 it could not be checked.

import { readFileSync, statSync } from "node:fs";
import { parseArgs } from "node:util";
import { LEASE, LICENSE, Refused, readKeySet, tokenOf, verifyToken } from "./license.mjs";

const USAGE = `usage: node verify.mjs --keys JWKS --iss ISSUER --aud PRODUCT [options] FILE

  FILE               a license file, or a file with a token or a lease; - for standard input
  --keys JWKS        file with the server's keys: what GET /.well-known/jwks.json answered when you built your program
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

class Unusable extends Error {}

function main() {
  const { values, positionals } = wanted();
  const keys = keySet(values.keys);
  const claims = verifyToken(tokenOf(read(positionals[0])), {
    ...values,
    keys,
    typ: values.lease ? LEASE : LICENSE,
    now: values.now === undefined ? undefined : Number(values.now),
  });
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

function keySet(path) {
  try {
    return readKeySet(read(path));
  } catch (error) {
    throw error instanceof Refused ? new Unusable(`${path} is no key set`) : error;
  }
}

/** The text of a file; the line end that editors and `echo` put behind it is not part of a token. */
function read(path) {
  try {
    if (path !== "-" && statSync(path).size > LARGEST_FILE) throw new Refused("size");
    const bytes = readFileSync(path === "-" ? 0 : path);
    if (bytes.length > LARGEST_FILE) throw new Refused("size");
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
