"""Going live: the endpoint is made once and kept right, its secret is sealed, the prices are compared."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from keywright import adapters
from keywright.domain.errors import Forbidden, Invalid, Misconfigured, ProviderUnavailable
from keywright.flows import catalog, catalog_file, credentials, provider_setup
from keywright.flows.context import Context
from keywright.flows.provider_setup import Done, Wish
from keywright.providers.stripe import api, shapes
from keywright.providers.stripe.platform import ACCOUNT_EVENTS
from keywright.providers.stripe.setup import EVENTS, StripeSetup
from keywright.sandbox.app import SandboxServer
from keywright.store import audit
from keywright.store.vault_tables import vault_entries
from tests.e2e.recorder import Recorder

URL = "https://licenses.example.com/api/webhooks/stripe"
KINDS = adapters.CREDENTIAL_KINDS["stripe"]
CATALOG = """
[[product]]
slug = "dashcaddy"
name = "DashCaddy"
key_prefix = "DC"
[[product.plan]]
slug = "pro"
name = "Pro"
prices = [
  {{ key = "monthly", provider = "stripe", id = "{}", amount = 5000, currency = "USD", interval = "month" }},
  {{ key = "late", provider = "stripe", id = "price_gone", amount = 9, currency = "USD", interval = "year" }},
]
"""


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[SandboxServer]:
    folder = tmp_path / "sandbox"
    folder.mkdir()
    with SandboxServer(data_dir=folder) as running:
        yield running


@pytest.fixture
def setup(sandbox: SandboxServer) -> StripeSetup:
    return StripeSetup(sandbox.api_key, base=sandbox.url)


def run(context: Context, setup: StripeSetup, url: str = URL, **wish: Any) -> Done:
    return provider_setup.set_up(context, setup, context.channels["stripe"].account, Wish(url, KINDS, **wish))


def endpoints(sandbox: SandboxServer) -> list[dict[str, Any]]:
    answer = httpx.get(f"{sandbox.url}/v1/webhook_endpoints", auth=(sandbox.api_key, ""))
    return list(answer.json()["data"])


def kept(context: Context, kind: str) -> str | None:
    with context.database.read() as connection:
        return credentials.find(connection, context.vault, context.channels["stripe"].account, kind)


def told_of(context: Context) -> list[audit.Entry]:
    """What the audit says, oldest first."""
    with context.database.read() as connection:
        page = audit.list_page(connection, context.master.id, filters={}, before=None, limit=10)
    return page[::-1]


def test_it_is_made_once(context: Context, setup: StripeSetup, sandbox: SandboxServer) -> None:
    done = run(context, setup)
    (made,) = endpoints(sandbox)
    assert made["url"] == URL
    assert made["api_version"] == api.API_VERSION
    assert set(made["enabled_events"]) == set(EVENTS)
    assert set(EVENTS) | ACCOUNT_EVENTS == set(shapes.READ), (
        "those of accounts come by the endpoint of Connect"
    )
    assert done.endpoint == made["id"]
    assert (done.left, done.notes, done.live) == ((), (), False)
    assert kept(context, "stripe.webhook_secret") == sandbox.sandbox.state.endpoint_secrets[made["id"]]
    assert told_of(context)[-1].act == "provider.set_up"
    again = run(context, setup)
    assert endpoints(sandbox) == [made]
    assert (again.did, again.left, again.notes) == ((), (), ())


def test_the_secret_is_told_to_nobody(context: Context, setup: StripeSetup, sandbox: SandboxServer) -> None:
    done = run(context, setup, keys=(("stripe.secret_key", "sk_test_sandbox"),))
    (made,) = endpoints(sandbox)
    secret = sandbox.sandbox.state.endpoint_secrets[made["id"]]
    (endpoint,) = setup.list_endpoints(URL)
    with context.database.read() as connection:
        rows = connection.execute(sa.select(vault_entries)).all()
    assert {row.kind for row in rows} == {"stripe.secret_key", "stripe.webhook_secret", "stripe.endpoint"}
    assert {row.owner for row in rows} == {context.channels["stripe"].account.id}
    for hidden in (secret, "sk_test_sandbox"):
        assert hidden not in f"{done!r} {endpoint!r} {rows!r}"


def test_a_changed_list_of_events_is_made_right(
    context: Context, setup: StripeSetup, sandbox: SandboxServer
) -> None:
    run(context, setup)
    (made,) = endpoints(sandbox)
    auth = (sandbox.api_key, "")
    change = {"enabled_events[0]": "invoice.paid", "enabled_events[1]": "topup.created", "disabled": "true"}
    httpx.post(f"{sandbox.url}/v1/webhook_endpoints/{made['id']}", auth=auth, data=change).raise_for_status()
    (wrong,) = setup.list_endpoints(URL)
    assert len(wrong.lacks) == 2
    assert wrong.differs == ("it is sent 1 types of event that are not read",)
    done = run(context, setup)
    assert done.did == (f"gave the endpoint {made['id']} exactly the events that are read",)
    assert endpoints(sandbox) == [made]


def test_an_endpoint_that_somebody_else_made(
    context: Context, setup: StripeSetup, sandbox: SandboxServer
) -> None:
    by_hand = sandbox.sandbox.register_webhook(URL, "whsec_by_hand")
    unknown = run(context, setup)
    assert unknown.endpoint == by_hand
    assert "STRIPE_WEBHOOK_SECRET" in unknown.left[0]
    assert "--replace" in unknown.left[0]
    assert kept(context, "stripe.webhook_secret") is None
    assert endpoints(sandbox)[0]["enabled_events"] == list(EVENTS)
    given = run(context, setup, given=True)
    assert given.left == ()
    assert "STRIPE_WEBHOOK_SECRET" in given.notes[0]
    replaced = run(context, setup, replace=True)
    (made,) = endpoints(sandbox)
    assert made["id"] == replaced.endpoint != by_hand
    assert replaced.did[1] == f"removed the endpoint {by_hand}"
    assert kept(context, "stripe.webhook_secret") == sandbox.sandbox.state.endpoint_secrets[made["id"]]
    assert run(context, setup).did == ()


def test_a_second_endpoint_at_the_address_is_told(context: Context, setup: StripeSetup) -> None:
    run(context, setup)
    doubled = setup.register(URL, None)
    elsewhere = setup.register(f"{URL}/elsewhere", None)
    done = run(context, setup)
    assert done.endpoint not in (doubled.id, elsewhere.id)
    assert done.notes == (f"{doubled.id} is at this address, too: events come twice",)


def test_prices_are_compared_with_the_catalog(
    context: Context, setup: StripeSetup, sandbox: SandboxServer
) -> None:
    auth = (sandbox.api_key, "")
    made = []
    for amount, name, more in (
        (6000, "Pro", {"recurring[interval]": "month"}),
        (90000, 'Team "XL"', {"recurring[interval]": "month", "recurring[interval_count]": "12"}),
        (100, "Sticker", {}),
        (700, "Half", {"recurring[interval]": "month", "recurring[interval_count]": "6"}),
    ):
        data = {"unit_amount": str(amount), "currency": "usd", "product_data[name]": name, **more}
        made.append(httpx.post(f"{sandbox.url}/v1/prices", auth=auth, data=data).json()["id"])
    pro, team, sticker, half = made
    catalog.apply(context, catalog_file.parse(CATALOG.format(pro), source="x", environment={}))
    prices = run(context, setup).prices
    (mapped,), (unknown,) = prices.mapped, prices.unknown
    assert (mapped.external_id, mapped.plan, mapped.key) == (pro, "dashcaddy/pro", "monthly")
    assert mapped.differs == "the catalog says 50.00 USD/month, the provider 60.00 USD/month"
    assert unknown.external_id == "price_gone"
    yearly = f'{{ key = "yearly", provider = "stripe", id = "{team}", amount = 90000, currency = "USD"'
    yearly += ', interval = "year" },  # Team "XL"'
    once = f'{{ key = "once", provider = "stripe", id = "{sticker}", amount = 100, currency = "USD" }},'
    halves = f"# {half} is paid every 6 months, which the catalog has no word for"
    assert set(prices.lines) == {yearly, f"{once}  # Sticker", halves}
    pasted = CATALOG.format(pro).replace("price_gone", "price_other")
    pasted = pasted.replace("prices = [", f"prices = [\n{yearly}")
    parsed = catalog_file.parse(pasted, source="x", environment={})
    assert team in {price.external_id for price in parsed.products[0].plans[0].prices}


def test_a_plain_address_is_refused_before_anything_is_asked(context: Context) -> None:
    nobody = StripeSetup("sk_test_x", base="http://127.0.0.1:9")
    with pytest.raises(Invalid, match="https"):
        run(context, nobody, "http://licenses.example.com/api/webhooks/stripe")
    sandboxed = replace(context, policy=replace(context.policy, sandbox=True))
    with pytest.raises(ProviderUnavailable, match="cannot be reached"):
        run(sandboxed, nobody, "http://127.0.0.1:8000/api/webhooks/stripe")


def test_a_wrong_key_leaves_nothing_behind(context: Context, sandbox: SandboxServer) -> None:
    wrong = StripeSetup("sk_test_wrong", base=sandbox.url)
    with pytest.raises(Misconfigured, match="wrong, or revoked"):
        run(context, wrong, keys=(("stripe.secret_key", "sk_test_wrong"),))
    assert kept(context, "stripe.secret_key") is None
    assert endpoints(sandbox) == []
    with pytest.raises(Misconfigured, match="begins with sk_ or rk_"):
        StripeSetup("pk_test_0123456789")


def test_a_restricted_key_does_what_it_may(context: Context, sandbox: SandboxServer) -> None:
    """It makes the endpoint; who it belongs to and what is sold there it may not say."""
    guarded = Recorder(sandbox.url, forbids=frozenset({"/v1/account", "/v1/prices"}))
    try:
        done = run(context, StripeSetup(sandbox.api_key, base=guarded.url))
    finally:
        guarded.close()
    (made,) = endpoints(sandbox)
    assert done.endpoint == made["id"]
    assert done.account == "an account that this key may not name"
    assert "prices cannot be compared" in done.notes[0]
    assert (done.prices.lines, done.prices.unknown) == ((), ())


def test_a_key_that_may_make_no_endpoint_says_so(context: Context, sandbox: SandboxServer) -> None:
    guarded = Recorder(sandbox.url, forbids=frozenset({"/v1/webhook_endpoints"}))
    try:
        with pytest.raises(Forbidden, match="more rights"):
            run(context, StripeSetup(sandbox.api_key, base=guarded.url))
    finally:
        guarded.close()
    assert endpoints(sandbox) == []
