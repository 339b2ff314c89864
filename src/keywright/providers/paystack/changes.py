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
from keywright.import_ports import Turn
from keywright.ports import Change, ChangePage
from keywright.providers.paystack.envelopes import enveloped, refunded_number, rfc3339, with_begun
from keywright.providers.paystack.http import Answer, PaystackHttp
from keywright.providers.paystack.links import customer_of, subscription_of
from keywright.providers.paystack.reduce import Data, code, first_moment, plan_of

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

    def __init__(
        self, http: PaystackHttp, turn: Turn | None = None, *, subaccount: str | None = None
    ) -> None:
        """`turn`: what to wait for before each request; without one it is a walking pace. `subaccount`: only
        payments that are split with it, each with its subscription: the other lists do not say whose."""
        self._subaccount = subaccount
        self._http = http
        self._turn = turn
        self._gathered: _Gathered | None = None
        self._lock = threading.Lock()

    def page(
        self, since: datetime, cursor: str | None, *, subscriptions_since: datetime | None = None
    ) -> ChangePage:
        """One page of changes; `cursor` is the `next` of the page before.

        `subscriptions_since`: for these another time, because an old one that ended has no payment any more.

        Raises ProviderUnavailable, Misconfigured; Invalid for a cursor that is none.
        """
        stage, _, count = (cursor or f"{_STAGES[0]}:1").partition(":")
        if stage not in _STAGES or not count.isdecimal() or len(count) > 6:
            raise Invalid("this is no cursor of a Paystack listing")
        if self._subaccount is not None and stage != _STAGES[0]:
            # Of a run that began before the account was connected: the other lists are everybody's.
            raise Invalid("this cursor is none of a subaccount's listing")
        if cursor is None:
            with self._lock:
                self._gathered = None
        if subscriptions_since is not None:
            self._gather(subscriptions_since)
        pages: Mapping[str, Callable[[datetime, int], tuple[tuple[bytes, ...], bool]]] = {
            "transaction": self._transactions,
            "subscription": self._subscriptions,
            "refund": self._refunds,
            "dispute": self._disputes,
        }
        told, more = pages[stage](since, int(count))
        following: str | None = f"{stage}:{int(count) + 1}"
        if not more and self._subaccount is not None:
            following = None
        elif not more:
            at = _STAGES.index(stage) + 1
            following = f"{_STAGES[at]}:1" if at < len(_STAGES) else None
        return ChangePage(tuple(Change(raw, fetched=True) for raw in told), following)

    def _transactions(self, since: datetime, page: int) -> tuple[tuple[bytes, ...], bool]:
        gathered = self._gather(since)
        answer, listed = self._list("/transaction", page, since - _LATE_PAYMENT)
        told = []
        for one in listed:
            if one.get("status") in _TELLING and _is_since(one, since) and self._is_mine(one):
                mine = gathered.by_pair.get((customer_of(one), plan_of(one)), [])
                begun = subscription_of(one, mine) if plan_of(one) is not None else None
                told.append(enveloped("transaction", with_begun(one, begun), answer.at))
        return tuple(told), len(listed) == _PAGE

    def _is_mine(self, transaction: Data) -> bool:
        return self._subaccount in (None, code(transaction.get("subaccount"), "subaccount_code"))

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
            if self._gathered is not None and self._gathered.since <= since:
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
        if self._turn is not None:
            self._turn()
        answer = self._http.get(path, paced=self._turn is None, perPage=_PAGE, page=page, **span)
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
