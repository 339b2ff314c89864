"""PayPal's webhooks: is it authentic, and what of it do we keep.

The signature is checked here, over the raw bytes, with the certificate that PayPal names: no call for each
event. CRC-32, which stands for the body in what is signed, is no cryptographic hash, so a signed delivery is
never proof of what it says: every event only asks for a fetch.
"""

from __future__ import annotations

import binascii
import hashlib
import threading
import zlib
from base64 import b64decode, b64encode
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

import msgspec

from keywright.domain.card_numbers import find_card_numbers
from keywright.domain.email_address import is_email_address
from keywright.domain.errors import BadSignature, Misconfigured, Unproven, Unreadable
from keywright.domain.facts import Projected, Reading
from keywright.domain.strict_json import StrictJSONError, loads
from keywright.providers.paypal import facts, shapes, values
from keywright.providers.paypal.certificates import Certificates

PAST: Final = timedelta(days=4)
"""PayPal retries for three days with the first attempt's time."""
AHEAD: Final = timedelta(minutes=5)

SIMULATOR_WEBHOOK_ID: Final = "WEBHOOK_ID"
"""What PayPal's public simulator signs with: anybody can make it sign anything."""

_ALGORITHM: Final = "SHA256withRSA"
_SEEN = 20_000
_VERDICTS = 1_000
_VERDICT_LIFE = timedelta(minutes=10)
_MAX_EMAIL = 320
_LONGEST: Final[Mapping[str, int]] = {
    "paypal-transmission-id": 128,
    "paypal-transmission-time": 40,
    "paypal-transmission-sig": 2048,
    "paypal-cert-url": 300,
    "paypal-auth-algo": 40,
}
Standing = Literal["read", "later", "unknown"]


class Delivery(msgspec.Struct, frozen=True):
    """The headers of one delivery, each there, once, and of a plausible form."""

    id: str
    time: str
    signature: str
    certificate_url: str
    algorithm: str
    sent_at: datetime


AskPayPal = Callable[[Delivery, str, bytes], bool]
"""PayPal's own verdict on a delivery, by webhook id and raw body. Raises ProviderUnavailable."""


