"""Paystack's webhooks: is it authentic, and what of it do we keep.

The API's secret key signs them; there is no secret of their own, no time and no event id. A recorded delivery
can be played again for ever, so an event never proves anything: it says what to ask Paystack for.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, Literal

import msgspec

from keywright.domain.card_numbers import find_card_numbers
from keywright.domain.errors import BadSignature, Misconfigured, Unreadable
from keywright.domain.facts import Projected, Reading
from keywright.domain.strict_json import StrictJSONError, loads
from keywright.providers.paystack import shapes
from keywright.providers.paystack.facts import read_kept, says_something
from keywright.providers.paystack.reduce import PICKS, Data, kept_of, moment, within

SIGNATURE_HEADER = "x-paystack-signature"
FETCHED = "fetched."
"""What the types of our own envelopes begin with. Nobody else may send one."""

_Standing = Literal["read", "unknown"]
_SIGNATURE: Final = re.compile(r"[0-9a-f]{128}")
_TIMES: Final = (
    "updatedAt",
    "updated_at",
    "resolvedAt",
    "paid_at",
    "paidAt",
    "created_at",
    "createdAt",
    "period_start",
)
# An event that tells no time of its own: it orders nothing, so a fixed one does.
_TIMELESS: Final = datetime(2016, 1, 1, tzinfo=UTC)


class PaystackEvents:
    """The inbound half of Paystack. Pure: no clock, no network, no database."""

    def __init__(self, *, live: bool = False) -> None:
        """`live`: the mode of the account, for events that do not tell theirs, such as lists."""
        self._live = live

    def authenticate(
        self, raw: bytes, headers: Mapping[str, str], secrets: Sequence[str], now: datetime
    ) -> None:
        """Check `x-paystack-signature`, the HMAC-SHA512 of the raw bytes in lower-case hexadecimal.

        Args:
            raw: the body as received. Paystack's own sample signs a body it serialized anew; that breaks on
                the spelling of numbers and escapes.
            headers: lower-case names. A header that came twice is joined, and so no longer 128 digits.
            secrets: the API's secret keys; the old and the new one while they change.
            now: not used, since no time is signed.

        Raises:
            BadSignature: no secret made it.
            Misconfigured: there is no secret, or an empty one, which anybody could sign with.
        """
        del now
        if not secrets or not all(secret.strip() for secret in secrets):
            raise Misconfigured("this webhook endpoint has no secret key")
        told = headers.get(SIGNATURE_HEADER, "")
        if not _SIGNATURE.fullmatch(told):
            raise BadSignature("the signature header is missing or malformed")
        genuine = False
        for secret in secrets:
            key = secret.encode("utf-8", "surrogateescape")
            # No early way out: the time taken tells nothing about which secret was right.
            genuine |= hmac.compare_digest(hmac.digest(key, raw, "sha512").hex(), told)
        if not genuine:
            raise BadSignature("no signature fits this body and the account's secret keys")

    def obtain(self, raw: bytes, headers: Mapping[str, str], now: datetime) -> None:
        """Nothing: the account's keys are all that a signature of Paystack needs."""

    def project(self, raw: bytes, *, fetched: bool = False) -> Projected:
        """Reduce an authentic body, or with `fetched` an envelope of `api.py`, to what may be kept.

        Raises:
            Unreadable: not strict JSON, not an event, a member of the wrong type, or a card number in an id.
        """
        event = _loads(raw)
        kind = _kind(event.get("event"))
        told = event.get("data")
        data = told if isinstance(told, Mapping) else {}
        if kind not in PICKS or kind.startswith(FETCHED) != fetched:
            return self._projected(kind, "unknown", b"{}", raw, data)
        if not isinstance(told, Mapping):
            raise Unreadable("the event has no object that it is about")
        kept = kept_of(kind, data)
        body = msgspec.json.encode(kept)
        if not fetched:
            return self._projected(kind, "read", body, raw, data, _key(kind, kept, raw))
        standing: _Standing = "read" if says_something(kept) else "unknown"
        at = moment(event.get("at"))
        if at is None:
            raise Unreadable("a fetched object without the time it was fetched at")
        return self._projected(kind, standing, body, raw, data, _name_of(kept), at=at)

    def read(self, projected: Projected) -> Reading:
        """The facts of a projection whose standing is `read`. Raises Unreadable."""
        return read_kept(projected)

    def _projected(
        self,
        kind: str,
        standing: _Standing,
        body: bytes,
        raw: bytes,
        data: Data,
        key: str | None = None,
        *,
        at: datetime | None = None,
    ) -> Projected:
        digest = hashlib.sha256(body).hexdigest()
        sha256 = hashlib.sha256(raw).hexdigest()
        if at is not None:
            key = f"{kind}:{key or ''}:{int(at.timestamp())}:d{digest[:16]}"
        elif key is None:
            key = f"{kind}:{sha256}"
        if find_card_numbers(f"{key}\n{body.decode()}"):
            raise Unreadable("an identifier holds what looks like a card number")
        return Projected(
            dedupe_key=key,
            type=kind,
            occurred_at=at or _occurred_at(data),
            live=self._mode(data),
            account=None,
            standing=standing,
            body=body,
            digest=digest,
            raw_sha256=sha256,
            raw_size=len(raw),
        )

    def _mode(self, data: Data) -> bool:
        told = data.get("domain", within(data, "transaction").get("domain"))
        return {"live": True, "test": False}.get(told, self._live) if isinstance(told, str) else self._live


def _loads(raw: bytes) -> dict[str, Any]:
    problem = "the body is not a JSON object"
    try:
        event = loads(raw)
        if isinstance(event, dict):
            return event
    except StrictJSONError as error:
        problem = f"the body is not acceptable JSON: {error}"
    raise Unreadable(problem)


def _kind(told: Any) -> str:
    if not isinstance(told, str) or not told:
        raise Unreadable("the body does not name its event")
    try:
        return msgspec.convert(told, shapes.Kind)
    except msgspec.ValidationError:
        return "unknown"  # not a name of Paystack's style: nothing for us, and nothing to keep


def _name_of(kept: shapes.Kept) -> str:
    """What a fetched object is called: by what is kept of it, as the key is stored like the rest."""
    names = (
        kept.transaction and kept.transaction.reference,
        kept.subscription and kept.subscription.code,
        kept.refunds and (kept.refunds.reference or kept.refunds.number),
        kept.dispute and kept.dispute.number,
    )
    return next((name for name in names if name), "")


def _key(kind: str, kept: shapes.Kept, raw: bytes) -> str:
    """What makes an event this one, since Paystack gives it no id.

    A payment succeeds once, so its number is enough. All others can happen again with the same names, and a
    second look too many is harmless where a missed one is not: only equal bytes are the same event.
    """
    if kept.transaction is not None and kept.transaction.number is not None:
        return f"{kind}:{kept.transaction.number}"
    about = kept.subscription or kept.invoice
    name = about.code if about is not None else None
    if kept.refunded is not None:
        name = kept.refunded.reference
    elif kept.dispute is not None:
        name = kept.dispute.number
    return f"{kind}:{name or ''}:{hashlib.sha256(raw).hexdigest()}"


def _occurred_at(data: Data) -> datetime:
    """The latest time an event tells of; a fixed one when it tells none. Nothing is ordered by it."""
    told = (moment(data.get(name)) for name in _TIMES)
    return max((one for one in told if one is not None), default=_TIMELESS)
