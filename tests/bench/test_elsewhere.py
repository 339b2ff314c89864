"""The deliveries of Paystack and PayPal are genuine, and what the bench answers for them makes a purchase."""

import sys
from collections.abc import Iterator
from datetime import UTC, datetime

import msgspec
import pytest

from benchmarks import buyers, paypal, paystack, results
from benchmarks.confirmations import Confirmations
from benchmarks.mails import Mails
from benchmarks.servers import serving
from keywright.domain.facts import PaymentSeen, SubscriptionSeen
from keywright.ports import PaymentApi, PaymentEvents
from keywright.providers.paypal.api import PayPalApi
from keywright.providers.paypal.certificates import Certificates
from keywright.providers.paypal.client import PayPalClient
from keywright.providers.paypal.hook import PayPalEvents
from keywright.providers.paystack.api import PaystackApi
from keywright.providers.paystack.hook import PaystackEvents
from keywright.sandbox.paypal_signing import Authority

NOW = 1_790_000_000
AT = datetime.fromtimestamp(NOW, UTC)


class StoppedClock:
    def now(self) -> datetime:
        return AT


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def base(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    work = tmp_path_factory.mktemp("provider")
    leaf = work / "leaf.pem"
    leaf.write_bytes(authority.leaf)
    flags = ["--port", "{port}", "--bought-at", str(NOW - 60), "--certificate", str(leaf)]
    with serving([sys.executable, "-m", "benchmarks.provider", *flags], {}, work / "log") as server:
        yield f"http://127.0.0.1:{server.port}"


def _request(record: bytes) -> tuple[dict[str, str], bytes]:
    head, body = record.split(b"\r\n\r\n", 1)
    lines = (line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
    headers = {name.lower(): value for name, value in lines}
    assert int(headers["content-length"]) == len(body)
    return headers, body


def _becomes_a_purchase(events: PaymentEvents, api: PaymentApi, body: bytes, price: str) -> str:
    """Follows an event to what the provider says of it; returns its dedupe key."""
    projected = events.project(body)
    hint = events.read(projected)
    assert projected.standing == "read"
    assert hint.facts == ()
    [wanted] = hint.refetches
    answers = [events.read(events.project(raw, fetched=True)) for raw in api.fetch(wanted)]
    facts = [fact for reading in answers for fact in reading.facts]
    assert any(reading.founds and reading.prices == (price,) for reading in answers)
    assert {"paid"} == {fact.state for fact in facts if isinstance(fact, PaymentSeen)}
    assert {"active"} == {fact.status for fact in facts if isinstance(fact, SubscriptionSeen)}
    # The event waits for names that the answers bring.
    brought = {alias for reading in answers for alias in reading.aliases}
    assert set(hint.aliases) <= brought
    return projected.dedupe_key


def test_names_never_meet() -> None:
    assert len({buyers.name_of(number) for number in range(100_000)}) == 100_000
    assert all(len(buyers.name_of(number)) == 9 for number in (0, 1, 12_345_678))


def test_a_payment_of_paystacks_is_signed_and_confirmed(base: str) -> None:
    events = PaystackEvents()
    api = PaystackApi(paystack.SECRET_KEY, StoppedClock(), base=f"{base}/paystack")
    keys = set()
    for record in paystack.deliveries(range(5), now=NOW):
        headers, body = _request(record)
        events.authenticate(body, headers, (paystack.SECRET_KEY,), AT)
        keys.add(_becomes_a_purchase(events, api, body, paystack.PLAN_CODE))
        assert 1000 < len(body) < 3000
    assert len(keys) == 5


def test_a_payment_of_paypals_is_signed_and_confirmed(base: str, authority: Authority) -> None:
    own = f"{base}/paypal"
    certificates = Certificates(live=False, own_base=own, roots_file=authority.ca_file)
    events = PayPalEvents(certificates, live=False, webhook_ids=(paypal.WEBHOOK_ID,))
    clock = StoppedClock()
    client = PayPalClient(paypal.CLIENT_ID, paypal.CLIENT_SECRET, clock, base=own)
    keys = set()
    for record in paypal.deliveries(range(5), authority=authority, base=own, now=NOW):
        headers, body = _request(record)
        events.obtain(body, headers, AT)
        events.authenticate(body, headers, (paypal.WEBHOOK_ID,), AT)
        keys.add(_becomes_a_purchase(events, PayPalApi(client, clock), body, paypal.PLAN_ID))
        assert 1000 < len(body) < 3000
    assert len(keys) == 5


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({}, ""),
        ({"licenses": 9}, "10 purchases, but 9 licenses"),
        ({"licenses": 11}, "10 purchases, but 11 licenses"),
        ({"webhooks": {"applied": 9, "parked": 1}}, "10 webhooks, but {'applied': 9, 'parked': 1}"),
        ({"unanswered": 2}, "2 objects still to be asked for"),
    ],
)
def test_a_purchase_without_its_license_is_told(changed: dict[str, object], complaint: str) -> None:
    right = Confirmations(webhooks={"applied": 10}, unanswered=0, licenses=10, last_license_at=1.0)
    mails = Mails({"sent": 10}, 1.0)
    assert results.unconfirmed(msgspec.structs.replace(right, **changed), 10, mails) == complaint


def test_a_mail_that_was_not_sent_is_told() -> None:
    right = Confirmations(webhooks={"applied": 10}, unanswered=0, licenses=10, last_license_at=1.0)
    mails = Mails({"sent": 9, "failed": 1}, 1.0)
    assert results.unconfirmed(right, 10, mails) == "mails: {'sent': 9, 'failed': 1}"


def test_what_nobody_asks_for_is_not_found() -> None:
    assert paystack.answer("refund/7", {}, NOW) is None
    assert paypal.answer("/v2/checkout/orders/7", NOW) is None