class PayPalEvents:
    """The inbound half of PayPal for one account. Safe to use from several threads."""

    def __init__(
        self,
        certificates: Certificates,
        *,
        live: bool,
        webhook_ids: Sequence[str] = (),
        ask: AskPayPal | None = None,
    ) -> None:
        """Make it; nothing is fetched yet.

        Args:
            certificates: where the keys that sign come from.
            live: the account's mode. PayPal's events do not tell theirs.
            webhook_ids: for `ask`, which names one.
            ask: PayPal's own check, for a certificate whose chain cannot be followed here.
        """
        self._certificates = certificates
        self._live = live
        self._webhook_ids = tuple(webhook_ids)
        self._ask = ask
        self._lock = threading.Lock()
        self._seen: OrderedDict[str, bytes] = OrderedDict()
        self._verdicts: OrderedDict[tuple[str, bytes], tuple[bool, datetime]] = OrderedDict()

    def authenticate(
        self, raw: bytes, headers: Mapping[str, str], secrets: Sequence[str], now: datetime
    ) -> None:
        """Check the signature over transmission id, time, webhook id and the body's CRC-32.

        Args:
            raw: the body as received.
            headers: lower-case names.
            secrets: the ids of our webhooks at PayPal, from our configuration, never from a request.
            now: the current time.

        Raises:
            BadSignature: a header is missing or doubled, the certificate is not PayPal's, the delivery is
                older than four days, from the future, or made for another webhook, or it reuses the id of
                one with another body.
            Unproven: the certificate has not been fetched yet, or PayPal has to be asked.
            Misconfigured: there is no webhook id.
        """
        if not secrets or not all(secret.strip() for secret in secrets):
            raise Misconfigured("there is no PayPal webhook id")
        delivery = _delivery(headers)
        if not now - PAST <= delivery.sent_at <= now + AHEAD:
            raise BadSignature("the delivery is too old, or from the future")
        known = self._certificates.find(delivery.certificate_url, now)
        if known is None:
            raise Unproven("the certificate that signed this is not here yet")
        if not self._is_signed(raw, delivery, secrets, known.is_live, known.verify):
            raise BadSignature("the signature does not fit this body and our webhook ids")
        digest = hashlib.sha256(raw).digest()
        if not known.is_proven and not self._verdict(delivery.id, digest, now):
            raise Unproven("PayPal has to be asked about this signature")
        self._remember(delivery.id, digest)

    def obtain(self, raw: bytes, headers: Mapping[str, str], now: datetime) -> None:
        """Fetch the certificate; where its chain cannot be followed here, ask PayPal for its verdict.

        Raises BadSignature, Unavailable, ProviderUnavailable.
        """
        delivery = _delivery(headers)
        known = self._certificates.obtain(delivery.certificate_url, now)
        if known.is_proven:
            return
        if not self._is_signed(raw, delivery, self._webhook_ids, known.is_live, known.verify):
            # A stranger's: PayPal is not asked about it.
            raise BadSignature("the signature does not fit this body and our webhook ids")
        if self._ask is None:
            raise BadSignature("the certificate's issuer is not known, and no key is set to ask PayPal")
        good = any(self._ask(delivery, webhook_id, raw) for webhook_id in self._webhook_ids)
        if good:
            # Whoever holds the key that made a signature of PayPal's is PayPal.
            self._certificates.vouch(delivery.certificate_url, now)
        with self._lock:
            self._verdicts[delivery.id, hashlib.sha256(raw).digest()] = (good, now)
            while len(self._verdicts) > _VERDICTS:
                self._verdicts.popitem(last=False)

    def project(self, raw: bytes, *, fetched: bool = False) -> Projected:
        """Reduce an authentic body to its allow-listed members.

        Raises:
            Unreadable: not strict JSON, not an event, a member of the wrong type, or a card number in an id.
        """
        event = _loads(raw)
        kind = event.get("event_type")
        if fetched and isinstance(kind, str) and kind.startswith(shapes.FETCHED):
            return self._fetched(event, raw)
        return self._event(event, raw)

    def read(self, projected: Projected) -> Reading:
        """The facts of a projection whose standing is `read`. Raises Unreadable."""
        return facts.read_projection(projected)

    # -- signature ----------------------------------------------------------------------------------

    def _is_signed(
        self,
        raw: bytes,
        delivery: Delivery,
        webhook_ids: Sequence[str],
        certificate_is_live: bool,  # one fact about the certificate, passed on
        verify: Callable[[bytes, bytes], bool],
    ) -> bool:
        signature = _decoded(delivery.signature)
        checksum = zlib.crc32(raw)
        signed = False
        for webhook_id in webhook_ids:
            simulated = webhook_id == SIMULATOR_WEBHOOK_ID
            if simulated and self._live:
                continue
            # The simulator signs with the live certificate, whatever the account's mode.
            if certificate_is_live != self._live and not simulated:
                continue
            message = f"{delivery.id}|{delivery.time}|{webhook_id}|{checksum}".encode()
            signed |= verify(signature, message)
        return signed

    def _verdict(self, transmission_id: str, digest: bytes, now: datetime) -> bool:
        """Whether PayPal said yes a moment ago. Raises BadSignature when it said no."""
        with self._lock:
            good, at = self._verdicts.get((transmission_id, digest), (False, None))
        if at is None or now - at > _VERDICT_LIFE:
            return False
        if not good:
            raise BadSignature("PayPal says that it did not send this")
        return True

    def _remember(self, transmission_id: str, digest: bytes) -> None:
        """Refuse another body under the id of a delivery that was seen: its CRC-32 was made to fit."""
        with self._lock:
            known = self._seen.setdefault(transmission_id, digest)
            while len(self._seen) > _SEEN:
                self._seen.popitem(last=False)
        if known != digest:
            raise BadSignature("this delivery was seen with another body")

    # -- projection ---------------------------------------------------------------------------------

    def _event(self, event: dict[str, Any], raw: bytes) -> Projected:
        envelope: shapes.Envelope = _convert(event, shapes.Envelope)
        named, kind = _named(envelope), shapes.kind_of(envelope.event_type)
        body = b"{}" if named is None else msgspec.json.encode(named)
        return self._projected(
            # The simulator reuses ids for events of different types.
            dedupe_key=f"{envelope.id}:{kind}",
            kind=kind,
            at=values.moment(envelope.create_time) or datetime.fromtimestamp(0, UTC),
            standing="unknown" if named is None else "read",
            body=body,
            raw=raw,
        )

    def _fetched(self, event: dict[str, Any], raw: bytes) -> Projected:
        envelope: shapes.FetchedEnvelope = _convert(event, shapes.FetchedEnvelope)
        what = envelope.event_type.removeprefix(shapes.FETCHED)
        shape, at = shapes.FETCHED_SHAPES.get(what), values.moment(envelope.at)
        if shape is None or at is None:
            raise Unreadable("not an answer of PayPal's as we keep it")
        resource = _clean(_convert(envelope.resource, shape))
        transactions = tuple(_convert(one, shapes.Transaction) for one in envelope.transactions)
        kept = shapes.Kept(transactions=transactions, **{what: resource})
        body = msgspec.json.encode(kept)
        digest = hashlib.sha256(body).hexdigest()
        named = resource.dispute_id if isinstance(resource, shapes.Dispute) else getattr(resource, "id", "")
        return self._projected(
            # A digest of sixteen digits may look like a card number; with a letter before it none does.
            dedupe_key=f"{envelope.event_type}:{named}:{int(at.timestamp())}:d{digest[:16]}",
            kind=envelope.event_type,
            at=at,
            # An order nobody has paid, a subscription nobody has agreed to: nothing is known yet.
            standing="read" if facts.says_something(kept) else "unknown",
            body=body,
            raw=raw,
        )

    def _projected(
        self, *, dedupe_key: str, kind: str, at: datetime, standing: Standing, body: bytes, raw: bytes
    ) -> Projected:
        if find_card_numbers(f"{dedupe_key}\n{body.decode()}"):
            raise Unreadable("an identifier holds what looks like a card number")
        return Projected(
            dedupe_key=dedupe_key,
            type=kind,
            occurred_at=at,
            live=self._live,
            account=None,
            standing=standing,
            body=body,
            digest=hashlib.sha256(body).hexdigest(),
            raw_sha256=hashlib.sha256(raw).hexdigest(),
            raw_size=len(raw),
        )


