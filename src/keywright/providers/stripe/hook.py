"""Stripe's webhooks: is it authentic, and what of it do we keep.

The SDK's own verifier accepts timestamps from the future and raises TypeError, RecursionError and ValueError
on hostile input. Here the header is checked over the raw bytes, and the body is parsed strictly afterwards.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal, Protocol

import msgspec

from keywright.domain.card_numbers import find_card_numbers
from keywright.domain.email_address import is_email_address
from keywright.domain.errors import BadSignature, Misconfigured, Unreadable
from keywright.domain.facts import Projected, Reading
from keywright.domain.strict_json import StrictJSONError, loads
from keywright.providers.stripe import shapes
from keywright.providers.stripe.facts import read_object

TOLERANCE = 300
"""How many seconds a signature may be old, or ahead. Retries are signed afresh."""

SIGNATURE_HEADER = "stripe-signature"

_MAX_HEADER = 4096
_MAX_CANDIDATES = 16  # Stripe sends one per active secret, so two while rolling
_MAX_EMAIL = 320  # RFC 5321: 64 before the at sign, 255 after
Standing = Literal["read", "later", "unknown"]
_THIN = "v2.core.event"
_NAME_OF_NEED: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.]{0,99}")
_MOST_NEEDS: Final = 50
_OUR_REFERENCE: Final = re.compile(r"KW-[0-9A-Z]{4,64}")
_OUR_TENANT: Final = re.compile(r"ten_[0-9a-f]{30}")


class _ThinEnvelope(msgspec.Struct, frozen=True):
    id: shapes.Id
    type: shapes.Kind
    created: Annotated[datetime, msgspec.Meta(tz=True)]
    livemode: bool


_READ_ENVELOPES: Final[Mapping[str, Any]] = {
    kind: shapes.Envelope[shapes.Data[shape]]  # type: ignore[valid-type]  # built for each shape at import
    for kind, shape in shapes.READ.items()
}
_FETCHED_ENVELOPES: Final[Mapping[str, Any]] = {
    kind: shapes.Envelope[shapes.Data[shape]]  # type: ignore[valid-type]  # as above
    for kind, shape in shapes.FETCHED.items()
}
_ANY_ENVELOPE: Final = shapes.Envelope[Any]


class StripeEvents:
    """The inbound half of Stripe. Pure: no clock, no network, no database."""

    def authenticate(
        self, raw: bytes, headers: Mapping[str, str], secrets: Sequence[str], now: datetime
    ) -> None:
        """Check `stripe-signature` over the raw bytes.

        Args:
            raw: the body as received.
            headers: lower-case names.
            secrets: the endpoint's signing secrets as given, `whsec_` included; several while rolling.
            now: the current time. More than 300 s away from the header's, in either direction, is refused.

        Raises:
            BadSignature: no secret made any of the header's `v1` signatures. Other schemes are ignored.
            Misconfigured: there is no secret, or an empty one, which anybody could sign with.
        """
        if not secrets or not all(secret.strip() for secret in secrets):
            raise Misconfigured("this webhook endpoint has no signing secret")
        stamp, candidates = _signature_parts(headers.get(SIGNATURE_HEADER, ""))
        message = stamp + b"." + raw
        genuine = False
        for secret in secrets:
            keyed = hmac.new(secret.encode("utf-8", "surrogateescape"), digestmod="sha256")
            expected = _fed(keyed, message)
            for candidate in candidates:
                # No early way out: the time taken tells nothing about which secret or digit was right.
                genuine |= hmac.compare_digest(expected, candidate)
        if not genuine:
            raise BadSignature("no signature fits this body and the endpoint's secrets")
        if abs(int(now.timestamp()) - int(stamp)) > TOLERANCE:
            raise BadSignature("the signature is too old, or from the future")

    def obtain(self, raw: bytes, headers: Mapping[str, str], now: datetime) -> None:
        """Nothing: the endpoint's secrets are all that a signature of Stripe needs."""

    def project(self, raw: bytes, *, fetched: bool = False) -> Projected:
        """Reduce an authentic body to its allow-listed members.

        Args:
            raw: the body.
            fetched: an answer that `api.py` put into an envelope. Nothing else may be of a `fetched.` type.

        Raises:
            Unreadable: not strict JSON, not an event, a member of the wrong type, or a card number in an id.
        """
        event = _loads(raw)
        if event.get("object") == _THIN:
            return _thin(event, raw)
        kind = event.get("type")
        envelope_type = _READ_ENVELOPES.get(kind) if isinstance(kind, str) else None
        if fetched and envelope_type is None and isinstance(kind, str):
            envelope_type = _FETCHED_ENVELOPES.get(kind)
        if envelope_type is None:
            return _not_read(event, raw)
        envelope = _convert(event, envelope_type)
        kept = _without_unwanted_text(envelope.data.object)
        if isinstance(kept, shapes.Intent) and kept.metadata is None:
            # Invoices have intents, too. Without our reference it is about nothing that was ordered here.
            return _projected(envelope, "unknown", b"{}", raw)
        body = _encode(shapes.Kept(kept, _is_cut(kept)))
        return _projected(envelope, "read", body, raw)

    def read(self, projected: Projected) -> Reading:
        """The facts of a projection whose standing is `read`. Raises Unreadable."""
        return read_object(projected)


