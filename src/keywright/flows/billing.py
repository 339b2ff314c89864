"""What a seller changes at the provider: seats, the renewal, money back, and the buyer's own pages.

Nothing of the effect is written here. The provider's own events bring it through the intake, so a change
made here and one made in the provider's dashboard end alike. What is written is the act: who asked for what,
before the provider is called, and what it answered, after. No transaction is open meanwhile.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal

import msgspec

from keywright.domain.card_numbers import redact
from keywright.domain.errors import Conflict, Invalid, KeywrightError, Unsupported
from keywright.domain.license import License
from keywright.flows import connecting, counterparty, replay
from keywright.flows.checkout import IDEMPOTENCY_KEY
from keywright.flows.context import Context
from keywright.flows.counterparty import Counterparty
from keywright.flows.license_views import unknown_license
from keywright.flows.license_writes import record
from keywright.flows.operate import Act
from keywright.flows.return_urls import check_return_url
from keywright.ports import Preview
from keywright.store import licenses, timeline

MOST: Final = 100_000
"""The largest quantity of one purchase, as at checkout."""

_OVER: Final = ("ended", "abandoned")
_LONGEST_REASON: Final = 500
# A preview is a moment older than the change, and what is left of a period shrinks by the second.
_DRIFT: Final = 100  # a hundredth

Doing = Literal["seats", "cancel", "resume", "refund", "portal"]


class Accepted(msgspec.Struct, frozen=True):
    """The provider has taken it; its events bring the effect. `approval_url`: the buyer must agree there."""

    accepted: bool = True
    approval_url: str | None = None


class PortalLink(msgspec.Struct, frozen=True):
    """Where the buyer looks after card, invoices and subscription. Whoever has it acts as the buyer."""

    url: str


# -- acts -----------------------------------------------------------------------------------------------


def preview_seats(context: Context, tenant: str, license_id: str, quantity: int) -> Preview:
    """What it would cost to have so many from now on. Changes nothing and writes nothing.

    Args:
        quantity: as bought: seats (times the plan's `seats_per_unit`), or keys where the plan sells keys.

    Raises:
        NotFound, Invalid.
        Unsupported: the provider has no such thing, or nothing was paid; the detail says what to do instead.
        Conflict: the subscription is over.
        ProviderUnavailable, Misconfigured.
    """
    counter = _renewing(counterparty.meet(context, tenant, license_id), "seats")
    return counter.billing.preview_quantity(counter.deal, _quantity(quantity))


def change_seats(
    context: Context,
    tenant: str,
    license_id: str,
    act: Act,
    quantity: int,
    *,
    expected: int | None = None,
    key: str | None = None,
) -> Accepted:
    """Have so many seats, or keys, from now on. Fewer than machines are bound is allowed: nobody is cut off.

    Args:
        expected: the preview's `due_now`. When it has become more, nothing is done.
        key: the caller's Idempotency-Key. A repeat is answered like the first time.

    Raises:
        As `preview_seats`; Conflict with code PREVIEW_CHANGED or IDEMPOTENCY_MISMATCH.
    """
    counter = _renewing(counterparty.meet(context, tenant, license_id), "seats")
    asked = {"quantity": _quantity(quantity)}

    def change(name: str) -> str | None:
        if expected is not None:
            _as_previewed(counter.billing.preview_quantity(counter.deal, quantity), expected)
        return counter.billing.change_quantity(counter.deal, quantity, name)

    return _perform(context, counter, act, "seats", asked, key, change)


def cancel(context: Context, tenant: str, license_id: str, act: Act, *, key: str | None = None) -> Accepted:
    """Do not renew. What was paid for stays. Raises as `preview_seats`."""
    counter = _renewing(counterparty.meet(context, tenant, license_id), "cancel")

    def stop(_name: str) -> None:
        counter.billing.cancel(counter.deal)

    return _perform(context, counter, act, "cancel", {}, key, stop)


def resume(context: Context, tenant: str, license_id: str, act: Act, *, key: str | None = None) -> Accepted:
    """Renew after all. Raises as `preview_seats`."""
    counter = _renewing(counterparty.meet(context, tenant, license_id), "resume")

    def go_on(_name: str) -> None:
        counter.billing.resume(counter.deal)

    return _perform(context, counter, act, "resume", {}, key, go_on)


def refund(
    context: Context,
    tenant: str,
    license_id: str,
    act: Act,
    *,
    amount: int | None = None,
    payment: str | None = None,
    key: str | None = None,
) -> Accepted:
    """Give money back: of the newest payment, or of the one named by payment, charge or intent.

    Args:
        amount: in ISO minor units of the payment's currency; None: all that is left of it.

    Raises:
        As `preview_seats`; NotFound with code PAYMENT_UNKNOWN; Conflict with code REFUNDED_ALREADY.
    """
    counter = counterparty.meet(context, tenant, license_id)
    state = counter.purchase.state
    if key is not None:
        # First: when the refund has arrived nothing is left, and a repeat must still be answered like before.
        wished: dict[str, Any] = {"amount": amount}
        if payment is not None:
            wished["payment"] = counterparty.find_payment(state, payment).payment
        earlier = _earlier(context, counter, _name(license_id, key), "refund", wished)
        if earlier is not None:
            return earlier
    paid = counterparty.find_payment(state, payment)
    left = paid.amount - counterparty.given_back(state, paid)
    if left <= 0:
        raise Conflict("All of this payment was given back before.", code="REFUNDED_ALREADY")
    if amount is not None and not 1 <= amount <= left:
        raise Invalid(f"`amount` must be 1 to {left}: that is what is left of this payment.")
    deal = counterparty.deal_of(counter.deal, state, paid)
    asked = {"payment": paid.payment, "amount": amount, "currency": paid.currency}

    fee_back = connecting.gives_fee_back(context, counter.channel.account)

    def give_back(name: str) -> None:
        counter.billing.refund(deal, amount, paid.currency, name, fee_back=fee_back)

    return _perform(context, counter, act, "refund", asked, key, give_back)


def portal(context: Context, tenant: str, license_id: str, act: Act, return_url: str) -> PortalLink:
    """A link to the provider's pages for this buyer. It is shown, never kept.

    Raises:
        As `preview_seats`; Invalid with code RETURN_URL_REFUSED.
    """
    context = context.of(tenant)  # an API token's context is the master's
    allowed = (context.policy.base_url, *context.policy.return_origins)
    check_return_url("return_url", return_url, allowed)
    counter = counterparty.meet(context, tenant, license_id)
    links: list[str] = []

    def open_pages(_name: str) -> None:
        links.append(counter.billing.portal(counter.deal, return_url))

    _perform(context, counter, act, "portal", {}, None, open_pages)
    return PortalLink(links[0])


# -- ask, and write down what was asked -----------------------------------------------------------------


def _perform(
    context: Context,
    counter: Counterparty,
    act: Act,
    doing: Doing,
    asked: Mapping[str, Any],
    key: str | None,
    call: Callable[[str], str | None],
) -> Accepted:
    """Write down the act, ask the provider, write down its answer. A crash between leaves the act on record,
    and a repeat under the same key does at the provider what one call does."""
    held = counter.held
    name = _name(held.id, key if key is not None else context.new_id("act"))
    if key is not None and (earlier := _earlier(context, counter, name, doing, asked)):
        return earlier
    told: dict[str, Any] = {"act": doing, "by": act.by, **_why(act.reason), **_present(asked), "key": name}
    _note(context, held, "billing.asked", told)
    try:
        url = call(name)
    except KeywrightError as error:
        # The code alone: what a provider says may quote what must not be kept.
        _note(context, held, "billing.answered", {"act": doing, "answer": error.code, "key": name})
        raise
    answer = "accepted" if url is None else "the buyer has to agree"
    _note(context, held, "billing.answered", {"act": doing, "answer": answer, "key": name}, counter=counter)
    return Accepted(approval_url=url)


def _note(
    context: Context, held: License, kind: str, told: dict[str, Any], *, counter: Counterparty | None = None
) -> None:
    """One timeline entry in a transaction of its own; with `counter` also have the provider asked for what
    its events alone do not prove."""
    now = context.clock.now()
    with context.database.write() as connection:
        known = licenses.find(connection, held.tenant_id, held.id, lock=True)
        if known is None:
            raise unknown_license()
        record(context, connection, known, known, kind, detail=told, now=now)
        if counter is not None:
            replay.ask_again(context, connection, counter.channel, counter.asks)


def _earlier(
    context: Context,
    counter: Counterparty,
    name: str,
    doing: Doing,
    asked: Mapping[str, Any],
) -> Accepted | None:
    """The answer that this key got before. None when there is none, or it was no final one: the provider
    knows the key as well. Raises Conflict when the key stood for something else."""
    final = None
    for entry in _billing_entries(context, counter.held):
        told = msgspec.json.decode(entry.detail)
        if told.get("key") != name:
            continue
        if entry.kind == "billing.asked":
            same = all(told.get(member) == value for member, value in asked.items())
            if told.get("act") != doing or not same:
                detail = "This Idempotency-Key was used with another request."
                raise Conflict(detail, code="IDEMPOTENCY_MISMATCH")
        elif told.get("answer") == "accepted":
            final = Accepted()
    return final


def _billing_entries(context: Context, held: License) -> list[timeline.Entry]:
    found: list[timeline.Entry] = []
    after = 0
    with context.database.read() as connection:
        while page := timeline.list_page(connection, held.tenant_id, held.id, after=after, limit=1000):
            found += [entry for entry in page if entry.kind.startswith("billing.")]
            after = page[-1].seq
    return found


def _name(license_id: str, key: str) -> str:
    """The idempotency key as the provider gets it: a caller's key means another thing for each license."""
    if not IDEMPOTENCY_KEY.fullmatch(key):
        detail = "Idempotency-Key must be 22 to 255 visible ASCII characters."
        raise Invalid(detail, code="IDEMPOTENCY_KEY_INVALID")
    digest = hashlib.sha256(f"{license_id}\n{key}".encode()).hexdigest()
    return f"kw-{digest[:40]}"


def _why(reason: str | None) -> dict[str, str]:
    if reason is None or not reason.strip():
        return {}
    if len(reason) > _LONGEST_REASON or not reason.isprintable():
        raise Invalid(f"`reason` must be at most {_LONGEST_REASON} printable characters.")
    return {"why": redact(reason.strip())}


def _present(asked: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in asked.items() if value is not None}


# -- what was asked for ---------------------------------------------------------------------------------


def _quantity(quantity: int) -> int:
    if quantity < 1:
        raise Invalid("`quantity` must be at least 1. To end a subscription, cancel it.")
    if quantity > MOST:
        raise Invalid(f"`quantity` must be at most {MOST}.")
    return quantity


def _as_previewed(now: Preview, expected: int) -> None:
    """Raises Conflict when the change has become dearer than what was agreed to."""
    if now.due_now > expected + max(1, abs(expected) // _DRIFT):
        detail = f"It would cost {now.due_now} {now.currency} now, and {expected} was expected. Look again."
        raise Conflict(detail, code="PREVIEW_CHANGED")


def _renewing(counter: Counterparty, doing: Doing) -> Counterparty:
    """Raises Unsupported for what was bought once, Conflict for a subscription that is over."""
    if counter.deal.subscription is None:
        instead = {
            "seats": "For more seats sell another one; `license issue` makes one without a payment.",
            "cancel": "Nothing renews. To end it, use `revoke`; to give the money back, `refund`.",
        }.get(doing, "Nothing was canceled. For more time use `extend`.")
        raise Unsupported(f"This license was bought once. {instead}", code="NOT_A_SUBSCRIPTION")
    seen = counter.purchase.state.subscription
    if seen is not None and seen.status in _OVER:
        detail = "This subscription is over, and providers take up none that is. The customer buys again."
        raise Conflict(detail, code="SUBSCRIPTION_OVER")
    return counter
