from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from keywright.domain.errors import BadSignature, Misconfigured, Unavailable, Unproven
from keywright.providers.paypal.certificates import Certificates
from keywright.providers.paypal.hook import Delivery, PayPalEvents
from tests.providers.paypal.authority import BORN, NAME, Authority
from tests.providers.paypal.deliveries import (
    LEAVES,
    SIGNED,
    CertificateHost,
    Recorded,
    certificates,
    chain,
    other_root,
)

SIMULATED = "signed_PAYMENT.CAPTURE.COMPLETED_v2__2024sim.json"
GENUINE = "signed_PAYMENT.SALE.COMPLETED__2016sandbox.json"
URL = "https://api.sandbox.paypal.com/v1/notifications/certs/CERT-1"


def events_for(told: Recorded, host: CertificateHost | None = None) -> PayPalEvents:
    """In test mode, as PayPal's simulator and its sandbox are heard."""
    made = certificates(live=False, simulator=told.webhook_id == "WEBHOOK_ID", host=host)
    return PayPalEvents(made, live=False, webhook_ids=[told.webhook_id])


def check(
    told: Recorded,
    events: PayPalEvents | None = None,
    *,
    raw: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    webhook_id: str | None = None,
    now: datetime | None = None,
) -> None:
    """What the intake does: look, get what is lacking, look again."""
    events = events or events_for(told)
    body, said, at = raw or told.raw, headers or told.headers, now or told.at
    ids = [webhook_id or told.webhook_id]
    try:
        events.authenticate(body, said, ids, at)
    except Unproven:
        events.obtain(body, said, at)
        events.authenticate(body, said, ids, at)


@pytest.mark.parametrize("name", SIGNED)
def test_recorded_deliveries_are_authentic(name: str) -> None:
    told = Recorded(name)
    host = CertificateHost()
    events = events_for(told, host)
    with pytest.raises(Unproven):
        events.authenticate(told.raw, told.headers, [told.webhook_id], told.at)
    check(told, events)
    check(told, events)
    assert len(host.asked) == 1


@pytest.mark.parametrize("name", SIGNED)
def test_one_byte_changed_is_refused(name: str) -> None:
    told = Recorded(name)
    place = told.raw.index(b'"value"' if b'"value"' in told.raw else b'"id"')
    altered = told.raw[:place] + b" " + told.raw[place:]
    with pytest.raises(BadSignature):
        check(told, raw=altered)


@pytest.mark.parametrize("name", SIGNED)
def test_another_webhook_id_is_refused(name: str) -> None:
    with pytest.raises(BadSignature):
        check(Recorded(name), webhook_id="3TR748995U920805Q")


@pytest.mark.parametrize("name", SIGNED)
def test_stale_and_future_deliveries_are_refused(name: str) -> None:
    told = Recorded(name)
    check(told, now=told.at + timedelta(days=4))
    for away in (timedelta(days=4, seconds=1), -timedelta(minutes=5, seconds=1)):
        with pytest.raises(BadSignature, match="too old, or from the future"):
            check(told, now=told.at + away)


@pytest.mark.parametrize("name", list(Recorded(GENUINE).headers))
def test_a_missing_or_doubled_header_is_refused(name: str) -> None:
    told = Recorded(GENUINE)
    value = told.headers[name]
    for changed in ("", f"{value}, {value}", f"{value}\n", f"{value}é" if "url" in name else "é" * 3):
        if changed == f"{value}\n":
            continue  # the server takes line ends off
        with pytest.raises(BadSignature):
            check(told, headers={**told.headers, name: changed})
    with pytest.raises(BadSignature):
        check(told, headers={k: v for k, v in told.headers.items() if k != name})


@pytest.mark.parametrize(
    "algorithm", ["SHA1withRSA", "sha256withrsa", "none", "SHA256withRSA/PSS", "MD5withRSA"]
)
def test_another_algorithm_is_refused(algorithm: str) -> None:
    told = Recorded(GENUINE)
    with pytest.raises(BadSignature):
        check(told, headers={**told.headers, "paypal-auth-algo": algorithm})


def test_the_simulator_is_not_heard_in_live_mode() -> None:
    told = Recorded(SIMULATED)
    events = PayPalEvents(certificates(live=True), live=True, webhook_ids=["WEBHOOK_ID"])
    with pytest.raises(BadSignature):
        check(told, events)