def _delivery(headers: Mapping[str, str]) -> Delivery:
    """The five headers. One that came twice arrives joined by a comma, which none of them can hold."""
    found: dict[str, str] = {}
    for name, longest in _LONGEST.items():
        value = headers.get(name, "").strip()
        if not value or len(value) > longest or not value.isascii() or not value.isprintable():
            raise BadSignature(f"the header {name} is missing or malformed")
        if "," in value or "|" in value:
            raise BadSignature(f"the header {name} is doubled or malformed")
        found[name] = value
    if found["paypal-auth-algo"] != _ALGORITHM:
        raise BadSignature(f"the signature is not {_ALGORITHM}")
    sent_at = values.moment(found["paypal-transmission-time"])
    if sent_at is None:
        raise BadSignature("the header paypal-transmission-time is no time")
    return Delivery(
        id=found["paypal-transmission-id"],
        time=found["paypal-transmission-time"],
        signature=found["paypal-transmission-sig"],
        certificate_url=found["paypal-cert-url"],
        algorithm=found["paypal-auth-algo"],
        sent_at=sent_at,
    )


def _decoded(signature: str) -> bytes:
    try:
        decoded = b64decode(signature, validate=True)
    except (binascii.Error, ValueError):
        raise BadSignature("the signature is not base64") from None
    # The bits that the last letter has too many are not looked at: many texts would be one signature.
    if b64encode(decoded).decode() != signature:
        raise BadSignature("the signature is not base64 in its only form")
    return decoded


def _loads(raw: bytes) -> dict[str, Any]:
    problem = "the body is not a JSON object"
    try:
        event = loads(raw)
        if isinstance(event, dict):
            return event
    except StrictJSONError as error:
        problem = f"the body is not acceptable JSON: {error}"
    raise Unreadable(problem)


def _convert(value: Any, shape: type[Any]) -> Any:
    try:
        return msgspec.convert(value, shape)
    except (msgspec.ValidationError, ValueError) as error:
        # msgspec names the place and the types, never the value.
        problem = str(error) if isinstance(error, msgspec.ValidationError) else "a string is not Unicode"
    raise Unreadable(f"not a body of PayPal's as we know it: {problem}")


# ------------------------------------------------------------------------------- what an event is about


