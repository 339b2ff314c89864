// Asks the Node examples many questions in one process: JSON on standard input, JSON on standard output.

import { readFileSync } from "node:fs";

const asked = JSON.parse(readFileSync(0, "utf8"));
const license = await import(asked.license);
const hmac = await import(asked.hmac);
const bytes = (hex) => Buffer.from(hex, "hex");

function answer(module, ask) {
  try {
    ask();
    return "counts";
  } catch (error) {
    return error instanceof module.Refused ? error.message : `BROKEN ${error.stack}`;
  }
}

const answers = {
  tokens: ({ token, rules, keys }) =>
    answer(license, () => license.verifyToken(token, { ...rules, keys: license.readKeySet(keys) })),
  signatures: ({ key, message, signature }) =>
    license.isSigned(license.publicKey(bytes(key)), bytes(message), bytes(signature)),
  chains: ({ root, set, list, token, rules }) =>
    answer(license, () => {
      const { iss, now, oldest } = rules;
      const keys = license.readSignedKeySet(set, { root, iss, now, oldest });
      const revoked = list === null ? undefined : license.readRevocations(list, { keys, iss, now, oldest });
      license.verifyToken(token, { ...rules, keys, revoked });
    }),
  keys: ({ text, firm, secrets, ...rules }) =>
    answer(hmac, () => hmac.verifyKey(text, { firm, secrets: hmac.readSecrets(secrets), ...rules })),
  macs: ({ key, message }) => hmac.mac(bytes(key), bytes(message)).toString("hex"),
};

const said = Object.entries(answers).map(([kind, one]) => [kind, (asked[kind] ?? []).map(one)]);
console.log(JSON.stringify(Object.fromEntries(said)));
