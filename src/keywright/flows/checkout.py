"""Checkout: a buyer is sent to the provider, and comes back for the key.

Our row is written before the provider is called and completed after, and no transaction is open meanwhile.
A provider that gave no answer may still have opened the session: the row stays, and a repeat with the same
Idempotency-Key goes on with it, because the reference is the idempotency key at the provider.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import re
from datetime import datetime
from typing import Final, Literal, cast

import msgspec
import sqlalchemy as sa
import structlog

from keywright.domain import device, fingerprint
from keywright.domain.card_numbers import redact
from keywright.domain.email_address import is_email_address
from keywright.domain.errors import (
    Conflict,
    Forbidden,
    Invalid,
    KeywrightError,
    NotFound,
    ProviderUnavailable,
    Unauthorized,
)
from keywright.domain.facts import Refetch
from keywright.domain.plan import Price
from keywright.flows import claiming, connecting, renewing, tenant_seats
from keywright.flows.claiming import ClaimedLicense
from keywright.flows.context import Channel, Context
from keywright.flows.intake import arrive, take_in
from keywright.flows.renewing import NO_PROOF, Proof
from keywright.flows.return_urls import check_return_url
from keywright.ports import CheckoutRequest
from keywright.store import catalog, checkouts
from keywright.store.catalog import Offer
from keywright.store.checkouts import Checkout

log = structlog.get_logger(__name__)

Status = Literal["open", "processing", "paid", "failed", "expired"]

MOST: Final = 100_000
"""The largest quantity of one checkout."""

_SETTLED: Final = ("paid", "failed", "expired")
_REFERENCE: Final = re.compile(r"KW-[A-Z2-7]{16}")
IDEMPOTENCY_KEY: Final = re.compile(r"[\x21-\x7e]{22,255}")
_ONCE: Final = "once"


class Ask(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What somebody wants to buy. `plan` is "product/plan"; `price` a provider's price id or a catalog key.

    `interval` is the catalog's word, or `once`. `device` is the fingerprint of the machine that the license
    is activated for when the payment settles, `device_name` what it is called. `firm` is who it is for, and
    `renew_key` the key of the older license that the purchase extends or replaces. `tenant` is the customer
    tenant that it is bought for, which only the seller's own token may say.
    """

    plan: str
    quantity: int = 1
    provider: str | None = None
    price: str | None = None
    currency: str | None = None
    interval: str | None = None
    email: str | None = None
    firm: str | None = None
    device: str | None = None
    device_name: str | None = None
    renew_key: str | None = None
    success_url: str | None = None
    cancel_url: str | None = None
    tenant: str | None = None


class Opened(msgspec.Struct, frozen=True):
    """Send the buyer to `url`; keep `claim_token`, it shows the key."""

    reference: str
    claim_token: str
    provider: str
    url: str
    expires_at: datetime


