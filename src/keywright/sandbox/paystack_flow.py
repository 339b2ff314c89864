"""What happens at Paystack: payments, subscriptions and their renewals, refunds, disputes."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec

from keywright.sandbox import paystack_shapes as shapes
from keywright.sandbox import paystack_split
from keywright.sandbox.paystack_state import Obj, PaystackRefusal, PaystackState, Terms, iso, seconds
from keywright.sandbox.periods import shifted

NOTICE_SECONDS = 3 * 86_400
_LAST_DAY = 28  # Paystack never charges on a later day of the month
_REFERENCE_CHARACTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-.=")


class Start(msgspec.Struct, frozen=True):
    """What a transaction is initialized with. `amount` as Paystack takes it: a number or its digits."""

    email: str = ""
    amount: int | str = 0
    currency: str = "NGN"
    reference: str | None = None
    callback_url: str | None = None
    plan: str | None = None
    invoice_limit: int = 0
    metadata: Any = None
    subaccount: str | None = None
    transaction_charge: int | str | None = None
    bearer: str = "account"


# -- payments -----------------------------------------------------------------------------------------


def initialize(state: PaystackState, start: Start) -> Terms:
    """Open a pay page. Raises PaystackRefusal, also for a reference that was used."""
    if "@" not in start.email:
        raise PaystackRefusal("Invalid Email Address Passed", code="invalid_email_address")
    reference = start.reference or uuid.UUID(bytes=_sixteen(state)).hex
    if not reference or set(reference) - _REFERENCE_CHARACTERS:
        raise PaystackRefusal("Invalid character in transaction reference")
    if state.find("transaction", reference) is not None:
        raise PaystackRefusal("Duplicate Transaction Reference", code="duplicate_reference")
    plan = state.get("plan", start.plan) if start.plan else None
    amount = int(start.amount) if str(start.amount).isdecimal() else 0
    if plan is None and amount <= 0:
        raise PaystackRefusal("Invalid Amount Sent", code="invalid_amount")
    customer = shapes.new_customer(state, start.email)
    price, currency = (amount, start.currency) if plan is None else (plan["amount"], plan["currency"])
    told = start.metadata if start.metadata is not None else ""
    transaction = shapes.new_transaction(state, reference, price, currency, customer, told)
    transaction["plan"] = start.plan
    if start.subaccount is not None:
        paystack_split.begin(state, transaction, start.subaccount, start.transaction_charge, start.bearer)
    terms = Terms(
        access_code=state.code(),
        email=start.email,
        callback_url=start.callback_url,
        cancel_url=_cancel_url(told),
        plan=start.plan,
        invoice_limit=start.invoice_limit,
    )
    state.terms[reference] = terms
    return terms


def _sixteen(state: PaystackState) -> bytes:
    return (state.code() + state.code()).encode()[:16]


def _cancel_url(metadata: Any) -> str | None:
    """Where the page's way out leads: a member of the metadata that Paystack itself reads."""
    if isinstance(metadata, str) and metadata:
        try:
            metadata = msgspec.json.decode(metadata)
        except msgspec.DecodeError:
            return None
    found = metadata.get("cancel_action") if isinstance(metadata, dict) else None
    return found if isinstance(found, str) else None


def by_access_code(state: PaystackState, access_code: str) -> Obj:
    """The transaction behind a pay page. Raises PaystackRefusal."""
    for reference, terms in state.terms.items():
        if terms.access_code == access_code:
            return state.get("transaction", reference)
    return state.get("transaction", "")


def pay(state: PaystackState, transaction: Obj, *, declined: bool = False) -> Obj:
    """Pay on the page, or be declined: then the page stays open for another card."""
    if transaction["status"] in ("success", "reversed"):
        raise PaystackRefusal("Transaction has already been completed")
    if declined:
        transaction |= {"status": "failed", "gateway_response": "Declined"}
        return transaction
    _succeed(state, transaction)
    state.emit("charge.success", shapes.listed(state, transaction))
    if transaction["plan"]:
        moment = state.now() + state.subscription_delay
        state.schedule(moment, "begin", transaction["reference"])
        run_until(state, state.now())
    return transaction


def _succeed(state: PaystackState, transaction: Obj) -> None:
    transaction |= {
        "status": "success",
        "gateway_response": "Successful",
        "paid_at": state.stamp(),
        "paidAt": state.stamp(),
        "fees": transaction["amount"] * 15 // 1000,
        "authorization": shapes.authorization(state),
    }
    paystack_split.settle(state, transaction)


# -- subscriptions ------------------------------------------------------------------------------------


