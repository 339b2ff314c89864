"""Everything a seller has at PayPal, listed once: each subscription with its payments.

The list names subscriptions and tells nothing of what was paid, so two requests go to each. Not every account
may list them; one that may not names its subscriptions in the file of the import.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from keywright.domain.errors import Invalid, NotFound, Unsupported
from keywright.import_ports import Turn
from keywright.ports import Change, ChangePage, PriceSeen
from keywright.providers.paypal import shapes
from keywright.providers.paypal.client import PayPalClient
from keywright.providers.paypal.prices import price_in

A_SECOND: Final = 8.0
"""PayPal publishes no rate limit."""

_SUBSCRIPTIONS: Final = "/v1/billing/subscriptions"
_SINCE: Final = "2010-01-01T00:00:00Z"
_PAGE: Final = 20
_THREADS: Final = 4

Fetch = Callable[[str], tuple[bytes, ...]]
"""A subscription with its payments, in two requests."""


class PayPalExisting:
    """Implements Existing."""

    def __init__(self, client: PayPalClient, fetch: Fetch, turn: Turn) -> None:
        self._client = client
        self._fetch = fetch
        self._turn = turn

    def page(self, cursor: str | None) -> ChangePage:
        """One page of the subscriptions. Raises as `Existing.page`."""
        number = int(cursor) if cursor is not None and cursor.isdecimal() and len(cursor) < 6 else 1
        params = {"created_after": _SINCE, "page": str(number), "page_size": str(_PAGE)}
        self._turn()
        try:
            body = self._client.get(_SUBSCRIPTIONS, {**params, "total_required": "true"}).body
        except (NotFound, Invalid):
            detail = "PayPal does not let this account list its subscriptions: name them in the file."
            raise Unsupported(detail) from None
        ids = [one.get("id") for one in _listed(body)]
        known = [id_ for id_ in ids if isinstance(id_, str) and shapes.is_id(id_)]
        with ThreadPoolExecutor(_THREADS, thread_name_prefix="import") as pool:
            told = [raw for several in pool.map(self._whole, known) for raw in several]
        total = body.get("total_items")
        return ChangePage(
            tuple(Change(raw, fetched=True) for raw in told),
            str(number + 1) if len(ids) >= _PAGE else None,
            total if isinstance(total, int) else None,
        )

    def find(self, subscription: str) -> ChangePage:
        """One subscription. Raises as `Existing.find`."""
        if not shapes.is_id(subscription):
            raise Invalid("that is no id of PayPal's")
        return ChangePage(tuple(Change(raw, fetched=True) for raw in self._whole(subscription)))

    def prices(self, ids: Sequence[str]) -> tuple[PriceSeen, ...]:
        """These plans. Raises as `Existing.prices`."""
        found = []
        for id_ in ids:
            self._turn()
            try:
                seen = price_in(self._client, {"id": id_})
            except (NotFound, Invalid):
                continue
            found += [seen] if seen is not None else []
        return tuple(found)

    def _whole(self, id_: str) -> tuple[bytes, ...]:
        for _ in range(2):  # the subscription, and the list of its payments
            self._turn()
        return self._fetch(id_)


def _listed(body: dict[str, Any]) -> list[dict[str, Any]]:
    listed = body.get("subscriptions")
    return [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