def test_a_live_certificate_signs_nothing_in_test_mode() -> None:
    told = Recorded(SIMULATED)
    events = PayPalEvents(certificates(live=False), live=False, webhook_ids=["8PT597110X687430LKGECATA"])
    with pytest.raises(BadSignature, match="address"):
        check(told, events, webhook_id="8PT597110X687430LKGECATA")


def test_no_webhook_id_is_a_mistake_of_ours() -> None:
    told = Recorded(GENUINE)
    for ids in ([], [""], ["3TR748995U920805P", " "]):
        with pytest.raises(Misconfigured):
            events_for(told).authenticate(told.raw, told.headers, ids, told.at)


_PATH = "/v1/notifications/certs/CERT-1"
HOSTILE = [
    f"http://api.sandbox.paypal.com{_PATH}",
    f"https://evil.example{_PATH}",
    f"https://api.sandbox.paypal.com.evil.example{_PATH}",
    f"https://evil.example/api.sandbox.paypal.com{_PATH}",
    f"https://api.sandbox.paypal.com@evil.example{_PATH}",
    f"https://user:pw@api.sandbox.paypal.com{_PATH}",
    f"https://api.sandbox.paypal.com:8443{_PATH}",
    f"https://api.sandbox.paypal.com:443@evil.example{_PATH}",
    f"https://api.sandbox.paypal.com\\@evil.example{_PATH}",
    f"https://api.sandbox.paypal.com%2eevil.example{_PATH}",
    f"https://apiXsandbox.paypal.com{_PATH}",
    f"https://www.sandbox.paypal.com{_PATH}",
    f"https://api.sandbox.paypal.com.{_PATH}",
    f"https://api.sandbox.paypal.com/v1/notifications/certs/../../oauth2/{_PATH}",
    "https://api.sandbox.paypal.com/v1/notifications/certs/%2e%2e/CERT-1",
    "https://api.sandbox.paypal.com/v1/notifications/certs/",
    "https://api.sandbox.paypal.com/v1/notifications/certs/a/b",
    "https://api.sandbox.paypal.com/v1/notifications/certs/..",
    "https://api.sandbox.paypal.com/v1/notifications/certsX/CERT-1",
    "https://api.sandbox.paypal.com//v1/notifications/certs/CERT-1",
    f"{URL}?url=https://evil.example/",
    f"{URL}#fragment",
    f" {URL}",
    f"{URL} ",
    f"{URL}\t",
    f"//api.sandbox.paypal.com{_PATH}",
    f"HTTPS://api.sandbox.paypal.com{_PATH}",
    f"https://api.paypal.com{_PATH}",
    f"https://api-m.paypal.com{_PATH}",
    f"http://127.0.0.1:8900{_PATH}",
    "file:///etc/passwd",
    f"https://[::1]{_PATH}",
    f"https://127.0.0.1{_PATH}",
    f"https://api.sandbox.p\u0430ypal.com{_PATH}",
    "https://api.sandbox.paypal.com/v1/notifications/certs/" + "A" * 200,
]


@pytest.mark.parametrize("url", HOSTILE)
def test_hostile_certificate_addresses_are_refused_and_never_fetched(url: str) -> None:
    host = CertificateHost()
    made = certificates(live=False, host=host)
    for look in (made.find, made.obtain):
        with pytest.raises(BadSignature, match="address"):
            look(url, BORN)
    assert host.asked == []


@pytest.mark.parametrize(
    "host_name", ["api.sandbox.paypal.com", "API-M.Sandbox.PayPal.com", "api-m.sandbox.paypal.com:443"]
)
def test_the_addresses_of_paypal_are_fetched(host_name: str) -> None:
    host = CertificateHost()
    with pytest.raises(BadSignature, match="no such certificate"):
        certificates(live=False, host=host).obtain(f"https://{host_name}{_PATH}", BORN)
    (asked,) = host.asked
    assert asked.removesuffix(_PATH) in ("https://api.sandbox.paypal.com", "https://api-m.sandbox.paypal.com")


# -------------------------------------------------------------------------- certificates of our own making

NOW = BORN + timedelta(days=30)
WEBHOOK = "8PT597110X687430LKGECATA"