def _named(envelope: shapes.Envelope) -> shapes.Named | None:
    """The ids an event names; None for a type that is not read. Raises Unreadable when it names nothing."""
    kind, resource = envelope.event_type, envelope.resource
    if kind not in shapes.EVENT_TYPES:
        return None
    if not isinstance(resource, dict):
        raise Unreadable("an event without a resource")
    id_ = _id_in(resource, "id")
    if kind in shapes.SUBSCRIPTION_EVENTS:
        named = shapes.Named(subscription=id_)
    elif kind in shapes.ORDER_EVENTS:
        named = shapes.Named(order=id_)
    elif kind in shapes.SALE_EVENTS:
        named = _named_sale(kind, resource, id_)
    elif kind in shapes.CAPTURE_EVENTS:
        named = _named_capture(resource, id_)
    else:
        named = _named_dispute(resource)
    if named == shapes.Named():
        raise Unreadable("an event that names nothing")
    return named


def _named_sale(kind: str, resource: dict[str, Any], id_: str | None) -> shapes.Named:
    agreement = _id_in(resource, "billing_agreement_id")
    if kind == "PAYMENT.SALE.REFUNDED":
        return shapes.Named(subscription=agreement, sale=_id_in(resource, "sale_id"), refund=id_)
    # A reversal names the sale itself.
    return shapes.Named(subscription=agreement, sale=_id_in(resource, "sale_id") or id_)


def _named_capture(resource: dict[str, Any], id_: str | None) -> shapes.Named:
    """The capture, or the refund of one: then only a link leads to the capture."""
    links = resource.get("links")
    ups = [
        link.get("href")
        for link in (links if isinstance(links, list) else ())
        if isinstance(link, dict) and link.get("rel") == "up"
    ]
    capture = next((found for up in ups if (found := shapes.linked_id(up, "captures", "capture"))), None)
    if capture is not None:
        return shapes.Named(capture=capture, refund=id_)
    order = next((found for up in ups if (found := shapes.linked_id(up, "orders"))), None)
    supplement = resource.get("supplementary_data")
    related = supplement.get("related_ids") if isinstance(supplement, dict) else None
    if isinstance(related, dict):
        order = _id_in(related, "order_id") or order
    return shapes.Named(capture=id_, order=order)


def _named_dispute(resource: dict[str, Any]) -> shapes.Named:
    listed = resource.get("disputed_transactions")
    transactions = [
        _id_in(one, "seller_transaction_id")
        for one in (listed[:20] if isinstance(listed, list) else ())
        if isinstance(one, dict)
    ]
    known = tuple(one for one in transactions if one is not None)
    return shapes.Named(dispute=_id_in(resource, "dispute_id"), transactions=known)


def _id_in(members: dict[str, Any], name: str) -> str | None:
    value = members.get(name)
    return value if isinstance(value, str) and shapes.is_id(value) else None


# ----------------------------------------------------------------------------------- text people typed


def _clean(kept: Any) -> Any:
    """The same object without what strangers typed: only our own reference and an address stay."""
    replace = msgspec.structs.replace
    if isinstance(kept, shapes.Subscription):
        return replace(
            kept,
            custom_id=_ours(kept.custom_id),
            subscriber=_person(kept.subscriber),
            plan_overridden=kept.plan_overridden or None,
        )
    if isinstance(kept, shapes.Order):
        units = tuple(_clean_unit(unit) for unit in kept.purchase_units)
        return replace(kept, purchase_units=units, payer=_person(kept.payer))
    if isinstance(kept, shapes.Capture):
        return replace(kept, custom_id=_ours(kept.custom_id))
    if isinstance(kept, shapes.Refund):
        return _clean_refund(kept)
    return kept


def _clean_unit(unit: shapes.Unit) -> shapes.Unit:
    payments = unit.payments
    if payments is not None:
        payments = shapes.UnitPayments(
            captures=tuple(_clean(one) for one in payments.captures),
            refunds=tuple(_clean_refund(one) for one in payments.refunds),
        )
    return shapes.Unit(custom_id=_ours(unit.custom_id), payments=payments)


def _clean_refund(refund: shapes.Refund) -> shapes.Refund:
    ups = (link.href for link in refund.links if link.rel == "up")
    linked = next((found for up in ups if (found := shapes.linked_id(up, "captures", "capture"))), None)
    return msgspec.structs.replace(refund, links=(), capture_id=refund.capture_id or linked)


def _ours(text: str | None) -> str | None:
    return text if values.is_reference(text) and not find_card_numbers(text or "") else None


def _person(person: shapes.Person | None) -> shapes.Person | None:
    if person is None or person.email_address is None:
        return person
    text = person.email_address
    good = len(text) <= _MAX_EMAIL and is_email_address(text) and not find_card_numbers(text)
    return person if good else msgspec.structs.replace(person, email_address=None)
