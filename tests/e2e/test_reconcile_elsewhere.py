"""Webhooks of PayPal and Paystack that never arrived, made good beside the running server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from keywright.domain.license import License, status
from keywright.flows import reconcile
from keywright.flows.context import Context
from keywright.flows.reconcile import Wish
from keywright.flows.reconciliation_views import AccountReport
from keywright.sandbox.paypal_api import CLIENT_ID, CLIENT_SECRET
from keywright.store.tables import inbox
from tests.e2e.conftest import database_of
from tests.e2e.server import opened, wait_until
from tests.e2e.test_paypal_line import DAY, WEBHOOK_ID, PayPalShop
from tests.e2e.test_paystack_line import Store
from tests.life import world

Paths = pytest.TempPathFactory


class _PayPal:
    """The shop at PayPal, and its database seen from a second process."""

    def __init__(self, url: str, shop: PayPalShop, folder: object) -> None:
        self.url, self.shop, self.folder = url, shop, folder

    @contextmanager
    def context(self) -> Iterator[Context]:
        with opened(
            self.url,
            self.folder,  # type: ignore[arg-type]  # a path
            keywright_mode="sandbox",
            paypal_client_id=CLIENT_ID,
            paypal_client_secret=CLIENT_SECRET,
            paypal_webhook_id=WEBHOOK_ID,
            paypal_api_base=self.shop.sandbox.url,
            paypal_ca_file=self.shop.sandbox.sandbox.paypal.authority.ca_file,
        ) as context:
            yield context

    def compare(self, *, fix: bool) -> AccountReport:
        with self.context() as context:
            (report,) = reconcile.reconcile(context, Wish("paypal", fix=fix)).accounts
        assert report.error is None
        return report

    def held(self) -> dict[str, tuple[str, int]]:
        """Status and seats of each license."""
        with self.context() as context:
            return _standing(world.all_licenses(context), context)


def _standing(held: list[License], context: Context) -> dict[str, tuple[str, int]]:
    return {one.id: (status(one, context.clock.now()), one.seats) for one in held}


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def paypal(request: pytest.FixtureRequest, tmp_path_factory: Paths) -> Iterator[_PayPal]:
    folder = tmp_path_factory.mktemp("paypal-compared")
    url = database_of(request.param, request, folder)
    with ExitStack() as stack:
        yield _PayPal(url, PayPalShop(url, folder, stack), folder)


def test_lost_webhooks_of_paypal_are_listed_and_applied(paypal: _PayPal) -> None:
    shop = paypal.shop
    shop.control("switches", loss=1)
    monthly, once = shop.buy("pro", quantity=3), shop.buy("forever", quantity=2)
    dry = paypal.compare(fix=False)
    # The order is agreed to and not captured: a run that only looks charges nobody.
    assert dry.counts["paid-without-license"] == 1
    assert paypal.held() == {}
    fixed = paypal.compare(fix=True)
    assert fixed.applied == fixed.missing > 0
    assert fixed.counts["paid-without-license"] == 2
    assert sorted(paypal.held().values()) == [("active", 2), ("active", 3)]
    assert monthly.becomes("VALID")["license"]["seats"] == 3
    assert once.becomes("VALID")["license"]["seats"] == 2
    # The capture that the repair made is an event of its own, lost like the others.
    assert set(paypal.compare(fix=True).counts) <= {"missed-event"}
    assert paypal.compare(fix=True).found == 0

    shop.at_paypal(f"/v1/billing/subscriptions/{monthly.id}/cancel", reason="enough")
    order = shop.pay.get(f"/v2/checkout/orders/{once.id}", headers=shop.bearer()).json()
    capture = order["purchase_units"][0]["payments"]["captures"][0]["id"]
    shop.at_paypal(f"/v2/payments/captures/{capture}/refund")
    assert once.verdict()["code"] == "VALID"
    found = paypal.compare(fix=True)
    assert found.counts["refunded-but-valid"] == 1
    assert found.counts["wrong-dates"] == 1
    assert once.becomes("REVOKED")
    for fix in (False, True):
        assert paypal.compare(fix=fix).found == 0


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path_factory: Paths) -> Iterator[Store]:
    folder = tmp_path_factory.mktemp("paystack-compared")
    with ExitStack() as stack:
        yield Store(database_of(request.param, request, folder), folder, stack)


def test_what_happened_at_paystack_is_listed_and_taken_in(store: Store) -> None:
    store.lever("switches", loss=1)
    once, monthly = store.open("once", "once@example.com"), store.open("pro", "monthly@example.com")
    for checkout in (once, monthly):
        store.pull("pay", reference=checkout["reference"])
    dry = _compared(store, fix=False)
    assert dry.counts["paid-without-license"] == 2
    assert world.all_licenses(store.context) == []
    fixed = _compared(store, fix=True)
    assert fixed.counts["paid-without-license"] == 2
    held = [store.wait(checkout, "active") for checkout in (once, monthly)]
    kept = world.count(store.context, inbox)
    for _ in range(3):
        store.lever("clock/advance", seconds=1200)
        assert _compared(store, fix=True).found == 0
    assert world.count(store.context, inbox) == kept, "looking again fills nothing"

    assert store.api.post("/refund", json={"transaction": once["reference"]}).status_code == 200
    store.lever("clock/advance", seconds=32 * DAY)
    assert store.status(held[0]) == "active"
    found = _compared(store, fix=True)
    assert found.counts["refunded-but-valid"] == 1
    assert found.counts["wrong-dates"] == 1
    store.wait_status(held[0], "revoked")
    wait_until(lambda: store.status(held[1]) == "active", 10, "the renewal counts")
    for fix in (False, True):
        assert _compared(store, fix=fix).found == 0


def _compared(store: Store, *, fix: bool) -> AccountReport:
    (report,) = reconcile.reconcile(store.context, Wish("paystack", fix=fix)).accounts
    assert report.error is None
    return report