def own(pem: str, *, chained: bool = True, status: int = 200) -> tuple[Certificates, CertificateHost]:
    host = CertificateHost({URL: httpx.Response(status, text=pem)})
    roots = [Authority().root] if chained else [chain()[0]]
    return Certificates(live=False, roots=roots, transport=host), host


@pytest.mark.parametrize(
    "pem",
    [
        "",
        "no certificate",
        "x" * 70_000,
        Authority().leaf("messageverificationcerts.paypal.com"),
        Authority().leaf("messageverificationcerts.sandbox.paypal.com.evil.example"),
        Authority().leaf(days=10),
    ],
    ids=["empty", "text", "too large", "other environment", "other name", "expired"],
)
def test_a_certificate_that_is_not_good_is_refused_and_left_alone(pem: str) -> None:
    made, host = own(pem)
    for _ in range(3):
        with pytest.raises(BadSignature):
            made.obtain(URL, NOW)
    assert len(host.asked) == 1
    with pytest.raises(BadSignature):
        made.obtain(URL, NOW + timedelta(minutes=11))
    assert len(host.asked) == 2


@pytest.mark.parametrize("status", [301, 302, 307, 404, 403])
def test_redirects_are_not_followed(status: int) -> None:
    made, host = own(Authority().leaf(), status=status)
    with pytest.raises(BadSignature):
        made.obtain(URL, NOW)
    assert host.asked == [URL]


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_host_in_trouble_is_asked_again(status: int) -> None:
    made, host = own(Authority().leaf(), status=status)
    for _ in range(2):
        with pytest.raises(Unavailable):
            made.obtain(URL, NOW)
    assert len(host.asked) == 2


def test_strangers_cannot_have_many_certificates_fetched() -> None:
    host = CertificateHost()
    made = certificates(live=False, host=host)
    for number in range(10):
        with pytest.raises(BadSignature):
            made.obtain(f"{URL}{number}", NOW)
    with pytest.raises(Unavailable, match="Too many"):
        made.obtain(f"{URL}-one-more", NOW)
    assert len(host.asked) == 10
    with pytest.raises(BadSignature):
        made.obtain(f"{URL}-later", NOW + timedelta(minutes=2))


def test_a_certificate_is_not_good_for_ever() -> None:
    made, _ = own(Authority().leaf(days=60))
    made.obtain(URL, NOW)
    with pytest.raises(BadSignature, match="not valid at this time"):
        made.find(URL, BORN + timedelta(days=61))


class Asked:
    """PayPal's own check, with a verdict that the test sets."""

    def __init__(self, verdict: bool) -> None:
        self.verdict = verdict
        self.calls: list[str] = []

    def __call__(self, delivery: Delivery, webhook_id: str, raw: bytes) -> bool:
        assert delivery.id
        assert raw
        self.calls.append(webhook_id)
        return self.verdict


@pytest.mark.parametrize("verdict", [True, False])
def test_where_the_issuer_is_not_known_paypal_is_asked(verdict: bool) -> None:
    asked = Asked(verdict)
    made, _ = own(Authority().leaf(), chained=False)
    events = PayPalEvents(made, live=False, webhook_ids=[WEBHOOK], ask=asked)
    raw = b'{"id":"WH-1"}'
    headers = Authority().headers(raw, URL, WEBHOOK, NOW)
    with pytest.raises(Unproven):
        events.authenticate(raw, headers, [WEBHOOK], NOW)
    events.obtain(raw, headers, NOW)
    if verdict:
        events.authenticate(raw, headers, [WEBHOOK], NOW)
        # PayPal vouched for the key: what else it signs is not asked about, for a day.
        other = b'{"id":"WH-2"}'
        events.authenticate(other, Authority().headers(other, URL, WEBHOOK, NOW, "t-2"), [WEBHOOK], NOW)
        later = NOW + timedelta(days=1, minutes=1)
        with pytest.raises(Unproven):
            events.authenticate(other, Authority().headers(other, URL, WEBHOOK, later), [WEBHOOK], later)
    else:
        with pytest.raises(BadSignature, match="did not send"):
            events.authenticate(raw, headers, [WEBHOOK], NOW)
    assert asked.calls == [WEBHOOK]


