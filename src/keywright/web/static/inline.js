// The payment inside our page: opens the provider's window, and goes on to the result. Without it the link does.
"use strict";

const order = document.querySelector("[data-code]");
const button = document.getElementById("open");

function open() {
  const popup = new window.PaystackPop();
  const done = () => location.assign(order.dataset.result);
  popup.resumeTransaction(order.dataset.code, { onSuccess: done, onCancel: () => { button.hidden = false; } });
}

// Whoever blocks the provider's script still has the link.
if (order && window.PaystackPop) {
  button.addEventListener("click", open);
  button.hidden = false;
  open();
}