def _begin(state: PaystackState, reference: str) -> None:
    transaction = state.get("transaction", reference)
    plan = state.get("plan", transaction["plan"])
    next_at = next_payment(state.now(), plan["interval"])
    subscription = shapes.new_subscription(state, transaction, plan, next_at)
    subscription["invoice_limit"] = state.terms[reference].invoice_limit
    if (split := state.splits.get(reference)) is not None:
        state.splits[subscription["subscription_code"]] = split
    state.emit("subscription.create", shapes.announced(subscription))
    _plan_ahead(state, subscription, next_at)


def next_payment(moment: int, interval: str) -> int:
    """When the period that begins at `moment` is over: never later in a month than the 28th."""
    unit, count = shapes.INTERVALS[interval]
    if unit == "hour":
        return moment + 3_600
    begun = datetime.fromtimestamp(moment, UTC)
    if unit in ("month", "year") and begun.day > _LAST_DAY:
        begun = begun.replace(day=_LAST_DAY)
    # To the full hour: Paystack's schedule knows nothing of the second somebody paid in.
    begun = begun.replace(minute=0, second=0)
    return shifted(int(begun.timestamp()), unit, count)


def _plan_ahead(state: PaystackState, subscription: Obj, next_at: int) -> None:
    code = subscription["subscription_code"]
    if next_at - NOTICE_SECONDS > state.now():
        state.schedule(next_at - NOTICE_SECONDS, "notice", code)
    state.schedule(next_at, "renew", code)


def _notice(state: PaystackState, code: str) -> None:
    subscription = state.get("subscription", code)
    next_at = subscription["next_payment_date"]
    renews = subscription["status"] in ("active", "attention") and next_at is not None
    if renews and seconds(next_at) == state.now() + NOTICE_SECONDS:
        invoice = shapes.new_invoice(state, subscription)
        subscription["open_invoice"] = invoice["invoice_code"]
        state.emit("invoice.create", shapes.told_invoice(subscription, invoice, None))


def _renew(state: PaystackState, code: str) -> None:
    """Collect what is due; a card that does not pay is tried again at the next payment date, not before."""
    subscription = state.get("subscription", code)
    due = subscription["next_payment_date"]
    if subscription["status"] not in ("active", "attention") or due is None or seconds(due) != state.now():
        return
    invoice = state.find("invoice", subscription["open_invoice"])
    if invoice is None:
        invoice = shapes.new_invoice(state, subscription)
    next_at = next_payment(state.now(), subscription["plan"]["interval"])
    subscription |= {"next_payment_date": iso(next_at), "updatedAt": state.stamp(), "open_invoice": None}
    _plan_ahead(state, subscription, next_at)
    transaction = _charge(state, subscription)
    if transaction["status"] != "success":
        subscription |= {"status": "attention", "open_invoice": invoice["invoice_code"]}
        state.emit("invoice.payment_failed", shapes.told_invoice(subscription, invoice, None))
        return
    subscription |= {"status": "active", "payments_count": subscription["payments_count"] + 1}
    invoice |= {"status": "success", "paid": True, "paid_at": state.stamp()}
    known = {"invoice_code": invoice["invoice_code"], "transaction": transaction["id"], "status": "success"}
    subscription["most_recent_invoice"] = known
    subscription["invoices"] = [*subscription["invoices"], known]
    state.emit("charge.success", shapes.listed(state, transaction))
    state.emit("invoice.update", shapes.told_invoice(subscription, invoice, transaction))
    if 0 < subscription["invoice_limit"] <= subscription["payments_count"]:
        _finish(state, subscription, "complete")


def _charge(state: PaystackState, subscription: Obj) -> Obj:
    reference = str(uuid.UUID(bytes=_sixteen(state)))
    customer = subscription["customer"]
    transaction = shapes.new_transaction(
        state,
        reference,
        subscription["amount"],
        subscription["plan"]["currency"],
        customer,
        {"invoice_action": "update"},
    )
    transaction["plan"] = subscription["plan"]["plan_code"]
    paystack_split.renew(state, transaction, subscription)
    if customer["customer_code"] in state.declining:
        transaction |= {"status": "failed", "gateway_response": "Insufficient Funds"}
    else:
        _succeed(state, transaction)
    return transaction


def disable(state: PaystackState, code: str, token: str) -> Obj:
    """Do not renew: `non-renewing` now, `cancelled` on what would have been the next payment date."""
    subscription = _of_token(state, code, token)
    if subscription["status"] not in ("active", "attention"):
        raise PaystackRefusal("Subscription with code not found or already inactive", status=404)
    ends_at = subscription["next_payment_date"]
    state.schedule(seconds(ends_at), "end", code)
    subscription |= {"status": "non-renewing", "next_payment_date": None, "updatedAt": state.stamp()}
    state.resumes[code] = ends_at
    state.emit("subscription.not_renew", shapes.announced(subscription))
    return subscription


