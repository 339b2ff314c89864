"""From "I want to buy this" to the key, on both databases."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
import stripe as stripe_sdk

from keywright.domain.errors import (
    Conflict,
    Invalid,
    KeywrightError,
    Misconfigured,
    NotFound,
    ProviderUnavailable,
    Unauthorized,
)
from keywright.domain.plan import Terms
from keywright.flows import checkout
from keywright.flows.checkout import Ask
from keywright.flows.context import Context
from keywright.flows.return_urls import origin_of
from keywright.providers.stripe.api import StripeApi
from keywright.sandbox.app import SandboxServer
from keywright.store.tables import checkouts, licenses, plans, prices, purchases, timeline
from keywright.store.tables import inbox as inbox_table
from tests.conftest import TurnableClock
from tests.life import stripe, world
from tests.life.payments import PayDesk, selling_through

ONCE = Terms(term="perpetual")
KEY = "an-idempotency-key-0001"


@pytest.fixture
def desk(clock: TurnableClock) -> PayDesk:
    return PayDesk(clock)


@pytest.fixture
def shop(context: Context, desk: PayDesk) -> Context:
    """Sells `dashcaddy/plan-0` once for 50 USD, and `dashcaddy/plan-1` monthly with a trial."""
    world.stock(context, price_once=ONCE, price_monthly=Terms(trial=14 * 86400))
    return selling_through(context, desk)


def add_price(context: Context, key: str, external: str, **more: Any) -> None:
    values = {
        "id": f"pri_{external}",
        "tenant_id": context.master.id,
        "plan_id": "pla_plan-1",
        "provider": "stripe",
        "key": key,
        "external_id": external,
        "amount": 50000,
        "currency": "USD",
        "interval": "year",
        **more,
    }
    with context.database.write() as connection:
        connection.execute(sa.insert(prices).values(**values))


def refusal(context: Context, ask: Ask, key: str | None = None) -> tuple[int, str]:
    with pytest.raises(KeywrightError) as caught:
        checkout.open_checkout(context, ask, idempotency_key=key)
    return caught.value.status, caught.value.code


# -- opening ------------------------------------------------------------------------------------------


def test_a_checkout_is_opened_at_the_provider_with_what_it_needs(
    shop: Context, desk: PayDesk, clock: TurnableClock
) -> None:
    opened = checkout.open_checkout(shop, Ask("dashcaddy/plan-1", quantity=3, email="ada@example.com"))
    assert re.fullmatch(r"KW-[A-Z2-7]{16}", opened.reference)
    assert len(opened.claim_token) == 43
    assert (opened.provider, opened.url) == (
        "stripe",
        f"https://checkout.stripe.com/c/pay/cs_{opened.reference[3:]}",
    )
    assert opened.expires_at == clock.now() + timedelta(hours=23)
    (request,) = desk.heard
    assert (request.reference, request.price_external_id, request.quantity, request.trial_days) == (
        opened.reference,
        "price_monthly",
        3,
        14,
    )
    assert request.success_url == f"http://127.0.0.1:8000/checkout/{opened.reference}"
    assert request.cancel_url == "http://127.0.0.1:8000/buy/dashcaddy?canceled=yes"
    assert request.email == "ada@example.com"
    assert checkout.status(shop, opened.reference).status == "open"


def test_the_row_is_there_before_the_provider_is_asked(shop: Context, desk: PayDesk) -> None:
    seen: list[str] = []

    class Looks(PayDesk):
        def create_checkout(self, request: Any) -> Any:
            seen.append(checkout.status(shop, request.reference).status)
            return super().create_checkout(request)

    checkout.open_checkout(selling_through(shop, Looks(desk.clock)), Ask("dashcaddy/plan-0"))
    assert seen == ["open"]


@pytest.mark.parametrize(
    "plan", ["", "dashcaddy", "dashcaddy/", "dashcaddy/none", "none/plan-0", "a/b/c", "\0/"]
)
def test_an_unknown_plan_is_404(shop: Context, plan: str) -> None:
    assert refusal(shop, Ask(plan)) == (404, "PLAN_UNKNOWN")


@pytest.mark.parametrize("quantity", [0, -1, 100_001, 2**60])
def test_a_quantity_out_of_range_is_refused(shop: Context, desk: PayDesk, quantity: int) -> None:
    assert refusal(shop, Ask("dashcaddy/plan-0", quantity=quantity)) == (422, "QUANTITY_INVALID")
    assert desk.heard == []


@pytest.mark.parametrize("quantity", [1, 100_000])
def test_a_quantity_at_the_edge_is_fine(shop: Context, desk: PayDesk, quantity: int) -> None:
    checkout.open_checkout(shop, Ask("dashcaddy/plan-0", quantity=quantity))
    assert desk.heard[0].quantity == quantity


def test_an_hmac_plan_needs_a_firm_and_a_secret(shop: Context) -> None:
    world.add_plan(shop, "onsite", "price_onsite", Terms(profile="hmac"))
    assert refusal(shop, Ask("dashcaddy/onsite")) == (422, "FIRM_REQUIRED")
    assert refusal(shop, Ask("dashcaddy/onsite", firm="\x00")) == (422, "FIRM_INVALID")
    assert refusal(shop, Ask("dashcaddy/onsite", firm="Acme")) == (422, "PROFILE_UNAVAILABLE")


@pytest.mark.parametrize("email", ["", "ada", "a@", "@b", "a b@c.de", "a@b@c", "a@b.c\nBcc: x"])
def test_what_is_no_address_is_refused(shop: Context, email: str) -> None:
    assert refusal(shop, Ask("dashcaddy/plan-0", email=email)) == (422, "EMAIL_INVALID")


# -- prices -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "chosen"),
    [
        ({"price": "price_yearly"}, "price_yearly"),
        ({"price": "yearly", "currency": "USD"}, "price_yearly"),
        ({"price": "monthly"}, "price_monthly"),
        ({"interval": "month"}, "price_monthly"),
        ({"currency": "eur"}, "price_euro"),
        ({"provider": "stripe", "currency": "USD", "interval": "year"}, "price_yearly"),
    ],
)
def test_a_price_is_chosen_by_id_key_or_kind(
    shop: Context, desk: PayDesk, more: dict[str, str], chosen: str
) -> None:
    add_price(shop, "yearly", "price_yearly")
    add_price(shop, "yearly", "price_euro", currency="EUR")
    checkout.open_checkout(shop, Ask("dashcaddy/plan-1", **more))  # type: ignore[arg-type]  # all are strings
    assert desk.heard[0].price_external_id == chosen


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({}, "PRICE_AMBIGUOUS"),
        ({"currency": "USD"}, "PRICE_AMBIGUOUS"),
        ({"price": "price_once"}, "PRICE_UNKNOWN"),
        ({"price": "weekly"}, "PRICE_UNKNOWN"),
        ({"provider": "paystack"}, "PRICE_UNKNOWN"),
        ({"interval": "once"}, "PRICE_UNKNOWN"),
        ({"currency": "NGN"}, "PRICE_UNKNOWN"),
    ],
)
def test_a_price_that_is_not_one_is_refused(shop: Context, more: dict[str, str], code: str) -> None:
    add_price(shop, "yearly", "price_yearly")
    ask = Ask("dashcaddy/plan-1", **more)  # type: ignore[arg-type]  # all are strings
    assert refusal(shop, ask) == (422, code)


def test_a_one_off_price_is_chosen_by_once_and_has_no_trial(shop: Context, desk: PayDesk) -> None:
    checkout.open_checkout(shop, Ask("dashcaddy/plan-0", interval="once"))
    assert (desk.heard[0].interval, desk.heard[0].trial_days) == (None, 0)


def test_nothing_is_sold_through_a_provider_that_cannot_be_called(shop: Context) -> None:
    deaf = replace(shop, channels={"stripe": replace(shop.channels["stripe"], api=None)})
    assert refusal(deaf, Ask("dashcaddy/plan-0")) == (422, "PRICE_UNKNOWN")


# -- return URLs --------------------------------------------------------------------------------------

ALLOWED = ("https://shop.example", "https://other.example:8443")


@pytest.mark.parametrize(
    "url",
    [
        "https://shop.example/thanks",
        "https://shop.example:443/thanks?session={CHECKOUT_SESSION_ID}#done",
        "https://SHOP.example",
        "https://other.example:8443/",
        "http://127.0.0.1:8000/own",
    ],
)
def test_allowed_return_urls_reach_the_provider(shop: Context, desk: PayDesk, url: str) -> None:
    allowing = replace(shop, policy=replace(shop.policy, return_origins=ALLOWED))
    checkout.open_checkout(allowing, Ask("dashcaddy/plan-0", success_url=url, cancel_url=url))
    assert (desk.heard[0].success_url, desk.heard[0].cancel_url) == (url, url)


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example/",
        "https://shop.example.evil.example/",
        "https://shop.example@evil.example/",
        "https://evil.example\\@shop.example/",
        "https://user:pass@shop.example/",
        "https://shop.example:444/",
        "http://shop.example/",
        "//shop.example/",
        "https:shop.example",
        "https:///shop.example/",
        "https://shop.example%2eevil.example/",
        "https://shop.example%00.evil.example/",
        "https://shop.example\t.evil.example/",
        "https://shop.example\n/",
        " https://shop.example/",
        "https://shop.example./",
        "https://shop.example:99999/",
        "https://[::1/",
        "https://sh\u00f6p.example/",
        "https://shop\u3002example/",
        "javascript:alert(1)//https://shop.example",
        "data:text/html,x",
        "/thanks",
        "",
        "https://shop.example/" + "a" * 2048,
    ],
)
@pytest.mark.parametrize("name", ["success_url", "cancel_url"])
def test_other_return_urls_are_refused(shop: Context, desk: PayDesk, name: str, url: str) -> None:
    allowing = replace(shop, policy=replace(shop.policy, return_origins=ALLOWED))
    ask = Ask("dashcaddy/plan-0", **{name: url})  # type: ignore[arg-type]  # a string
    assert refusal(allowing, ask) == (422, "RETURN_URL_REFUSED")
    assert world.count(shop, checkouts) == 0


def test_origins_have_one_spelling() -> None:
    assert origin_of("HTTPS://Shop.Example:443/a?b#c") == "https://shop.example"
    assert origin_of("http://[::1]:8000/") == "http://[::1]:8000"
    assert origin_of("ftp://shop.example") is None


# -- idempotency --------------------------------------------------------------------------------------


def test_a_repeat_with_the_same_key_answers_the_same(shop: Context, desk: PayDesk) -> None:
    ask = Ask("dashcaddy/plan-0", quantity=2)
    first = checkout.open_checkout(shop, ask, idempotency_key=KEY)
    assert checkout.open_checkout(shop, ask, idempotency_key=KEY) == first
    assert (len(desk.heard), world.count(shop, checkouts)) == (1, 1)


def test_a_key_is_bound_to_its_body(shop: Context) -> None:
    checkout.open_checkout(shop, Ask("dashcaddy/plan-0"), idempotency_key=KEY)
    with pytest.raises(Conflict) as caught:
        checkout.open_checkout(shop, Ask("dashcaddy/plan-0", quantity=2), idempotency_key=KEY)
    assert caught.value.code == "IDEMPOTENCY_MISMATCH"


@pytest.mark.parametrize("key", ["", "short", "a" * 21, "a" * 256, "a" * 30 + "\n", "schl\u00fcssel" * 4])
def test_a_weak_key_is_refused(shop: Context, key: str) -> None:
    assert refusal(shop, Ask("dashcaddy/plan-0"), key) == (422, "IDEMPOTENCY_KEY_INVALID")


def test_neither_key_nor_claim_token_is_stored(shop: Context) -> None:
    opened = checkout.open_checkout(shop, Ask("dashcaddy/plan-0"), idempotency_key=KEY)
    with shop.database.read() as connection:
        row = connection.execute(sa.select(checkouts)).one()
    assert KEY not in repr(row)
    assert opened.claim_token not in repr(row)


def test_eight_at_once_with_one_key_open_one_checkout(shop: Context, desk: PayDesk) -> None:
    found: list[Any] = []
    start = threading.Barrier(8)

    def buy() -> None:
        start.wait()
        found.append(checkout.open_checkout(shop, Ask("dashcaddy/plan-0"), idempotency_key=KEY))

    threads = [threading.Thread(target=buy) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len({one.reference for one in found}) == 1
    assert world.count(shop, checkouts) == 1
    assert len({request.reference for request in desk.heard}) == 1


# -- trouble at the provider --------------------------------------------------------------------------


def test_silence_keeps_the_row_and_a_repeat_goes_on_with_it(
    shop: Context, desk: PayDesk, clock: TurnableClock
) -> None:
    desk.trouble = ProviderUnavailable("no answer")
    ask = Ask("dashcaddy/plan-1", quantity=4)
    assert refusal(shop, ask, KEY) == (502, "PROVIDER_UNAVAILABLE")
    assert world.count(shop, checkouts) == 1
    desk.trouble = None
    clock.turn(minutes=5)
    opened = checkout.open_checkout(shop, ask, idempotency_key=KEY)
    # The very same request: the provider would refuse its idempotency key with any other.
    assert desk.heard[1] == desk.heard[0]
    assert opened.reference == desk.heard[0].reference
    assert world.count(shop, checkouts) == 1


@pytest.mark.parametrize("trouble", [Invalid("No such price"), Misconfigured("a wrong key sk_test_1")])
def test_a_refusal_leaves_nothing_and_tells_the_buyer_nothing(
    shop: Context, desk: PayDesk, trouble: KeywrightError
) -> None:
    desk.trouble = trouble
    with pytest.raises(ProviderUnavailable) as caught:
        checkout.open_checkout(shop, Ask("dashcaddy/plan-0"), idempotency_key=KEY)
    assert trouble.detail not in caught.value.detail
    assert world.count(shop, checkouts) == 0
    desk.trouble = None
    assert checkout.open_checkout(shop, Ask("dashcaddy/plan-0"), idempotency_key=KEY).url


def test_a_plan_that_is_retired_meanwhile_does_not_stop_a_repeat(shop: Context, desk: PayDesk) -> None:
    desk.trouble = ProviderUnavailable("no answer")
    refusal(shop, Ask("dashcaddy/plan-0"), KEY)
    with shop.database.write() as connection:
        connection.execute(sa.update(plans).values(retired=True))
    desk.trouble = None
    assert checkout.open_checkout(shop, Ask("dashcaddy/plan-0"), idempotency_key=KEY).url
    assert refusal(shop, Ask("dashcaddy/plan-0")) == (404, "PLAN_UNKNOWN")


# -- status, claim, verify ----------------------------------------------------------------------------


def pay(context: Context, desk: PayDesk, reference: str) -> None:
    assert world.outcome(context, desk.paid(reference)) == "applied"


def test_the_claim_token_shows_the_key_for_a_day(shop: Context, desk: PayDesk, clock: TurnableClock) -> None:
    opened = checkout.open_checkout(shop, Ask("dashcaddy/plan-0", quantity=2))
    assert checkout.claim(shop, opened.reference, opened.claim_token).licenses == ()
    pay(shop, desk, opened.reference)
    clock.turn(hours=23, minutes=59)
    shown = checkout.claim(shop, opened.reference, opened.claim_token)
    assert shown.licenses is not None
    held = world.the_license(shop)
    assert [(one.id, one.key, one.plan, one.status, one.seats) for one in shown.licenses] == [
        (held.id, world.key_of(shop, held), "dashcaddy/plan-0", "active", 2)
    ]
    clock.turn(minutes=1)
    after = checkout.claim(shop, opened.reference, opened.claim_token)
    assert (after.status, after.licenses) == ("paid", None)


def test_each_key_of_a_keys_plan_is_shown(shop: Context, desk: PayDesk) -> None:
    world.add_plan(shop, "box", "price_box", Terms(term="perpetual", quantity="keys"))
    opened = checkout.open_checkout(shop, Ask("dashcaddy/box", quantity=3))
    pay(shop, desk, opened.reference)
    shown = checkout.claim(shop, opened.reference, opened.claim_token)
    assert shown.licenses is not None
    assert len({one.key for one in shown.licenses}) == 3


@pytest.mark.parametrize("token", ["", "x", "\u00e4" * 43, "\ud800"])
def test_a_wrong_claim_token_shows_nothing(shop: Context, desk: PayDesk, token: str) -> None:
    opened = checkout.open_checkout(shop, Ask("dashcaddy/plan-0"))
    pay(shop, desk, opened.reference)
    with pytest.raises(Unauthorized):
        checkout.claim(shop, opened.reference, token)


def test_the_claim_token_of_another_checkout_shows_nothing(shop: Context, desk: PayDesk) -> None:
    one = checkout.open_checkout(shop, Ask("dashcaddy/plan-0"))
    other = checkout.open_checkout(shop, Ask("dashcaddy/plan-0"))
    pay(shop, desk, one.reference)
    with pytest.raises(Unauthorized):
        checkout.claim(shop, one.reference, other.claim_token)


@pytest.mark.parametrize("reference", ["", "KW-", "KW-AAAAAAAAAAAAAAAA", "kw-aaaaaaaaaaaaaaaa", "KW-\0"])
def test_an_unknown_reference_is_404(shop: Context, reference: str) -> None:
    for call in (checkout.status, checkout.verify_now):
        with pytest.raises(NotFound):
            call(shop, reference)
    with pytest.raises(NotFound):
        checkout.claim(shop, reference, "x")


def test_an_open_checkout_expires_by_the_clock(shop: Context, clock: TurnableClock) -> None:
    opened = checkout.open_checkout(shop, Ask("dashcaddy/plan-0"))
    clock.time = opened.expires_at - timedelta(seconds=1)
    assert checkout.status(shop, opened.reference).status == "open"
    clock.turn(seconds=1)
    assert checkout.status(shop, opened.reference).status == "expired"


@pytest.mark.parametrize(
    ("kind", "payment_status", "status"),
    [
        ("checkout.session.completed", "unpaid", "processing"),
        ("checkout.session.async_payment_failed", "unpaid", "failed"),
        ("checkout.session.completed", "no_payment_required", "paid"),
    ],
)
def test_the_status_follows_the_provider(
    shop: Context, clock: TurnableClock, kind: str, payment_status: str, status: str
) -> None:
    opened = checkout.open_checkout(shop, Ask("dashcaddy/plan-0"))
    session = stripe.session(
        f"cs_{opened.reference[3:]}", reference=opened.reference, payment_status=payment_status
    )
    world.hand_in(shop, stripe.event(kind, session, clock.now()))
    assert checkout.status(shop, opened.reference).status == status


@pytest.mark.parametrize("webhook_first", [True, False])
def test_verify_and_webhook_have_one_effect(shop: Context, desk: PayDesk, webhook_first: bool) -> None:
    opened = checkout.open_checkout(shop, Ask("dashcaddy/plan-0"))
    event = desk.paid(opened.reference)
    if webhook_first:
        assert world.outcome(shop, event) == "applied"
    assert checkout.verify_now(shop, opened.reference).status == "paid"
    assert checkout.verify_now(shop, opened.reference).status == "paid"
    if not webhook_first:
        assert world.outcome(shop, event) == "applied"
    assert len(desk.asked) == (0 if webhook_first else 1)
    assert (world.count(shop, licenses), world.count(shop, timeline)) == (1, 1)


def test_a_subscription_needs_no_webhook_at_all(shop: Context, desk: PayDesk, clock: TurnableClock) -> None:
    opened = checkout.open_checkout(shop, Ask("dashcaddy/plan-1"))
    late = desk.subscribed(opened.reference, "price_monthly")
    assert checkout.verify_now(shop, opened.reference).status == "paid"
    made = world.the_license(shop)
    shown = checkout.claim(shop, opened.reference, opened.claim_token)
    assert [(one.id, one.status) for one in shown.licenses or ()] == [(made.id, "active")]
    checkout.verify_now(shop, opened.reference)
    assert len(desk.asked) == 1, "what is settled and made is not asked for again"
    clock.turn(minutes=5)
    for event in late:
        assert world.outcome(shop, event) == "applied"
    after = world.the_license(shop)
    assert (after.id, after.seats, after.entitled_until) == (made.id, made.seats, made.entitled_until)
    assert (after.standing, after.trial, after.canceling) == ("ok", False, False)
    assert (world.count(shop, licenses), world.count(shop, purchases)) == (1, 1)


def test_a_lost_webhook_of_a_subscription_is_made_good_by_asking_again(shop: Context, desk: PayDesk) -> None:
    opened = checkout.open_checkout(shop, Ask("dashcaddy/plan-1"))
    _, session, _ = desk.subscribed(opened.reference, "price_monthly")
    assert world.outcome(shop, session) == "applied"
    assert checkout.status(shop, opened.reference).status == "paid"
    assert world.count(shop, licenses) == 0
    checkout.verify_now(shop, opened.reference)
    assert world.the_license(shop).entitled_until is not None
    assert world.count(shop, purchases) == 1


def test_verify_of_an_unpaid_checkout_keeps_nothing(
    shop: Context, desk: PayDesk, clock: TurnableClock
) -> None:
    opened = checkout.open_checkout(shop, Ask("dashcaddy/plan-0"))
    session = stripe.session(
        f"cs_{opened.reference[3:]}", reference=opened.reference, payment_status="unpaid"
    )
    desk.answers[f"cs_{opened.reference[3:]}"] = stripe.event("checkout.session.open", session, clock.now())
    assert checkout.verify_now(shop, opened.reference).status == "open"
    assert world.count(shop, inbox_table) == 0


@pytest.mark.parametrize(
    "trouble", [ProviderUnavailable("silence"), Misconfigured("wrong key"), Invalid("gone")]
)
def test_verify_without_an_answer_is_502_and_changes_nothing(
    shop: Context, desk: PayDesk, trouble: KeywrightError
) -> None:
    opened = checkout.open_checkout(shop, Ask("dashcaddy/plan-0"))
    desk.trouble = trouble
    with pytest.raises(ProviderUnavailable):
        checkout.verify_now(shop, opened.reference)
    assert checkout.status(shop, opened.reference).status == "open"


def test_verify_of_what_cannot_be_read_is_502(shop: Context, desk: PayDesk) -> None:
    opened = checkout.open_checkout(shop, Ask("dashcaddy/plan-0"))
    desk.answers[f"cs_{opened.reference[3:]}"] = {"id": "evt_1"}
    with pytest.raises(ProviderUnavailable):
        checkout.verify_now(shop, opened.reference)


def test_half_an_answer_is_not_taken_in(shop: Context, desk: PayDesk) -> None:
    opened = checkout.open_checkout(shop, Ask("dashcaddy/plan-1"))
    desk.subscribed(opened.reference, "price_monthly")
    desk.begun[f"cs_{opened.reference[3:]}"] = {"id": "evt_1"}
    with pytest.raises(ProviderUnavailable):
        checkout.verify_now(shop, opened.reference)
    assert world.count(shop, inbox_table) == 0


def test_keys_survive_a_purchase_that_was_merged_into_an_older_one(
    shop: Context, desk: PayDesk, clock: TurnableClock
) -> None:
    """The webhook of the subscription came first, and made a purchase without our reference."""
    opened = checkout.open_checkout(shop, Ask("dashcaddy/plan-1"))
    month = clock.now() + timedelta(days=30)
    unlinked = stripe.subscription("sub_9", clock.now(), month, price="price_monthly")
    assert (
        world.outcome(shop, stripe.event("customer.subscription.created", unlinked, clock.now())) == "applied"
    )
    session = stripe.session(
        f"cs_{opened.reference[3:]}", mode="subscription", reference=opened.reference, sub="sub_9"
    )
    world.outcome(shop, stripe.event("checkout.session.completed", session, clock.now()))
    shown = checkout.claim(shop, opened.reference, opened.claim_token)
    assert shown.status == "paid"
    assert [one.id for one in shown.licenses or ()] == [world.the_license(shop).id]


# -- against the stand-in for Stripe, over HTTP -------------------------------------------------------


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[SandboxServer]:
    with SandboxServer(data_dir=tmp_path / "sandbox") as server:
        yield server


def selling_at(context: Context, sandbox: SandboxServer, terms: Terms, **recurring: str) -> Context:
    """A shop whose one plan is sold at the sandbox, by its clock."""
    sdk = stripe_sdk.StripeClient(sandbox.api_key, base_addresses={"api": sandbox.url})
    often = {"recurring": recurring} if recurring else {}
    price = sdk.v1.prices.create(
        {"currency": "usd", "unit_amount": 9900, "product_data": {"name": "DashCaddy"}, **often}  # type: ignore[typeddict-item]  # the interval is any string here
    )
    clock = sandbox.sandbox.clock
    api = StripeApi(sandbox.api_key, clock, base=sandbox.url)
    shop = replace(context, clock=clock, channels={"stripe": replace(context.channels["stripe"], api=api)})
    world.stock(shop, **{price.id: terms})
    return shop


def pay_at(sandbox: SandboxServer) -> None:
    session = sandbox.sandbox.state.every("checkout.session")[0]["id"]
    paid = httpx.post(
        f"{sandbox.url}/_sandbox/stripe/pay", json={"session": session, "email": "ada@example.com"}
    )
    assert paid.json()["payment_status"] == "paid"


def test_a_purchase_at_the_sandbox_is_verified_without_a_webhook(
    context: Context, sandbox: SandboxServer
) -> None:
    shop = selling_at(context, sandbox, ONCE)
    opened = checkout.open_checkout(shop, Ask("dashcaddy/plan-0", quantity=2), idempotency_key=KEY)
    assert opened.url.startswith(sandbox.url)
    assert checkout.verify_now(shop, opened.reference).status == "open"
    pay_at(sandbox)
    assert checkout.verify_now(shop, opened.reference).status == "paid"
    shown = checkout.claim(shop, opened.reference, opened.claim_token)
    assert [one.seats for one in shown.licenses or ()] == [2]
    # Afterwards the webhooks arrive, as the sandbox would have sent them.
    world.hand_in(shop, *sandbox.sandbox.state.every("event"))
    assert (world.count(shop, licenses), world.count(shop, timeline)) == (1, 1)


def test_a_subscription_at_the_sandbox_is_verified_without_a_webhook(
    context: Context, sandbox: SandboxServer
) -> None:
    shop = selling_at(context, sandbox, Terms(), interval="month")
    opened = checkout.open_checkout(shop, Ask("dashcaddy/plan-0", quantity=2))
    assert checkout.verify_now(shop, opened.reference).status == "open"
    pay_at(sandbox)
    assert checkout.verify_now(shop, opened.reference).status == "paid"
    made = world.the_license(shop)
    shown = checkout.claim(shop, opened.reference, opened.claim_token)
    assert [(one.id, one.status, one.seats) for one in shown.licenses or ()] == [(made.id, "active", 2)]
    world.hand_in(shop, *sandbox.sandbox.state.every("event"))
    after = world.the_license(shop)
    assert (after.id, after.entitled_until) == (made.id, made.entitled_until)
    assert (world.count(shop, licenses), world.count(shop, purchases)) == (1, 1)