class _Hash(Protocol):
    def update(self, data: bytes, /) -> None: ...
    def hexdigest(self) -> str: ...


def _signature_parts(header: str) -> tuple[bytes, list[str]]:
    """The timestamp as sent, and every `v1` value. All ASCII, because compare_digest raises on other text."""
    # Stripe sends no blank. A proxy that makes one header of two puts one between them.
    if not header.isascii() or " " in header or len(header) > _MAX_HEADER:
        raise BadSignature("the signature header is malformed")
    stamps: list[str] = []
    candidates: list[str] = []
    for part in header.split(","):
        scheme, _, value = part.partition("=")
        if not value:  # also what a second header leaves that is empty
            raise BadSignature("the signature header is malformed")
        if scheme == "t":
            stamps.append(value)
        elif scheme == "v1":
            candidates.append(value)
    if len(stamps) != 1 or not stamps[0].isdigit() or len(stamps[0]) > 12:
        raise BadSignature("the signature header carries no single timestamp")
    if not 0 < len(candidates) <= _MAX_CANDIDATES:
        raise BadSignature("the signature header carries no v1 signature, or too many")
    return stamps[0].encode(), candidates


def _loads(raw: bytes) -> dict[str, Any]:
    problem = "the body is not a JSON object"
    try:
        event = loads(raw)
        if isinstance(event, dict):
            return event
    except StrictJSONError as error:
        problem = f"the body is not acceptable JSON: {error}"
    raise Unreadable(problem)


def _convert(event: dict[str, Any], envelope: Any) -> Any:
    try:
        return msgspec.convert(event, envelope)
    except (msgspec.ValidationError, ValueError) as error:
        # msgspec names the place and the types, never the value.
        problem = str(error) if isinstance(error, msgspec.ValidationError) else "a string is not Unicode"
    raise Unreadable(f"not a Stripe event as we know it: {problem}")


def _thin(event: dict[str, Any], raw: bytes) -> Projected:
    """Thin events only name an object. Their snapshot twin, if the seller asks for one, is what we read."""
    envelope = _convert(event, _ThinEnvelope)
    _refuse_card_numbers(f"{envelope.id}\n{envelope.type}")
    return Projected(
        dedupe_key=envelope.id,
        type=envelope.type,
        occurred_at=envelope.created.astimezone(UTC),
        live=envelope.livemode,
        account=None,
        standing="unknown",
        body=b"{}",
        digest=hashlib.sha256(b"{}").hexdigest(),
        raw_sha256=_fed(hashlib.sha256(), raw),
        raw_size=len(raw),
    )


def _not_read(event: dict[str, Any], raw: bytes) -> Projected:
    # A type that we do not act on is never refused for its object: Stripe would send it again for three days.
    if "data" not in event:
        event = {**event, "data": None}
    envelope = _convert(event, _ANY_ENVELOPE)
    if envelope.type not in shapes.LATER:
        return _projected(envelope, "unknown", b"{}", raw)
    try:
        kept = msgspec.convert(envelope.data, shapes.Data[shapes.Later]).object
        body = _encode(shapes.Kept(_without_unwanted_text(kept)))
        _refuse_card_numbers(body.decode())
    except (msgspec.ValidationError, ValueError, Unreadable):
        body = b"{}"
    return _projected(envelope, "later", body, raw)


def _projected(envelope: shapes.Envelope[Any], standing: Standing, body: bytes, raw: bytes) -> Projected:
    head = f"{envelope.id}\n{envelope.type}\n{envelope.account}\n{envelope.api_version}\n"
    _refuse_card_numbers(head + body.decode())
    return Projected(
        dedupe_key=envelope.id,
        type=envelope.type,
        occurred_at=datetime.fromtimestamp(envelope.created, UTC),
        live=envelope.livemode,
        account=envelope.account,
        standing=standing,
        body=body,
        digest=hashlib.sha256(body).hexdigest(),
        raw_sha256=_fed(hashlib.sha256(), raw),
        raw_size=len(raw),
        api_version=envelope.api_version,
    )


# From 2048 bytes on, hashlib lets go of the interpreter lock. Taking it back from a busy thread costs up to a
# whole switch interval, a hundred times the hash of a webhook.
_PIECE = 2047


def _fed(hashed: _Hash, content: bytes) -> str:
    """The hexadecimal digest after `content`, fed in pieces that keep the interpreter lock."""
    for start in range(0, len(content), _PIECE):
        hashed.update(content[start : start + _PIECE])
    return hashed.hexdigest()


def _encode(kept: shapes.Kept[Any]) -> bytes:
    try:
        # Members come in the order of the shape, so equal content is equal bytes.
        return msgspec.json.encode(kept)
    except ValueError:
        problem = "a string is not Unicode"
    raise Unreadable(problem)


