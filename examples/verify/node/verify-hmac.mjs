#!/usr/bin/env node
// Verifies an HMAC key without a network. See README.md.
// Exit status: 0 it counts, 1 it does not (one line says why), 2 it could not be checked.

import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { Refused, readSecrets, verifyKey } from "./hmac.mjs";

const USAGE = `usage: node verify-hmac.mjs --firm FIRM --secret FILE [options] KEY

  KEY                the key as it was typed, or the name of a file that holds one
  --firm FIRM        the firm's id
  --secret FILE      file with the firm's secret, as \`keywright license secret --firm FIRM\` printed it; while a
                     secret is changed, with two lines: the old one and the new one
  --product CODE     the product's code, if the key must name it
  --now SECONDS      unix time to judge by; the clock of this machine when left out
  --json             print what the key says`;

const OPTIONS = {
  firm: { type: "string" },
  secret: { type: "string" },
  product: { type: "string" },
  now: { type: "string" },
  json: { type: "boolean" },
};

class Unusable extends Error {}

function main() {
  const { values, positionals } = wanted();
  const said = verifyKey(keyOf(positionals[0]), {
    firm: values.firm,
    secrets: secretsOf(values.secret),
    product: numberOf(values.product, "--product"),
    now: numberOf(values.now, "--now"),
  });
  const until = said.ends_at === null ? "without end" : `until ${new Date(said.ends_at * 1000).toISOString()}`;
  console.log(values.json ? JSON.stringify(said) : `valid: tier ${said.tier}, ${said.seats} seats, ${until}`);
}

function wanted() {
  let found;
  try {
    found = parseArgs({ options: OPTIONS, allowPositionals: true, strict: true });
  } catch (error) {
    throw new Unusable(error.message);
  }
  if (!found.values.firm || !found.values.secret || found.positionals.length !== 1) throw new Unusable(USAGE);
  return found;
}

function numberOf(text, option) {
  if (text === undefined) return undefined;
  if (!/^\d{1,12}$/.test(text)) throw new Unusable(`${option} takes a number`);
  return Number(text);
}

function keyOf(told) {
  try {
    return readFileSync(told, "utf8");
  } catch {
    return told;
  }
}

function secretsOf(path) {
  try {
    return readSecrets(readFileSync(path, "utf8"));
  } catch (error) {
    throw new Unusable(error instanceof Refused ? `${path} holds no secret` : `${path} cannot be read: ${error.code}`);
  }
}

try {
  main();
} catch (error) {
  const isRefusal = error instanceof Refused;
  console.error(isRefusal ? `refused: ${error.message}` : error instanceof Unusable ? error.message : `failed: ${error.message}`);
  process.exitCode = isRefusal ? 1 : 2;
}
