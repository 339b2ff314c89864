"""What a projected Stripe event says of money: checkouts, intents, charges, refunds, disputes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final, Literal

from keywright.domain.errors import Unreadable
from keywright.domain.facts import (
    CheckoutSeen,
    DisputeSeen,
    Fact,
    HolderSeen,
    PaidLine,
    PaymentSeen,
    PaymentState,
    Projected,
    Reading,
    Refetch,
    RefundPart,
    RefundSeen,
    Stamp,
)
from keywright.providers.stripe import shapes
from keywright.providers.stripe.values import (
    NO_CURRENCY,
    aliases_of,
    at,
    id_of,
    iso,
    prices_of,
    reference_in,
    tenant_in,
)

CheckoutState = Literal["paid", "processing", "failed", "expired"]
RefundState = Literal["pending", "done", "failed"]
DisputeState = Literal["warning", "inquiry", "open", "won", "lost", "over"]

_RANKS: Final[Mapping[PaymentState, int]] = {"pending": 0, "failed": 1, "paid": 2}
# Above every rank of an event, also above those of refunded charges, which are amounts.
_FETCHED_RANK: Final = 10**12
_FETCHED: Final = shapes.FETCHED

# https://docs.stripe.com/api/refunds/object#refund_object-status
_REFUNDS: Final[Mapping[str | None, RefundState]] = {
    None: "done",
    "succeeded": "done",
    "pending": "pending",
    "requires_action": "pending",
    "failed": "failed",
    "canceled": "failed",
}
_REFUND_RANKS: Final[Mapping[RefundState, int]] = {"pending": 0, "done": 1, "failed": 2}

# https://docs.stripe.com/api/disputes/object#dispute_object-status
_DISPUTES: Final[Mapping[str, DisputeState]] = {
    "warning_needs_response": "inquiry",
    "warning_under_review": "inquiry",
    "warning_closed": "over",
    "needs_response": "open",
    "under_review": "open",
    "appeal_needs_response": "open",
    "appeal_under_review": "open",
    "won": "won",
    "lost": "lost",
    "prevented": "over",
    "charge_refunded": "over",  # until 2020: the seller gave the money back, and a refund says so, too
}
# Of two events of one second the one further along: a dispute is opened and its money withdrawn at once.
_DISPUTE_RANKS: Final[Mapping[DisputeState, int]] = {
    "warning": 0,
    "inquiry": 1,
    "open": 2,
    "over": 3,
    "won": 4,
    "lost": 5,
}
_INTENTS: Final[Mapping[str, PaymentState]] = {
    "payment_intent.processing": "pending",
    "payment_intent.succeeded": "paid",
}


# -------------------------------------------------------------------------------------------- checkouts


def _read_session(event: Projected, seen: shapes.Session) -> Reading:
    mode = seen.mode or _mode_of_old_session(seen)
    state, outcome = _session_state(event.type, seen.payment_status)
    stamp = Stamp(event.occurred_at, _RANKS[state], event.digest)
    details = seen.customer_details or shapes.CustomerDetails()
    email = details.email or seen.customer_email
    holder = HolderSeen(stamp, id_of(seen.customer), email, tenant_in(seen.metadata))
    facts: list[Fact] = [holder]
    if mode in ("payment", "subscription"):
        facts.insert(0, CheckoutSeen(stamp, seen.id, outcome))
    # Metadata alone: `client_reference_id` can be put into a payment link's address by anybody.
    reference = reference_in(seen.metadata)
    # A session of somebody else's shop does not tell what was bought: it is asked for its lines. Without
    # them the payment would be paid for nothing, and stand above the one that has them.
    unclear = mode == "payment" and reference is None and outcome != "expired" and seen.line_items is None
    lines = _session_lines(seen) if mode == "payment" and reference is None else ()
    if mode == "payment" and not unclear:
        facts.append(_session_payment(event, seen, state, lines))
    aliases = aliases_of(
        session=seen.id,
        subscription=id_of(seen.subscription) if mode == "subscription" else None,
        intent=id_of(seen.payment_intent),
        invoice=id_of(seen.invoice),
        reference=reference,
    )
    return Reading(
        aliases,
        tuple(facts),
        founds=mode in ("payment", "subscription") and outcome != "expired",
        prices=prices_of(lines),
        reference=reference,
        refetches=(Refetch("checkout", seen.id),) if unclear else (),
    )


def _session_payment(
    event: Projected, seen: shapes.Session, state: PaymentState, lines: tuple[PaidLine, ...]
) -> PaymentSeen:
    """The payment of a one-off order, under the name that its intent's own events use, too."""
    currency = (seen.currency or NO_CURRENCY).upper()
    return PaymentSeen(
        Stamp(_session_paid_at(event, seen, state), _RANKS[state], event.digest),
        id_of(seen.payment_intent) or seen.id,
        state,
        iso(seen.amount_total or 0, currency),
        currency,
        lines,
        intent=id_of(seen.payment_intent),
    )