def _refuse_card_numbers(text: str) -> None:
    if find_card_numbers(text):
        raise Unreadable("an identifier holds what looks like a card number")


# ----------------------------------------------------------------------------------- text people typed


def _without_unwanted_text(kept: shapes.Shape) -> shapes.Shape:
    """The same object, its free text shortened, or dropped where it is not what it should be."""
    cleaner = _CLEANERS.get(type(kept))
    return kept if cleaner is None else cleaner(kept)


def _clean_metadata(kept: Any, *, claims: bool = False) -> Any:
    """`claims`: of this object it also counts for which tenant it was bought."""
    metadata = kept.metadata
    if metadata is None:
        return kept
    reference = _our_reference(metadata.keywright_reference)
    tenant = _tenant(metadata.tenant_id) if claims else None
    if (reference, tenant) == (metadata.keywright_reference, metadata.tenant_id):
        return kept if reference or tenant else msgspec.structs.replace(kept, metadata=None)
    cleaned = shapes.Metadata(reference, tenant) if reference or tenant else None
    return msgspec.structs.replace(kept, metadata=cleaned)


def _clean_subscription(kept: shapes.Subscription) -> shapes.Subscription:
    customer = kept.customer
    if isinstance(customer, shapes.ExpandedCustomer):
        known = shapes.ExpandedCustomer(customer.id, _email(customer.email))
        kept = msgspec.structs.replace(kept, customer=known)
    cleaned: shapes.Subscription = _clean_metadata(kept, claims=True)
    return cleaned


def _clean_customer(kept: shapes.Customer) -> shapes.Customer:
    return shapes.Customer(kept.id, _email(kept.email))


def _clean_intent(kept: shapes.Intent) -> shapes.Intent:
    cleaned: shapes.Intent = _clean_metadata(kept)
    return msgspec.structs.replace(cleaned, receipt_email=_email(kept.receipt_email))


def _clean_session(kept: shapes.Session) -> shapes.Session:
    details = kept.customer_details
    if details is not None:
        details = shapes.CustomerDetails(_email(details.email))
    kept = msgspec.structs.replace(
        kept,
        customer_details=details,
        customer_email=_email(kept.customer_email),
    )
    cleaned: shapes.Session = _clean_metadata(kept, claims=True)
    return cleaned


def _clean_invoice(kept: shapes.Invoice) -> shapes.Invoice:
    changes: dict[str, Any] = {"customer_email": _email(kept.customer_email)}
    if kept.parent is not None and kept.parent.subscription_details is not None:
        details = _clean_metadata(kept.parent.subscription_details)
        changes["parent"] = msgspec.structs.replace(kept.parent, subscription_details=details)
    if kept.subscription_details is not None:
        changes["subscription_details"] = _clean_metadata(kept.subscription_details)
    if kept.lines is not None:
        lines = tuple(_clean_metadata(line) for line in kept.lines.data)
        changes["lines"] = msgspec.structs.replace(kept.lines, data=lines)
    return msgspec.structs.replace(kept, **changes)


def _clean_account(kept: shapes.Account) -> shapes.Account:
    needs = kept.requirements
    if needs is None:
        return kept
    due = tuple(name for name in needs.currently_due if _NAME_OF_NEED.fullmatch(name))[:_MOST_NEEDS]
    reason = needs.disabled_reason
    reason = reason if reason is not None and _NAME_OF_NEED.fullmatch(reason) else None
    return msgspec.structs.replace(kept, requirements=shapes.Requirements(due, reason))


_CLEANERS: Final[Mapping[type, Callable[[Any], Any]]] = {
    shapes.Session: _clean_session,
    shapes.Invoice: _clean_invoice,
    shapes.FetchedInvoice: _clean_invoice,
    shapes.Subscription: _clean_subscription,
    shapes.Charge: _clean_metadata,
    shapes.Customer: _clean_customer,
    shapes.Intent: _clean_intent,
    shapes.Later: _clean_metadata,
    shapes.Account: _clean_account,
}


def _our_reference(text: str | None) -> str | None:
    """A reference of ours, or None: anything else in that place belongs to somebody else's bookkeeping."""
    if text is None or not _OUR_REFERENCE.fullmatch(text) or find_card_numbers(text):
        return None
    return text


def _tenant(text: str | None) -> str | None:
    """What may be the id of a tenant of ours, or None. Its length leaves no room for what somebody typed."""
    return text if text is not None and _OUR_TENANT.fullmatch(text) else None


def _email(text: str | None) -> str | None:
    if not text or len(text) > _MAX_EMAIL or not is_email_address(text):
        return None
    return None if find_card_numbers(text) else text


def _is_cut(kept: shapes.Shape) -> bool:
    """True when Stripe sent only the beginning of a list."""
    if isinstance(kept, shapes.Subscription):
        return kept.items is not None and kept.items.has_more
    if isinstance(kept, shapes.Invoice):
        return any(part is not None and part.has_more for part in (kept.lines, kept.payments))
    return isinstance(kept, shapes.Session) and kept.line_items is not None and kept.line_items.has_more
