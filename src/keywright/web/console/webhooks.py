"""Webhooks to others: endpoints with what is owed to them, one delivery on a page, and what staff do."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
from litestar import Response, get
from litestar.params import FromPath, FromQuery

from keywright.domain.errors import TooMany
from keywright.flows import webhook_deliveries, webhooks
from keywright.flows.webhook_deliveries import STATUSES, DeliveryRow
from keywright.flows.webhooks import EndpointRow
from keywright.web.console import webhook_acts, words
from keywright.web.console.asking import routes_of
from keywright.web.console.gate import Web, needs, signed_of
from keywright.web.console.shell import Shell
from keywright.web.console.webhook_acts import DELIVERY, ENDPOINT, LIST

_PAGE: Final = 50
_BADGES: Final = {"delivered": "", "pending": "wait", "failed": "bad"}
_WHY_OFF: Final = {
    "staff": "Staff turned it off.",
    "gone": "It answered 410: gone. It was turned off, and a mail about it sent.",
    "failing": "It took nothing for five days. It was turned off, and a mail about it sent.",
}
_DONE: Final = {
    "changed": "The endpoint was changed.",
    "paused": "Nothing is sent to it any more.",
    "resumed": "It is told again. What waited for it goes out now.",
    "deleted": "The endpoint is gone.",
    "redelivered": "It is due now, and goes out with the next turn.",
    "tested": "The test was sent. This is what came back.",
}


def routes(shell: Shell) -> list[Any]:
    """`/console/webhooks` and beneath it. All of it is the administrators': an address may be a secret."""
    made = [_listing(shell), _showing(shell), _delivery(shell)]
    for path, steps, proven in webhook_acts.acts(at_most_two()):
        made += routes_of(shell, path, "decide", steps, proven=proven)
    return made


def at_most_two() -> webhook_acts.Outside:
    """Who asks addresses of others from a page waits for them: two at a time, or the console would hang."""
    turns = threading.BoundedSemaphore(2)

    @contextmanager
    def outside() -> Iterator[None]:
        if not turns.acquire(blocking=False):
            raise TooMany("Two other addresses are being asked. Please try again.", retry_after=15)
        try:
            yield
        finally:
            turns.release()

    return outside


class ShownEndpoint(msgspec.Struct, frozen=True):
    id: str
    host: str
    url: str
    note: str
    told: str
    state: str
    badge: str
    why: str


def _endpoint(one: EndpointRow) -> ShownEndpoint:
    state, badge, why = "On", "", ""
    if not one.enabled:
        state, badge = "Off", "still" if one.off_reason == "staff" else "bad"
        why = _WHY_OFF.get(one.off_reason or "", "")
    elif one.failing_since is not None:
        state, badge = "Failing", "wait"
        why = (
            f"It has taken nothing since {words.moment(one.failing_since)}. After five days it is turned off."
        )
    return ShownEndpoint(
        id=one.id,
        host=urlsplit(one.url).hostname or one.url,
        url=one.url,
        note=one.note,
        told=webhook_acts.told_of(one.types),
        state=state,
        badge=badge,
        why=why,
    )


class ShownDelivery(msgspec.Struct, frozen=True):
    id: str
    endpoint: str
    type: str
    status: str
    badge: str
    attempts: str
    created: str
    onward: str
    last: str


def _row(one: DeliveryRow) -> ShownDelivery:
    last = one.last_error or (f"HTTP {one.last_status}" if one.last_status is not None else "Not sent yet")
    return ShownDelivery(
        id=one.id,
        endpoint=one.endpoint,
        type=one.type,
        status=one.status.capitalize(),
        badge=_BADGES[one.status],
        attempts=f"{one.attempts:,}",
        created=words.moment(one.created_at),
        onward=words.moment(one.next_attempt_at) if one.next_attempt_at is not None else "None",
        last=last,
    )


def _listing(shell: Shell) -> Any:
    gate, context = shell.gate, shell.context

    @get(LIST, **needs(gate, "decide"))
    async def list_webhooks(request: Web, done: FromQuery[str] = "") -> Response[Any]:
        tenant = signed_of(request).staff.tenant_id
        found = await gate.run(lambda: webhooks.list_endpoints(context, tenant))
        return shell.page(
            request,
            "console_webhooks.html",
            notice=_DONE.get(done, ""),
            rows=[_endpoint(one) for one in found.items],
        )

    return list_webhooks


def _showing(shell: Shell) -> Any:
    gate, context = shell.gate, shell.context

    @get(ENDPOINT, **needs(gate, "decide"))
    async def show_webhook(
        request: Web,
        endpoint_id: FromPath[str],
        done: FromQuery[str] = "",
        status: FromQuery[str] = "",
        after: FromQuery[str] = "",
    ) -> Response[Any]:
        tenant = signed_of(request).staff.tenant_id
        one = await gate.run(lambda: webhooks.show(context, tenant, endpoint_id))
        filters = {"endpoint": endpoint_id, **({"status": status} if status else {})}
        page = await gate.run(
            lambda: webhook_deliveries.list_deliveries(
                context, tenant, filters, cursor=after or None, limit=_PAGE
            )
        )
        return shell.page(
            request,
            "console_webhook.html",
            notice=_DONE.get(done, ""),
            one=_endpoint(one),
            facts=_facts(one),
            enabled=one.enabled,
            statuses=STATUSES,
            chosen=status,
            rows=[_row(each) for each in page.items],
            onward=page.next_cursor,
        )

    return show_webhook


def _facts(one: EndpointRow) -> list[tuple[str, str]]:
    shown = [
        ("Told of", webhook_acts.told_of(one.types)),
        ("Made", words.moment(one.created_at)),
        ("For", one.note or "Nobody wrote it down"),
    ]
    if one.former_secret_until is not None:
        shown.append(("The secret before signs until", words.moment(one.former_secret_until)))
    if one.off_at is not None:
        shown.append(("Off since", words.moment(one.off_at)))
    return shown


def _delivery(shell: Shell) -> Any:
    gate, context = shell.gate, shell.context

    @get(DELIVERY, **needs(gate, "decide"))
    async def show_delivery(
        request: Web, delivery_id: FromPath[str], done: FromQuery[str] = ""
    ) -> Response[Any]:
        tenant = signed_of(request).staff.tenant_id
        found = await gate.run(lambda: webhook_deliveries.show(context, tenant, delivery_id))
        row = _row(found)
        facts = [
            ("webhook-id", found.id),
            ("Happened", row.created),
            ("Attempts", row.attempts),
            ("Last answer", row.last),
            ("Next attempt", row.onward),
            ("Delivered", words.moment(found.delivered_at)),
        ]
        return shell.page(
            request,
            "console_webhook_delivery.html",
            notice=_DONE.get(done, ""),
            one=row,
            facts=facts,
            body=msgspec.json.format(msgspec.json.encode(found.body), indent=2).decode(),
        )

    return show_delivery