def _session_paid_at(event: Projected, seen: shapes.Session, state: PaymentState) -> datetime:
    """When a one-off order was paid: a bought year begins there, and not when we asked for it again.

    An answer, and nothing else, has its lines and its intent expanded.
    """
    if state != "paid" or seen.line_items is None:
        return event.occurred_at
    intent = seen.payment_intent
    began = intent.created if isinstance(intent, shapes.ExpandedIntent) else None
    return at(began if began is not None else seen.created) or event.occurred_at


def _session_lines(seen: shapes.Session) -> tuple[PaidLine, ...]:
    listed = seen.line_items.data if seen.line_items is not None else ()
    priced = ((id_of(line.price), line.quantity) for line in listed)
    return tuple(PaidLine(price, quantity) for price, quantity in priced if price is not None)


def _session_state(kind: str, status: str | None) -> tuple[PaymentState, CheckoutState]:
    """State of the payment and of the checkout. Before 2020 there was no status: completed was paid."""
    if kind == "checkout.session.expired":
        return "failed", "expired"
    if kind == "checkout.session.async_payment_failed":
        return "failed", "failed"
    if kind == "checkout.session.async_payment_succeeded" or status in (None, "paid", "no_payment_required"):
        return "paid", "paid"
    return "pending", "processing"


def _mode_of_old_session(seen: shapes.Session) -> str:
    if seen.subscription is not None:
        return "subscription"
    return "setup" if seen.setup_intent is not None else "payment"


def _read_intent(event: Projected, seen: shapes.Intent) -> Reading:
    """A one-off payment that names a reference of ours; `hook.py` lets no other through."""
    state = _INTENTS.get(event.type) or _fetched_intent_state(seen)
    currency = seen.currency.upper()
    stamp = Stamp(event.occurred_at, _RANKS[state], event.digest)
    charge, reference = id_of(seen.latest_charge), reference_in(seen.metadata)
    amount = seen.amount if seen.amount_received is None or state != "paid" else seen.amount_received
    payment = PaymentSeen(
        stamp, seen.id, state, iso(amount, currency), currency, intent=seen.id, charge=charge
    )
    holder = HolderSeen(stamp, customer=id_of(seen.customer), email=seen.receipt_email)
    aliases = aliases_of(intent=seen.id, charge=charge, reference=reference)
    # A discount, or a tax, lets the amount differ from the order: the checkout behind it tells which it was.
    fallback = () if event.type in _FETCHED else (Refetch("payment_intent", seen.id),)
    return Reading(aliases, (payment, holder), founds=True, reference=reference, fallback=fallback)


def _fetched_intent_state(seen: shapes.Intent) -> PaymentState:
    return "paid" if seen.amount_received else "pending"


# ------------------------------------------------------------------------- charges, refunds, disputes