def test_paypal_is_not_asked_about_what_a_stranger_made_up() -> None:
    asked = Asked(True)
    made, _ = own(Authority().leaf(), chained=False)
    events = PayPalEvents(made, live=False, webhook_ids=[WEBHOOK], ask=asked)
    headers = Authority().headers(b"{}", URL, "another webhook", NOW)
    with pytest.raises(BadSignature):
        events.obtain(b"{}", headers, NOW)
    assert asked.calls == []


def test_without_a_key_an_unknown_issuer_is_refused() -> None:
    made, _ = own(Authority().leaf(), chained=False)
    events = PayPalEvents(made, live=False, webhook_ids=[WEBHOOK])
    headers = Authority().headers(b"{}", URL, WEBHOOK, NOW)
    with pytest.raises(BadSignature, match="issuer"):
        events.obtain(b"{}", headers, NOW)


def test_a_body_made_to_fit_the_checksum_of_another_is_refused() -> None:
    made, _ = own(Authority().leaf())
    events = PayPalEvents(made, live=False, webhook_ids=[WEBHOOK])
    raw = b'{"id":"WH-1","amount":"1.00"}'
    headers = Authority().headers(raw, URL, WEBHOOK, NOW)
    events.obtain(raw, headers, NOW)
    events.authenticate(raw, headers, [WEBHOOK], NOW)
    forged = _with_checksum(b'{"id":"WH-1","amount":"999.00"}', zlib.crc32(raw))
    assert zlib.crc32(forged) == zlib.crc32(raw)
    assert forged != raw
    with pytest.raises(BadSignature, match="another body"):
        events.authenticate(forged, headers, [WEBHOOK], NOW)
    events.authenticate(raw, headers, [WEBHOOK], NOW)


def _with_checksum(body: bytes, wanted: int) -> bytes:
    """`body` and four bytes that give it this CRC-32: run the register backwards from the end."""
    table = []
    for number in range(256):
        value = number
        for _ in range(8):
            value = (value >> 1) ^ 0xEDB88320 if value & 1 else value >> 1
        table.append(value)
    by_top = {value >> 24: index for index, value in enumerate(table)}
    register = wanted ^ 0xFFFFFFFF
    for byte in struct.pack("<I", zlib.crc32(body) ^ 0xFFFFFFFF)[::-1]:
        index = by_top[register >> 24]
        register = ((register ^ table[index]) << 8 | index ^ byte) & 0xFFFFFFFF
    return body + struct.pack("<I", register)


def test_the_fixtures_are_what_they_say() -> None:
    assert len(SIGNED) == 10
    assert len(LEAVES) == 3
    assert NAME.startswith("messageverificationcerts")
    assert other_root().subject == Authority().root.subject
    assert Recorded(GENUINE).at.astimezone(UTC) == datetime(2016, 10, 5, 14, 57, 40, tzinfo=UTC)


def test_a_certificate_that_was_good_is_kept_over_a_restart(tmp_path: Path) -> None:
    pem = Authority().leaf()
    host = CertificateHost({URL: httpx.Response(200, text=pem)})
    folder = tmp_path / "kept"
    first = Certificates(live=False, roots=[Authority().root], transport=host, folder=folder)
    now = BORN + timedelta(days=1)
    assert first.obtain(URL, now).is_proven
    assert host.asked == [URL]

    after = Certificates(live=False, roots=[Authority().root], transport=host, folder=folder)
    for number in range(12):  # strangers use up the fetches of this minute
        with pytest.raises((BadSignature, Unavailable)):
            after.obtain(f"{URL}-{number}", now)
    asked = len(host.asked)
    assert after.obtain(URL, now).is_proven
    assert len(host.asked) == asked
    with pytest.raises(BadSignature):
        after.find(URL, BORN + timedelta(days=4000))


def test_what_somebody_wrote_into_the_folder_is_checked_like_any_other(tmp_path: Path) -> None:
    host = CertificateHost({URL: httpx.Response(200, text=Authority().leaf())})
    folder = tmp_path / "kept"
    now = BORN + timedelta(days=1)
    Certificates(live=False, roots=[Authority().root], transport=host, folder=folder).obtain(URL, now)
    (kept,) = folder.iterdir()
    for text in ("", "no certificate", Authority().leaf("elsewhere.example"), Authority().leaf(days=0)):
        kept.write_text(text)
        again = Certificates(live=False, roots=[Authority().root], transport=host, folder=folder)
        assert again.obtain(URL, now).is_proven
    assert host.asked == [URL] * 5
