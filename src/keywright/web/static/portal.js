// A new number of seats is awaited: ask now and then, and put it where the old one is. The page is not loaded
// again, so that nobody loses his place on it.
"use strict";

const pause = (seconds) => new Promise((done) => setTimeout(done, seconds * 1000));

async function arrived(id) {
  const answer = await fetch(location.href, { cache: "no-store" });
  if (!answer.ok) return false;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  const now = fresh.querySelector(`[data-seats="${id}"]`);
  if (!now || now.hasAttribute("data-awaited")) return false;
  document.querySelector(`[data-seats="${id}"]`).closest("dl").replaceWith(document.adoptNode(now.closest("dl")));
  const told = fresh.querySelector("[role=status]");
  const here = document.querySelector("[role=status]");
  if (told && here) here.textContent = told.textContent;
  return true;
}

async function wait(id) {
  for (let looks = 0; looks < 30; looks += 1) {
    await pause(looks < 5 ? 2 : 5);
    try {
      if (await arrived(id)) return;
    } catch {
      // The network was away for a moment: look again.
    }
  }
}

const awaited = document.querySelector("[data-awaited]");
if (awaited) wait(awaited.dataset.seats);
