// The form of a plan: what an amount of smallest units is, as buyers read it, beside the field it is typed into.
"use strict";

function spelled(amount, currency) {
  if (!/^[0-9]{1,15}$/.test(amount) || !/^[A-Z]{3}$/.test(currency)) return "";
  const written = new Intl.NumberFormat("en-US", { style: "currency", currency });
  const digits = written.resolvedOptions().maximumFractionDigits;
  return `= ${written.format(Number(amount) / 10 ** digits)}`;
}

for (const told of document.querySelectorAll("[data-spelled]")) {
  const number = told.dataset.spelled;
  const amount = document.getElementById(`amount-${number}`);
  const currency = document.getElementById(`currency-${number}`);
  const write = () => {
    told.textContent = spelled(amount.value.trim(), currency.value.trim().toUpperCase());
  };
  amount.addEventListener("input", write);
  currency.addEventListener("input", write);
}