class Standing(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a checkout stands. `licenses` only for the holder of the claim token, and only for its time.

    `more`: the purchase has more licenses than the thousand that are shown at once.
    """

    reference: str
    status: Status
    licenses: tuple[ClaimedLicense, ...] | None = None
    more: bool = False


class _Deal(msgspec.Struct, frozen=True):
    """A plan, one of its prices, and the channel that sells it."""

    offer: Offer
    price: Price
    channel: Channel


# -- open ---------------------------------------------------------------------------------------------


def open_checkout(
    context: Context,
    ask: Ask,
    *,
    idempotency_key: str | None = None,
    proof: Proof = NO_PROOF,
    language: str | None = None,
) -> Opened:
    """Open a checkout at the provider.

    Args:
        context: of the seller.
        ask: the request, decoded.
        idempotency_key: 22 to 255 visible characters. A repeat with the same key and body answers the same.
        proof: who asks, where an older license is to be extended or replaced.
        language: which of ours the buyer reads, where that is known: his mails are in it.

    Raises:
        NotFound: `PLAN_UNKNOWN`.
        Forbidden: a tenant is named, and nothing vouches for it. Invalid: `TENANT_NOT_MAPPED`,
            `PRICE_UNKNOWN`, `PRICE_AMBIGUOUS`, `QUANTITY_INVALID`, `EMAIL_INVALID`, `DEVICE_INVALID`,
            `RETURN_URL_REFUSED`, `IDEMPOTENCY_KEY_INVALID`; what `renewing.check` refuses; and what the
            provider cannot do: `EMAIL_REQUIRED`, `QUANTITY_UNSUPPORTED`, `TRIAL_UNSUPPORTED`.
        Conflict: `IDEMPOTENCY_MISMATCH`, the key was used with another body; `RENEW_REFUSED`.
        ProviderUnavailable: the provider gave no answer, or refused.
    """
    key_hash = _hash_of(idempotency_key)
    body_hash = _body_hash(context, ask)
    if key_hash is not None and (known := _find_repeated(context, key_hash)) is not None:
        return _go_on(context, ask, known, body_hash)
    _check(ask)
    if ask.tenant is not None and not proof.trusted:
        raise Forbidden("For a tenant only a token of the seller's buys, of scope checkout.")
    deal = _choose(context, ask)
    wanted = renewing.check(
        context,
        deal.offer.plan,
        quantity=ask.quantity,
        firm=ask.firm,
        email=ask.email,
        renew_key=ask.renew_key,
        proof=proof,
    )
    checkout = msgspec.structs.replace(
        _new(context, ask, deal, key_hash, body_hash),
        firm=wanted.firm,
        renews=checkouts.text_of(wanted.renews),
        language=language,
    )
    request = _request(context, ask, checkout, deal)
    try:
        with context.database.write() as connection:
            checkouts.insert(connection, checkout)
    except sa.exc.IntegrityError:
        # The same request at the same time: the other one's row is there now.
        known = _find_repeated(context, key_hash) if key_hash is not None else None
        if known is None:
            raise
        return _go_on(context, ask, known, body_hash)
    return _send(context, checkout, deal.channel, request)


def _find_repeated(context: Context, key_hash: str) -> Checkout | None:
    with context.database.read() as connection:
        return checkouts.find_by_idempotency(connection, context.tenant.id, key_hash)


def _go_on(context: Context, ask: Ask, known: Checkout, body_hash: str) -> Opened:
    """Answer a repeat: with what was opened, or by opening what the first try did not get an answer for."""
    if known.request_hash != body_hash:
        detail = "This Idempotency-Key was used with another request."
        raise Conflict(detail, code="IDEMPOTENCY_MISMATCH")
    channel = _channel_of(context, known)
    if known.session is not None and known.url is not None:
        return _opened(context, known, channel, known.url)
    deal = _deal_of(context, known, channel)
    return _send(context, known, channel, _request(context, ask, known, deal))


def _check(ask: Ask) -> None:
    if not 1 <= ask.quantity <= MOST:
        raise Invalid(f"`quantity` must be 1 to {MOST}.", code="QUANTITY_INVALID")
    if ask.email is not None and not is_email_address(ask.email):
        raise Invalid("`email` is not an e-mail address.", code="EMAIL_INVALID")
    _check_device(ask)


def _check_device(ask: Ask) -> None:
    if ask.device is not None and not fingerprint.check(ask.device):
        raise Invalid("`device` must be 8 to 256 printable ASCII characters.", code="DEVICE_INVALID")
    if ask.device_name is not None and (ask.device is None or not device.check_name(ask.device_name)):
        detail = "`device_name` must be 1 to 200 printable characters, and goes with `device`."
        raise Invalid(detail, code="DEVICE_INVALID")


def _body_hash(context: Context, ask: Ask) -> str:
    """What a repeat must ask for, too. Of machine and key only keyed hashes go in: the rest can be guessed,
    and then so could these."""
    if ask.device is not None:
        ask = msgspec.structs.replace(ask, device=context.vault.blind("fingerprint", ask.device))
    if ask.renew_key is not None:
        ask = msgspec.structs.replace(ask, renew_key=context.vault.blind("license-key-lookup", ask.renew_key))
    return hashlib.sha256(msgspec.json.encode(ask)).hexdigest()


def _choose(context: Context, ask: Ask) -> _Deal:
    product, _, plan = ask.plan.partition("/")
    with context.database.read() as connection:
        offer = catalog.find_offer(connection, context.tenant.id, product, plan)
    if offer is None:
        raise NotFound("No such plan is on sale. Plans are named `product/plan`.", code="PLAN_UNKNOWN")
    price = _price(context, ask, offer)
    return _Deal(offer, price, context.channels[price.provider])


def _price(context: Context, ask: Ask, offer: Offer) -> Price:
    open_for_sale = {name for name, channel in context.channels.items() if channel.is_open}
    fitting = [
        price
        for price in offer.prices
        if price.provider in open_for_sale
        and ask.provider in (None, price.provider)
        and ask.price in (None, price.external_id, price.key)
        and (ask.currency is None or ask.currency.upper() == price.currency)
        and ask.interval in (None, price.interval or _ONCE)
    ]
    if not fitting:
        raise Invalid("No price of this plan fits.", code="PRICE_UNKNOWN")
    if len(fitting) > 1:
        keys = ", ".join(sorted({price.key for price in fitting}))
        detail = f"Several prices fit ({keys}). Name one by `price`, or by provider, currency and interval."
        raise Invalid(detail, code="PRICE_AMBIGUOUS")
    return fitting[0]


def _new(context: Context, ask: Ask, deal: _Deal, key_hash: str | None, body_hash: str) -> Checkout:
    # Whole seconds: a repeat must send the provider the same number.
    now = context.clock.now().replace(microsecond=0)
    reference = "KW-" + base64.b32encode(os.urandom(10)).decode()
    return Checkout(
        reference=reference,
        tenant_id=context.tenant.id,
        provider_account_id=deal.channel.account.id,
        plan_id=deal.offer.plan.id,
        price=deal.price.external_id or deal.price.id,
        quantity=ask.quantity,
        amount=deal.price.amount * ask.quantity,
        currency=deal.price.currency,
        status="open",
        created_at=now,
        expires_at=now + context.policy.checkout_for,
        idempotency_hash=key_hash,
        request_hash=body_hash if key_hash is not None else None,
        claim_hash=claim_hash_of(_claim_token(context, reference)),
        device_hash=context.vault.blind("fingerprint", ask.device) if ask.device is not None else None,
        device_name=redact(ask.device_name) if ask.device_name is not None else None,
    )


def _request(context: Context, ask: Ask, checkout: Checkout, deal: _Deal) -> CheckoutRequest:
    base, price = context.base_url, deal.price
    allowed = (base, *context.policy.return_origins)
    success = f"{base}/checkout/{checkout.reference}" if ask.success_url is None else ask.success_url
    cancel = (
        f"{base}/buy/{deal.offer.product.slug}?canceled=yes" if ask.cancel_url is None else ask.cancel_url
    )
    return CheckoutRequest(
        reference=checkout.reference,
        price_external_id=price.external_id,
        amount=price.amount,
        currency=price.currency,
        interval=price.interval,
        quantity=checkout.quantity,
        success_url=check_return_url("success_url", success, allowed),
        cancel_url=check_return_url("cancel_url", cancel, allowed),
        expires_at=checkout.expires_at,
        email=ask.email,
        # Whoever renews has tried it.
        trial_days=(
            deal.offer.plan.terms.trial // 86400
            if price.interval is not None and checkout.renews is None
            else 0
        ),
        tenant=ask.tenant,
        customer=tenant_seats.customer_for(context, deal.channel.account, ask.tenant),
        fee=connecting.fee_of(
            context,
            deal.channel.account,
            checkout.amount,
            price.currency,
            recurring=price.interval is not None,
        ),
    )


def _send(context: Context, checkout: Checkout, channel: Channel, request: CheckoutRequest) -> Opened:
    """Call the provider and complete the row. A refusal, unlike silence, takes the row away again."""
    if channel.api is None:
        raise ProviderUnavailable("The payment provider is not set up for checkouts.")
    refusal: KeywrightError | None = None
    try:
        created = channel.api.create_checkout(request)
    except ProviderUnavailable:
        raise
    except KeywrightError as error:
        refusal = error
    if refusal is not None:
        with context.database.write() as connection:
            checkouts.drop(connection, checkout.tenant_id, checkout.reference)
        if isinstance(refusal, Invalid) and refusal.code != Invalid.code:
            # Something this provider cannot sell so, by its own code: the buyer can ask for it otherwise.
            raise Invalid(refusal.detail, code=refusal.code)
        log.error("checkout_refused", provider=channel.account.provider, detail=refusal.detail)
        raise ProviderUnavailable("The payment provider refused this checkout. The seller's log says why.")
    with context.database.write() as connection:
        checkouts.opened(connection, checkout.tenant_id, checkout.reference, created.session, created.url)
    return _opened(context, checkout, channel, created.url)


def _opened(context: Context, checkout: Checkout, channel: Channel, url: str) -> Opened:
    token = _claim_token(context, checkout.reference)
    if checkout.device_hash is not None:
        # Our own page comes first: it says for which machine. Whoever pays may not be the one who ordered.
        url = f"{context.base_url}/checkout/{checkout.reference}/pay"
    return Opened(checkout.reference, token, channel.account.provider, url, checkout.expires_at)


def _hash_of(idempotency_key: str | None) -> str | None:
    if idempotency_key is None:
        return None
    if not IDEMPOTENCY_KEY.fullmatch(idempotency_key):
        detail = "Idempotency-Key must be 22 to 255 visible ASCII characters."
        raise Invalid(detail, code="IDEMPOTENCY_KEY_INVALID")
    return hashlib.sha256(idempotency_key.encode()).hexdigest()


def _channel_of(context: Context, checkout: Checkout) -> Channel:
    channel = context.find_channel(checkout.provider_account_id)
    if channel is None:
        raise ProviderUnavailable("The provider account of this checkout is not set up any more.")
    return channel


def _deal_of(context: Context, checkout: Checkout, channel: Channel) -> _Deal:
    with context.database.read() as connection:
        offers = catalog.list_offers(connection, checkout.tenant_id, retired=True)
    for offer in offers:
        for price in offer.prices:
            sold = checkout.price in (price.external_id, price.id)
            if sold and offer.plan.id == checkout.plan_id and price.provider == channel.account.provider:
                return _Deal(offer, price, channel)
    raise NotFound("The plan of this checkout is not on sale any more.", code="PLAN_UNKNOWN")


def _claim_token(context: Context, reference: str) -> str:
    """Made from the reference with a key of ours, so that it need not be stored to be answered again."""
    return context.vault.blind("claim", reference)


def is_claim_of(context: Context, reference: str, claim_token: str) -> bool:
    """Whether this is the claim token of that checkout."""
    expected = _claim_token(context, reference)
    return hmac.compare_digest(claim_token.encode("utf-8", "replace"), expected.encode())


def claim_hash_of(claim_token: str) -> str:
    """By which a checkout is found from its claim token alone. Fast, because the token is 256 random bits."""
    return hashlib.sha256(claim_token.encode("utf-8", "replace")).hexdigest()


# -- afterwards ---------------------------------------------------------------------------------------


def status(context: Context, reference: str) -> Standing:
    """How a checkout stands. Raises NotFound."""
    checkout = get_checkout(context, reference)
    return Standing(reference, _status_of(checkout, context.clock.now()))


def claim(context: Context, reference: str, claim_token: str) -> Standing:
    """The same with the licenses and their keys, until `policy.claim_for` after the payment.

    Raises:
        NotFound: no such checkout.
        Unauthorized: not its claim token.
    """
    checkout = get_checkout(context, reference)
    if not is_claim_of(context, reference, claim_token):
        raise Unauthorized("This is not the claim token of this checkout.")
    return standing_of(context, checkout, context.clock.now())


def standing_of(context: Context, checkout: Checkout, now: datetime) -> Standing:
    """How it stands for whoever holds its claim: with the licenses, as long as they are shown."""
    shown = Standing(checkout.reference, _status_of(checkout, now))
    if checkout.settled_at is not None and now >= checkout.settled_at + context.policy.claim_for:
        return shown
    claimed, more = claiming.claimed(context, checkout, now)
    return msgspec.structs.replace(shown, licenses=claimed, more=more)


def verify_now(context: Context, reference: str) -> Standing:
    """Ask the provider how a checkout stands, and take its answer in exactly like webhooks.

    The same transaction and the same rules apply, so whichever comes first, the other changes nothing. What
    is settled is not asked for again, except when it is paid and the license is missing: then the webhook
    that says what was bought was lost.

    Raises:
        NotFound: no such checkout.
        ProviderUnavailable: no usable answer.
    """
    checkout = get_checkout(context, reference)
    if checkout.session is None or _is_done(context, checkout):
        return status(context, reference)
    channel = _channel_of(context, checkout)
    now = context.clock.now()
    arrivals = [arrive(channel, raw, now, fetched=True) for raw in _fetch(channel, checkout.session)]
    if any(arrival.error is not None for arrival in arrivals):
        raise ProviderUnavailable("The payment provider's answer could not be read.")
    telling = [arrival for arrival in arrivals if arrival.reading is not None]
    for outcome in take_in(context, telling) if telling else ():
        if isinstance(outcome, Exception):
            raise outcome
    return status(context, reference)


def _is_done(context: Context, checkout: Checkout) -> bool:
    if checkout.status != "paid":
        return checkout.status in _SETTLED
    with context.database.read() as connection:
        return bool(claiming.held_by(connection, checkout, limit=1))


def _fetch(channel: Channel, session: str) -> tuple[bytes, ...]:
    refusal = "there is no key to ask with"
    try:
        if channel.api is not None:
            return channel.api.fetch(Refetch("checkout", session))
    except ProviderUnavailable:
        raise
    except KeywrightError as error:
        refusal = error.detail
    log.error("checkout_not_told", provider=channel.account.provider, detail=refusal)
    raise ProviderUnavailable("The payment provider did not tell how this checkout stands.")


def get_checkout(context: Context, reference: str) -> Checkout:
    """The checkout of a reference. Raises NotFound."""
    found = None
    if _REFERENCE.fullmatch(reference):
        with context.database.read() as connection:
            found = checkouts.find(connection, context.tenant.id, reference)
    if found is None:
        raise NotFound("No checkout has this reference.")
    return found


def _status_of(checkout: Checkout, now: datetime) -> Status:
    if checkout.status == "open" and now >= checkout.expires_at:
        return "expired"
    return cast("Status", checkout.status)
