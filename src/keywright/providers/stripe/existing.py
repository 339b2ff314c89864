"""Everything a seller has at Stripe, listed once: subscriptions in every status, and what is paid.

With each subscription come its customer and its newest invoice in the same answer. Where that one is not
paid, the newest that is says to when the customer has paid; only then is a request spent on it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec

from keywright.domain.errors import Invalid, NotFound
from keywright.import_ports import Turn
from keywright.ports import Change, ChangePage, Clock, PriceSeen
from keywright.providers.stripe.client import StripeClient, address, decoded, id_in
from keywright.providers.stripe.prices import price_in

A_SECOND: Final = (20.0, 60.0)
"""Requests in test mode and in live mode. Stripe takes 25 and 100 (https://docs.stripe.com/rate-limits)."""

Tell = Callable[[str, bytes, datetime], tuple[bytes, ...]]
"""An object as `fetched.…` envelopes, its cut lists made whole."""

_STAGES: Final = ("subscriptions", "refunds", "disputes")
# Money that was given back longer ago than any period lasts takes nothing back today.
_REFUNDED_WITHIN: Final = timedelta(days=400)
_WITH: Final = ("data.customer", "data.latest_invoice.payments")
# What such a subscription was last paid for is not told by its newest invoice.
_ASKED_FOR: Final = frozenset({"past_due", "unpaid", "canceled", "paused"})
_THREADS: Final = 4


class _Seen(msgspec.Struct, frozen=True):
    """What of a subscription decides what else is asked."""

    id: str
    status: str
    latest_invoice: msgspec.Raw = msgspec.Raw(b"null")


class _Invoice(msgspec.Struct, frozen=True):
    id: str
    status: str | None = None


class StripeExisting:
    """Implements Existing."""

    def __init__(self, client: StripeClient, clock: Clock, tell: Tell, turn: Turn) -> None:
        self._client = client
        self._clock = clock
        self._tell = tell
        self._turn = turn

    def page(self, cursor: str | None) -> ChangePage:
        """One page of the subscriptions, then of refunds and disputes. Raises as `Existing.page`."""
        stage, _, after = (cursor or f"{_STAGES[0]}:").partition(":")
        if stage not in _STAGES:
            raise Invalid("this is no place in a list of what is at Stripe")
        params: dict[str, Any] = {"starting_after": after} if after else {}
        if stage == "subscriptions":
            params |= {"status": "all", "expand": list(_WITH)}
        else:
            # To the hour, so that the pages of one listing are of one list.
            since = self._clock.now() - _REFUNDED_WITHIN
            params["created"] = {"gte": int(since.timestamp()) // 3600 * 3600}
        self._turn()
        listed, answered_at = self._client.page(address(stage), **params)
        told: list[bytes] = []
        if stage == "subscriptions":
            told = self._subscriptions([bytes(raw) for raw in listed.data], answered_at)
        else:
            for raw in listed.data:
                told += self._tell(stage.removesuffix("s"), bytes(raw), answered_at)
        last = id_in(listed.data[-1]) if listed.has_more and listed.data else None
        return ChangePage(tuple(Change(raw, fetched=True) for raw in told), _next(stage, last))

    def find(self, subscription: str) -> ChangePage:
        """One subscription. Raises as `Existing.find`."""
        self._turn()
        inside = [name.removeprefix("data.") for name in _WITH]
        found = self._client.get(address("subscriptions", subscription), expand=inside)
        told = self._subscriptions([found.body], found.answered_at)
        return ChangePage(tuple(Change(raw, fetched=True) for raw in told))

    def prices(self, ids: Sequence[str]) -> tuple[PriceSeen, ...]:
        """These prices. Raises as `Existing.prices`."""
        found = []
        for id_ in ids:
            self._turn()
            try:
                answer = self._client.get(address("prices", id_), expand=["product"])
            except (NotFound, Invalid):
                continue
            seen = price_in(decoded(answer.body, dict[str, Any]))
            found += [seen] if seen is not None else []
        return tuple(found)

    def _subscriptions(self, listed: Sequence[bytes], answered_at: datetime) -> list[bytes]:
        """Each subscription after its invoices: so the purchase is met with what was paid for it."""
        seen = [decoded(raw, _Seen) for raw in listed]
        wanting = [one.id for one in seen if one.status in _ASKED_FOR and not _is_paid(one)]
        with ThreadPoolExecutor(_THREADS, thread_name_prefix="import") as pool:
            paid = dict(zip(wanting, pool.map(self._newest_paid, wanting), strict=True))
        told: list[bytes] = []
        for raw, one in zip(listed, seen, strict=True):
            told += paid.get(one.id, ())
            newest = bytes(one.latest_invoice)
            if newest.startswith(b"{"):
                told += self._tell("invoice", newest, answered_at)
            told += self._tell("subscription", raw, answered_at)
        return told

    def _newest_paid(self, subscription: str) -> tuple[bytes, ...]:
        self._turn()
        asked = {"subscription": subscription, "status": "paid", "limit": 1, "expand": ["data.payments"]}
        listed, answered_at = self._client.page(address("invoices"), **asked)
        return tuple(one for raw in listed.data for one in self._tell("invoice", bytes(raw), answered_at))


def _is_paid(seen: _Seen) -> bool:
    newest = bytes(seen.latest_invoice)
    return newest.startswith(b"{") and decoded(newest, _Invoice).status == "paid"


def _next(stage: str, last: str | None) -> str | None:
    if last is not None:
        return f"{stage}:{last}"
    at = _STAGES.index(stage) + 1
    return f"{_STAGES[at]}:" if at < len(_STAGES) else None
