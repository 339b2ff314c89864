// Passkeys: ask the browser's authenticator, put its answer into the form, send the form. All else is HTML.
"use strict";

const bytes = (text) =>
  Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0));
const text = (buffer) =>
  btoa(String.fromCharCode(...new Uint8Array(buffer)))
    .replace(/\+/g, "-")
    .replace(/\//g, "_")
    .replace(/=+$/, "");

function options(question) {
  const listed = (all) => (all || []).map((one) => ({ ...one, id: bytes(one.id) }));
  const asked = { ...question, challenge: bytes(question.challenge) };
  if (question.user) asked.user = { ...question.user, id: bytes(question.user.id) };
  if (question.excludeCredentials) asked.excludeCredentials = listed(question.excludeCredentials);
  if (question.allowCredentials) asked.allowCredentials = listed(question.allowCredentials);
  return { publicKey: asked };
}

function told(credential) {
  const from = credential.response;
  const response = { clientDataJSON: text(from.clientDataJSON) };
  for (const name of ["attestationObject", "authenticatorData", "signature", "userHandle"]) {
    if (from[name]) response[name] = text(from[name]);
  }
  return JSON.stringify({
    id: credential.id,
    rawId: text(credential.rawId),
    type: credential.type,
    response,
    clientExtensionResults: {},
  });
}

for (const part of document.querySelectorAll("[data-passkey]")) {
  if (!window.PublicKeyCredential) continue;
  part.hidden = false;
  const hint = part.querySelector(".hint");
  part.querySelector("button").addEventListener("click", async () => {
    const form = part.closest("form");
    if (!form.reportValidity()) return;
    hint.textContent = "Your browser asks you now.";
    try {
      const asked = options(JSON.parse(part.dataset.question));
      const how = part.dataset.passkey === "create" ? "create" : "get";
      form.elements.answer.value = told(await navigator.credentials[how](asked));
    } catch {
      hint.textContent = "That did not work. Try once more, or use the other way below.";
      return;
    }
    form.submit();
  });
}
