// The result page: looks whether the payment has arrived, and copies keys. Without it the page reloads itself.
"use strict";

const page = document.querySelector("[data-reference]");
const pause = (seconds) => new Promise((done) => setTimeout(done, seconds * 1000));

async function changed() {
  const answer = await fetch(`${page.dataset.root}/checkout/${page.dataset.reference}/state`, { cache: "no-store" });
  return answer.ok && (await answer.json()).state !== page.dataset.state;
}

const again = () => location.replace(location.pathname);

// The stream tells with the commit. It goes by the claim cookie: whoever has none, or meets a proxy that holds
// streams back, looks from time to time instead.
function listen() {
  const stream = new EventSource(`${page.dataset.root}/checkout/${page.dataset.reference}/stream`);
  const look = async () => {
    if (await changed()) again();
  };
  stream.addEventListener("license", look);
  stream.addEventListener("pending", look);
  stream.addEventListener("end", () => stream.close());
  stream.addEventListener("error", () => {
    if (stream.readyState === EventSource.CLOSED) listening = false;
  });
  return stream;
}

let listening = false;

async function wait() {
  if (window.EventSource && page.dataset.claimed === "yes") {
    listening = true;
    listen();
  }
  const began = Date.now();
  let verified = false;
  while (Date.now() - began < 30 * 60 * 1000) {
    const often = listening ? 15 : 2;
    await pause(Date.now() - began < 6000 ? 2 : Date.now() - began < 60 * 1000 ? often : 15);
    try {
      if (!verified && Date.now() - began > 5000) {
        verified = true;
        await fetch(`${page.dataset.root}/api/checkout/session/${page.dataset.reference}/verify`, { method: "POST" });
      }
      if (await changed()) {
        again();
        return;
      }
    } catch {
      // The network was away for a moment: look again.
    }
  }
}

function copyButton(button) {
  button.hidden = false;
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(document.getElementById(button.dataset.copies).textContent.trim());
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  });
}

if (page && page.dataset.waiting === "yes") wait();
if (navigator.clipboard) document.querySelectorAll("button[data-copies]").forEach(copyButton);
