// The buy button: <script src="https://YOUR-STORE/buy.js" data-plan="product/plan" async></script>
// Puts a link in the place of its own tag. No style, no inline script, no cookie, no request: it works under a
// strict policy that allows this one file.
"use strict";

(() => {
  const tag = document.currentScript;
  if (!tag || !tag.parentNode) return;
  const store = new URL(".", tag.src); // of the seller whose file this is: several may be on one host
  const told = tag.dataset;
  const [product, plan = ""] = (told.plan || "").split("/");
  if (!/^[a-z0-9][a-z0-9-]*$/.test(product) || !/^[a-z0-9-]*$/.test(plan)) {
    console.warn("Buy button: data-plan must be \"product/plan\".");
    return;
  }
  const address = new URL(`buy/${product}`, store);
  if (plan) address.searchParams.set("plan", plan);
  if (told.interval) address.searchParams.set("interval", told.interval);
  if (told.currency) address.searchParams.set("currency", told.currency);
  if (told.quantity) address.searchParams.set("quantity", told.quantity);
  const link = document.createElement("a");
  link.href = address.href;
  link.className = told.class || "keywright-buy";
  link.textContent = told.label || "Buy now";
  if (told.open !== "here") {
    link.target = "_blank";
    link.rel = "noopener";
  }
  tag.after(link);
})();
