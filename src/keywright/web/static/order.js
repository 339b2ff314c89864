// The order form: keeps the total beside the number, and the number when another plan is chosen.
"use strict";

const quantity = document.getElementById("quantity");
const total = document.getElementById("total");

function written(minor) {
  const unit = 10 ** Number(total.dataset.digits);
  const part = minor % unit;
  const whole = Math.floor(minor / unit).toLocaleString("en-US");
  return total.dataset.sign + whole + (part ? `.${String(part).padStart(Number(total.dataset.digits), "0")}` : "");
}

function update() {
  if (!quantity.validity.valid) return;
  const price = document.querySelector("input[name=choice]:checked");
  if (price) total.textContent = written(Number(price.dataset.minor) * quantity.valueAsNumber);
  for (const link of document.querySelectorAll("a[data-keeps-quantity]")) {
    const address = new URL(link.href);
    address.searchParams.set("quantity", quantity.value);
    link.href = address.href;
  }
}

document.querySelectorAll("#quantity, input[name=choice]").forEach((one) => one.addEventListener("input", update));
// A browser that comes back fills in what was there.
addEventListener("pageshow", update);
