"""What happened at Paystack since a moment, listed: the cure for webhooks that never arrived.

Transactions come first, each with its subscription, so that a purchase is met under all its names at once;
then the subscriptions that changed, the refunds and the disputes. Lists are asked for at a walking pace.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec

from keywright.domain.errors import Invalid, ProviderUnavailable
from keywright.ports import Change, ChangePage
from keywright.providers.paystack.envelopes import enveloped, refunded_number, rfc3339, with_begun
from keywright.providers.paystack.http import Answer, PaystackHttp
from keywright.providers.paystack.links import customer_of, subscription_of
from keywright.providers.paystack.reduce import Data, first_moment, plan_of

_PAGE: Final = 100
_OVERLAP: Final = timedelta(minutes=5)
# Lists are filtered by when an object was made; what it became since is looked at here.
_LATE_PAYMENT: Final = timedelta(days=2)
_LATE_ANSWER: Final = timedelta(days=120)
_STAGES: Final = ("transaction", "subscription", "refund", "dispute")
_TELLING: Final = frozenset({"success", "reversed", "pending", "processing", "queued"})
_CHANGED: Final = ("updatedAt", "updated_at", "resolvedAt", "refunded_at", "cancelledAt", "paid_at", "paidAt")
_MADE: Final = ("createdAt", "created_at")


class _Gathered(msgspec.Struct):
    """All subscriptions, as one listing found them: by customer and plan, and those that changed."""

    since: datetime
    by_pair: dict[tuple[str | None, str | None], list[Data]]
    changed: list[bytes]


class Listing:
    """Pages through everything. `page` may be called by any thread; a listing is remembered between pages."""

    def __init__(self, http: PaystackHttp) -> None:
        self._http = http
        self._gathered: _Gathered | None = None
        self._lock = threading.Lock()

    def page(self, since: datetime, cursor: str | None) -> ChangePage:
        """One page of changes; `cursor` is the `next` of the page before.

        Raises ProviderUnavailable, Misconfigured; Invalid for a cursor that is none.
        """
        stage, _, count = (cursor or f"{_STAGES[0]}:1").partition(":")
        if stage not in _STAGES or not count.isdecimal() or len(count) > 6:
            raise Invalid("this is no cursor of a Paystack listing")
        if cursor is None:
            with self._lock:
                self._gathered = None
        pages: Mapping[str, Callable[[datetime, int], tuple[tuple[bytes, ...], bool]]] = {
            "transaction": self._transactions,
            "subscription": self._subscriptions,
            "refund": self._refunds,
            "dispute": self._disputes,
        }
        told, more = pages[stage](since, int(count))
        following: str | None = f"{stage}:{int(count) + 1}"
        if not more:
            at = _STAGES.index(stage) + 1
            following = f"{_STAGES[at]}:1" if at < len(_STAGES) else None
        return ChangePage(tuple(Change(raw, fetched=True) for raw in told), following)

    def _transactions(self, since: datetime, page: int) -> tuple[tuple[bytes, ...], bool]:
        gathered = self._gather(since)
        answer, listed = self._list("/transaction", page, since - _LATE_PAYMENT)
        told = []
        for one in listed:
            if one.get("status") in _TELLING and _is_since(one, since):
                mine = gathered.by_pair.get((customer_of(one), plan_of(one)), [])
                begun = subscription_of(one, mine) if plan_of(one) is not None else None
                told.append(enveloped("transaction", with_begun(one, begun), answer.at))
        return tuple(told), len(listed) == _PAGE

    def _subscriptions(self, since: datetime, page: int) -> tuple[tuple[bytes, ...], bool]:
        changed = self._gather(since).changed
        return tuple(changed[(page - 1) * _PAGE : page * _PAGE]), len(changed) > page * _PAGE

    def _refunds(self, since: datetime, page: int) -> tuple[tuple[bytes, ...], bool]:
        answer, listed = self._list("/refund", page, since - _LATE_ANSWER)
        told = [
            enveloped(
                "refunds",
                {"domain": one.get("domain"), "id": refunded_number(one), "refunds": [one]},
                answer.at,
            )
            for one in listed
            if _is_since(one, since)
        ]
        return tuple(told), len(listed) == _PAGE

    def _disputes(self, since: datetime, page: int) -> tuple[tuple[bytes, ...], bool]:
        answer, listed = self._list("/dispute", page, since - _LATE_ANSWER)
        told = [enveloped("dispute", one, answer.at) for one in listed if _is_since(one, since)]
        return tuple(told), len(listed) == _PAGE

    def _gather(self, since: datetime) -> _Gathered:
        """Every subscription there is: Paystack lists them by no date."""
        with self._lock:
            if self._gathered is not None and self._gathered.since == since:
                return self._gathered
        gathered = _Gathered(since, {}, [])
        page, more = 1, True
        while more:
            answer, listed = self._list("/subscription", page, None)
            for one in listed:
                gathered.by_pair.setdefault((customer_of(one), plan_of(one)), []).append(_slim(one))
                if _is_since(one, since):
                    gathered.changed.append(enveloped("subscription", one, answer.at))
            page, more = page + 1, len(listed) == _PAGE
        with self._lock:
            self._gathered = gathered
        return gathered

    def _list(self, path: str, page: int, since: datetime | None) -> tuple[Answer, list[Data]]:
        span = {"from": rfc3339(since)} if since is not None else {}
        if path == "/dispute":
            span["to"] = rfc3339(self._http.now() + timedelta(days=1))  # disputes want both ends named
        answer = self._http.get(path, paced=True, perPage=_PAGE, page=page, **span)
        if not isinstance(answer.data, list):
            raise ProviderUnavailable("Paystack's answer holds no list")
        return answer, [one for one in answer.data if isinstance(one, Mapping)]


def _is_since(data: Data, since: datetime) -> bool:
    told = [first_moment(data, name) for name in (*_CHANGED, *_MADE)]
    latest = max((at for at in told if at is not None), default=None)
    return latest is None or latest >= since - _OVERLAP


def _slim(subscription: Data) -> dict[str, Any]:
    """What links a payment to it; thousands of them are held at once."""
    wanted = (
        "subscription_code",
        "plan",
        "next_payment_date",
        "customer",
        "createdAt",
        "created_at",
        "most_recent_invoice",
        "invoices",
    )
    return {name: subscription[name] for name in wanted if name in subscription}
