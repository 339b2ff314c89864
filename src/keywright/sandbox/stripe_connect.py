"""Connected accounts: made, onboarded, restricted and gone, and the fee the platform takes on their charges.

Each connected account has a world of its own (a `StripeState`): what is made under `Stripe-Account` is in
there and nowhere else. Its events go to the platform's Connect endpoints, and name it in `account`. Fees are
the platform's: the objects, and their events, are in the platform's world.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Final

from keywright.sandbox.stripe_errors import StripeRefusal, missing, needed
from keywright.sandbox.stripe_forms import (
    Params,
    choice,
    integer,
    metadata,
    nested,
    required,
    text,
    web_address,
)
from keywright.sandbox.stripe_shapes import Obj
from keywright.sandbox.stripe_state import StripeState

LINK_SECONDS: Final = 300
APPLICATION: Final = "ca_1SandboxKeywright"
# What the onboarding page asks for. Leaving the papers out lets the account be known, and sell nothing yet.
ASKED: Final = ("business_profile.url", "external_account", "tos_acceptance.date", "tos_acceptance.ip")
LEFT: Final = ("external_account", "individual.verification.document")


def create(state: StripeState, params: Params) -> Obj:
    """`POST /v1/accounts`: an account that has to be onboarded before it can charge."""
    if state.platform is not None:
        raise StripeRefusal("A connected account cannot make accounts of its own.", status=403)
    kind, controller = choice(params, "type", ("standard",)), nested(params, "controller")
    if kind is not None and controller:
        raise StripeRefusal("You may only specify one of these parameters: controller, type.", param="type")
    account_id = state.ids.new("acct")
    account = {
        "id": account_id,
        "object": "account",
        "business_profile": {"name": None, "support_email": None, "url": None},
        "business_type": None,
        "capabilities": {"card_payments": "inactive", "transfers": "inactive"},
        "charges_enabled": False,
        "controller": _controller(),
        "country": text(params, "country", "US"),
        "created": state.now(),
        "default_currency": "usd",
        "details_submitted": False,
        "email": text(params, "email"),
        "metadata": metadata(params),
        "payouts_enabled": False,
        "requirements": _requirements(ASKED, "requirements.past_due"),
        "settings": {"dashboard": {"display_name": None, "timezone": "Etc/UTC"}},
        "type": "standard",
    }
    state.connected[account_id] = state.world_for(account_id)
    return state.add(account)


def _controller() -> Obj:
    return {
        "fees": {"payer": "account"},
        "is_controller": True,
        "losses": {"payments": "stripe"},
        "requirement_collection": "stripe",
        "stripe_dashboard": {"type": "full"},
        "type": "application",
    }


def _requirements(due: tuple[str, ...], reason: str | None) -> Obj:
    return {
        "alternatives": [],
        "current_deadline": None,
        "currently_due": list(due),
        "disabled_reason": reason,
        "errors": [],
        "eventually_due": list(due),
        "past_due": list(due),
        "pending_verification": [],
    }


def world_of(state: StripeState, account_id: str) -> StripeState:
    """The world of a connected account. An unknown one and one that left are refused alike."""
    world = state.connected.get(account_id)
    if world is None:
        raise StripeRefusal(
            f"The provided key does not have access to account '{account_id[:40]}' (or that account does not "
            "exist). Application access may have been revoked.",
            status=403,
            code="account_invalid",
        )
    return world


def read(state: StripeState, account_id: str) -> Obj:
    """`GET /v1/accounts/{id}`."""
    world_of(state, account_id)
    return state.get("account", account_id)


def create_link(state: StripeState, params: Params) -> Obj:
    """`POST /v1/account_links`: a page for the account's owner that opens once, and soon."""
    account = read(state, required(params, "account"))
    if choice(params, "type", ("account_onboarding", "account_update")) is None:
        raise needed("type")
    leads = {name: web_address(params, name) for name in ("refresh_url", "return_url")}
    for name, url in leads.items():
        if url is None:
            raise needed(name)
    ticket = state.ids.secret("link")
    expires_at = state.now() + LINK_SECONDS
    state.links[ticket] = {"account": account["id"], "expires_at": expires_at, "opened": False, **leads}
    return {
        "object": "account_link",
        "created": state.now(),
        "expires_at": expires_at,
        "url": f"{state.base_url}/setup/{ticket}",
    }


def open_link(state: StripeState, ticket: str) -> Obj | None:
    """The link, opened for the first and only time; None when it is used up or too old."""
    link = _link(state, ticket)
    if link["opened"] or link["expires_at"] <= state.now():
        return None
    link["opened"] = True
    return link


def _link(state: StripeState, ticket: str) -> Obj:
    link: Obj | None = state.links.get(ticket)
    if link is None:
        raise missing("account_link", ticket[:40])
    return link


def leads_back(state: StripeState, ticket: str) -> Obj:
    """Where a link leads to: `refresh_url` when it cannot be opened, `return_url` when its page was left."""
    return _link(state, ticket)


def onboard(state: StripeState, account_id: str, *, complete: bool) -> Obj:
    """What the account's owner filled in arrives: all of it, or all but the papers (`account.updated`)."""
    account = read(state, account_id)
    return restrict(state, account_id, () if complete else LEFT, submitted=True, before=deepcopy(account))


