"""Everything a seller has at Paystack, listed once: payments with their subscription, then all of these."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final
from urllib.parse import quote

from keywright.domain.errors import Invalid, NotFound
from keywright.import_ports import Turn
from keywright.ports import ChangePage, PriceSeen
from keywright.providers.paystack.changes import Listing
from keywright.providers.paystack.http import PaystackHttp
from keywright.providers.paystack.prices import price_in

A_SECOND: Final = 5.0
"""Paystack publishes no rate limit."""

_EVER: Final = datetime(2010, 1, 1, tzinfo=UTC)
# The longest period that Paystack has is a year.
_PAID_WITHIN: Final = timedelta(days=400)


class PaystackExisting:
    """Implements Existing."""

    def __init__(self, http: PaystackHttp, turn: Turn, *, subaccount: str | None = None) -> None:
        """`subaccount`: only its payments, each with its subscription."""
        self._http = http
        self._turn = turn
        self._listing = Listing(http, turn, subaccount=subaccount)

    def page(self, cursor: str | None) -> ChangePage:
        """One page: of payments, of subscriptions, of refunds, of disputes. Raises as `Existing.page`."""
        since = self._http.now() - _PAID_WITHIN
        return self._listing.page(since, cursor, subscriptions_since=_EVER)

    def find(self, subscription: str) -> ChangePage:
        """Raises Invalid: Paystack lists all subscriptions to everybody, so none is asked for by itself."""
        raise Invalid(f"Paystack's list has no subscription {subscription}")

    def prices(self, ids: Sequence[str]) -> tuple[PriceSeen, ...]:
        """These plans. Raises as `Existing.prices`."""
        found = []
        for id_ in ids:
            self._turn()
            try:
                seen = price_in(self._http.get(f"/plan/{quote(id_, safe='')}").data, gone=True)
            except (NotFound, Invalid):
                continue
            found += [seen] if seen is not None else []
        return tuple(found)