def enable(state: PaystackState, code: str, token: str) -> Obj:
    """Renew after all. Paystack tells nobody."""
    subscription = _of_token(state, code, token)
    if subscription["status"] != "non-renewing":
        raise PaystackRefusal("Subscription with code not found or already active", status=404)
    next_at = state.resumes.pop(code)
    subscription |= {"status": "active", "next_payment_date": next_at, "updatedAt": state.stamp()}
    return subscription


def _of_token(state: PaystackState, code: str, token: str) -> Obj:
    subscription = state.get("subscription", code)
    if state.email_tokens[code] != token:
        raise PaystackRefusal("Subscription with code not found", status=404)
    return subscription


def _end(state: PaystackState, code: str) -> None:
    subscription = state.get("subscription", code)
    if subscription["status"] == "non-renewing":
        _finish(state, subscription, "cancelled")


def _finish(state: PaystackState, subscription: Obj, status: str) -> None:
    subscription |= {"status": status, "next_payment_date": None, "updatedAt": state.stamp()}
    state.emit("subscription.disable", shapes.announced(subscription))


# -- refunds and disputes -----------------------------------------------------------------------------


def find_transaction(state: PaystackState, name: str) -> Obj:
    """A transaction by reference or number. Raises PaystackRefusal."""
    found = state.find("transaction", name)
    return found if found is not None else state.by_number("transaction", name)


def refund(state: PaystackState, transaction: Obj, amount: int | None, notes: tuple[str, str]) -> Obj:
    """Give money back; all that is left when no amount is named."""
    if transaction["status"] == "reversed":
        raise PaystackRefusal("Transaction has been fully reversed", code="transaction_reversed")
    if transaction["status"] != "success":
        raise PaystackRefusal("Transaction has not been paid for")
    left = transaction["amount"] - _given(state, transaction, "pending", "processed")
    wanted = left if amount is None else amount
    if not 0 < wanted <= left:
        raise PaystackRefusal("Refund amount cannot be more than transaction amount", code="invalid_amount")
    made = shapes.new_refund(state, transaction, wanted, notes)
    state.emit("refund.pending", shapes.told_refund(transaction, made))
    if state.refund_outcome in ("processed", "failed"):
        settle_refund(state, str(made["id"]), state.refund_outcome)
    return made


def settle_refund(state: PaystackState, id_: str, outcome: str) -> Obj:
    """A refund reaches the buyer (`processed`), or does not (`failed`)."""
    made = state.get("refund", id_)
    transaction = state.by_number("transaction", str(made["transaction"]))
    made |= {"status": outcome, "updatedAt": state.stamp()}
    if outcome == "processed":
        made |= {"refunded_at": state.stamp(), "deducted_amount": made["amount"], "fully_deducted": True}
    whole = _given(state, transaction, "processed") >= transaction["amount"]
    transaction["status"] = "reversed" if whole else "success"
    state.emit(f"refund.{outcome}", shapes.told_refund(transaction, made))
    return made


def _given(state: PaystackState, transaction: Obj, *statuses: str) -> int:
    mine = [one for one in state.every("refund") if one["transaction"] == transaction["id"]]
    return sum(one["amount"] for one in mine if one["status"] in statuses)


def dispute(state: PaystackState, transaction: Obj) -> Obj:
    """The buyer's bank wants the money back."""
    if transaction["status"] != "success":
        raise PaystackRefusal("Transaction has not been paid for")
    made = shapes.new_dispute(state, transaction)
    state.emit("charge.dispute.create", shapes.told_dispute(made))
    return made


def resolve(state: PaystackState, id_: str, resolution: str) -> Obj:
    """End a dispute: `merchant-accepted` and `auto-accepted` pay the buyer, `declined` does not."""
    if resolution not in ("merchant-accepted", "auto-accepted", "declined"):
        raise PaystackRefusal("Resolution is invalid")
    made = state.get("dispute", id_)
    made |= {"status": "resolved", "resolution": resolution, "resolvedAt": state.stamp()}
    made["updatedAt"] = state.stamp()
    state.emit("charge.dispute.resolve", shapes.told_dispute(made))
    return made


# -- time ---------------------------------------------------------------------------------------------


def run_until(state: PaystackState, until: int) -> None:
    """Let everything happen that is due by `until` (unix seconds), each thing at its own moment."""
    while (entry := state.due(until)) is not None:
        moment, kind, name = entry
        with state.at(moment):
            _HANDLERS[kind](state, name)


_HANDLERS: dict[str, Callable[[PaystackState, str], None]] = {
    "begin": _begin,
    "notice": _notice,
    "renew": _renew,
    "end": _end,
}