def restrict(
    state: StripeState,
    account_id: str,
    due: tuple[str, ...],
    *,
    submitted: bool = True,
    before: Obj | None = None,
) -> Obj:
    """From now on Stripe wants these of the account, and lets it charge when it wants nothing."""
    account = read(state, account_id)
    before = before or deepcopy(account)
    ready = submitted and not due
    account |= {
        "capabilities": dict.fromkeys(("card_payments", "transfers"), "active" if ready else "inactive"),
        "charges_enabled": ready,
        "details_submitted": submitted,
        "payouts_enabled": ready,
        "requirements": _requirements(due, None if ready else "requirements.past_due"),
    }
    state.connected[account_id].update("account.updated", account, before)
    return account


def deauthorize(state: StripeState, account_id: str) -> None:
    """The account's owner takes the permission back: one last event, and no call works afterwards."""
    world = world_of(state, account_id)
    application = {"id": APPLICATION, "object": "application", "name": "Keywright sandbox"}
    world.emit("account.application.deauthorized", application)
    # Its events are still delivered, and asked for by nobody.
    state.left[account_id] = state.connected.pop(account_id)


# ------------------------------------------------------------------------------------------------ fees


def percent_of(given: Params, name: str = "application_fee_percent") -> float | None:
    """A fee as Stripe takes it: above 0, at most 100, two decimals."""
    typed = text(given, name)
    if typed is None:
        return None
    try:
        percent = float(typed)
    except ValueError:
        percent = -1.0
    if not 0 <= percent <= 100 or round(percent, 2) != percent:
        raise StripeRefusal("The percentage must be from 0 to 100, with two decimals.", param=name)
    return percent


def amount_of(given: Params) -> int | None:
    """`application_fee_amount`, in minor units."""
    return integer(given, "application_fee_amount", least=1)


def refuse_alone(state: StripeState, name: str, fee: float | None) -> None:
    """A fee can be taken of a connected account alone."""
    if fee is not None and state.platform is None:
        raise StripeRefusal("Can only apply an application fee on a connected account.", param=name)


def part_of(amount: int, percent: float | None) -> int | None:
    """The fee on an invoice: to the nearest minor unit, halves up."""
    if percent is None:
        return None
    hundredths = round(percent * 100)
    return (amount * hundredths + 5_000) // 10_000


def take(state: StripeState, charge: Obj) -> None:
    """The platform gets its fee on a charge of a connected account (`application_fee.created`)."""
    platform, amount = state.platform, charge["application_fee_amount"]
    if platform is None or not amount:
        return
    if amount > charge["amount"]:
        raise StripeRefusal("The fee must not be greater than the amount of the charge.")
    fee: Obj = {
        "id": platform.ids.new("fee"),
        "object": "application_fee",
        "account": state.account_id,
        "amount": amount,
        "amount_refunded": 0,
        "application": APPLICATION,
        "balance_transaction": None,
        "charge": charge["id"],
        "created": state.now(),
        "currency": charge["currency"],
        "livemode": False,
        "originating_transaction": None,
        "refunded": False,
    }
    charge["application_fee"] = fee["id"]
    platform.add(fee)
    with platform.at(state.now()):
        platform.emit("application_fee.created", fee)


def give_back(state: StripeState, charge: Obj, refunded: int) -> None:
    """The part of the fee that belongs to a refund, all of what is left with the last of it."""
    platform = state.platform
    fee = platform.find("application_fee", charge["application_fee"]) if platform is not None else None
    if platform is None or fee is None:
        raise StripeRefusal(
            "This charge has no application fee that could be refunded.", param="refund_application_fee"
        )
    left = fee["amount"] - fee["amount_refunded"]
    share = (
        left if charge["refunded"] else (fee["amount"] * refunded + charge["amount"] // 2) // charge["amount"]
    )
    refund_fee(platform, fee, min(share, left))


def refund_fee(platform: StripeState, fee: Obj, amount: int) -> Obj:
    """Give a part of a fee back to the connected account (`application_fee.refunded`)."""
    left = fee["amount"] - fee["amount_refunded"]
    if not 0 <= amount <= left:
        raise StripeRefusal(f"The fee has {left} left to be refunded.", param="amount")
    before = deepcopy(fee)
    fee["amount_refunded"] += amount
    fee["refunded"] = fee["amount_refunded"] == fee["amount"]
    if amount:
        platform.emit("application_fee.refunded", fee, before=before)
    return {
        "id": platform.ids.new("fr"),
        "object": "fee_refund",
        "amount": amount,
        "balance_transaction": None,
        "created": platform.now(),
        "currency": fee["currency"],
        "fee": fee["id"],
        "metadata": {},
    }


def create_fee_refund(state: StripeState, fee_id: str, params: Params) -> Obj:
    """`POST /v1/application_fees/{id}/refunds`; all that is left without an amount."""
    fee = state.get("application_fee", fee_id)
    left = fee["amount"] - fee["amount_refunded"]
    return refund_fee(state, fee, integer(params, "amount", left, least=1) or left)
