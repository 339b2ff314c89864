"""The envelopes that carry what was fetched to `hook.py`, as if it were an event."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from keywright.providers.paystack.reduce import Data, number, within


def enveloped(kind: str, data: Data, at: datetime) -> bytes:
    """An answer as an event of ours, dated with the moment it was true."""
    return msgspec.json.encode({"event": f"fetched.{kind}", "data": data, "at": at.isoformat()})


def with_begun(transaction: Data, subscription: Data | None) -> dict[str, Any]:
    """A transaction with its subscription beside it, for `reduce.py`."""
    return {**transaction, "begun": subscription} if subscription is not None else dict(transaction)


def refunds_of(transaction: Data, refunds: list[Data]) -> dict[str, Any]:
    """The refunds of one transaction as one object.

    They were asked for by transaction and are looked at again: an unknown filter is ignored by many an API.
    """
    id_ = number(transaction.get("id"))
    mine = [one for one in refunds if refunded_number(one) in (None, id_)]
    return {
        "domain": transaction.get("domain"),
        "id": transaction.get("id"),
        "reference": transaction.get("reference"),
        "refunds": mine,
    }


def refunded_number(refund: Data) -> str | None:
    """The number of the transaction a refund belongs to."""
    return number(refund.get("transaction")) or number(within(refund, "transaction").get("id"))


def rfc3339(at: datetime) -> str:
    """A time as Paystack's filters take it."""
    return at.strftime("%Y-%m-%dT%H:%M:%S.000Z")