def _read_charge(event: Projected, seen: shapes.Charge) -> Reading:
    currency = seen.currency.upper()
    # Refunds add up, so of two snapshots of one second the larger one is the newer.
    rank = _FETCHED_RANK if event.type in _FETCHED else max(seen.amount_refunded, 0)
    stamp = Stamp(event.occurred_at, rank, event.digest)
    intent, invoice = id_of(seen.payment_intent), id_of(seen.invoice)
    reference = reference_in(seen.metadata)
    refund = RefundSeen(
        stamp=stamp,
        charge=seen.id,
        full=bool(seen.refunded) or 0 < seen.amount <= seen.amount_refunded,
        amount=iso(seen.amount_refunded, currency),
        currency=currency,
        intent=intent,
        payment=invoice,
    )
    aliases = aliases_of(charge=seen.id, intent=intent, invoice=invoice, reference=reference)
    fallback = (Refetch("invoice", invoice),) if invoice is not None else _payer(intent, seen.id)
    return Reading(aliases, (refund,), founds=False, reference=reference, fallback=fallback)


def _payer(intent: str | None, charge: str | None) -> tuple[Refetch, ...]:
    """What to ask for when neither name is known here: its answer names the invoice, or the checkout."""
    if intent is not None:
        return (Refetch("payment_intent", intent),)
    return (Refetch("charge", charge),) if charge is not None else ()


def _read_refund(event: Projected, seen: shapes.Refund) -> Reading:
    charge, intent = id_of(seen.charge), id_of(seen.payment_intent)
    state = _REFUNDS.get(seen.status, "pending")
    fetched = event.type in _FETCHED
    stamp = Stamp(event.occurred_at, _FETCHED_RANK if fetched else _REFUND_RANKS[state], event.digest)
    currency = seen.currency.upper()
    part = RefundPart(stamp, seen.id, state, iso(seen.amount, currency), currency, charge, intent)
    # The sum that the charge told of still counts a refund that failed, and no event corrects it.
    again = state == "failed" and not fetched and charge is not None
    return Reading(
        aliases_of(charge=charge, intent=intent),
        (part,),
        founds=False,
        refetches=(Refetch("charge", charge),) if again and charge is not None else (),
        fallback=_payer(intent, charge),
    )


def _read_dispute(event: Projected, seen: shapes.Dispute) -> Reading:
    charge, intent = id_of(seen.charge), id_of(seen.payment_intent)
    name = seen.id or charge or intent
    if name is None:
        raise Unreadable("a dispute about nothing")
    aliases, fallback = aliases_of(charge=charge, intent=intent), _payer(intent, charge)
    state = _DISPUTES.get(seen.status)
    if state is None:
        # A status from a future API version is no evidence: what was known before stays.
        return Reading(aliases, (), founds=False, fallback=fallback)
    fetched = event.type in _FETCHED
    stamp = Stamp(event.occurred_at, _FETCHED_RANK if fetched else _DISPUTE_RANKS[state], event.digest)
    currency = seen.currency.upper()
    dispute = DisputeSeen(stamp, name, state, iso(seen.amount, currency), currency, charge, intent)
    return Reading(aliases, (dispute,), founds=False, fallback=fallback)


def _read_fraud_warning(event: Projected, seen: shapes.FraudWarning) -> Reading:
    """The card's network suspects fraud. Nobody has asked for the money, and no amount is named."""
    charge, intent = id_of(seen.charge), id_of(seen.payment_intent)
    stamp = Stamp(event.occurred_at, _DISPUTE_RANKS["warning"], event.digest)
    warning = DisputeSeen(stamp, seen.id, "warning", 0, NO_CURRENCY, charge, intent)
    aliases = aliases_of(charge=charge, intent=intent)
    return Reading(aliases, (warning,), founds=False, fallback=_payer(intent, charge))


READERS: Final[Mapping[type[shapes.Shape], Callable[[Projected, Any], Reading]]] = {
    shapes.Session: _read_session,
    shapes.Intent: _read_intent,
    shapes.Charge: _read_charge,
    shapes.Refund: _read_refund,
    shapes.Dispute: _read_dispute,
    shapes.FraudWarning: _read_fraud_warning,
}
"""How each shape is read."""
