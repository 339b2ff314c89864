"""The inbox: the list with its filters, one event on a page, and a replay, tried out before it is done."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from litestar import Response, get, post
from litestar.params import FromPath, FromQuery

from keywright.domain import rule
from keywright.domain.errors import Conflict, Invalid, Misconfigured, ProviderUnavailable
from keywright.flows import asked_for, console, events
from keywright.flows.events import EventRow, EventShown, Replayed
from keywright.flows.replay import Difference
from keywright.web.console import outcomes, words
from keywright.web.console.gate import Web, needs, signed_of
from keywright.web.console.shell import Shell
from keywright.web.storefront.words import full_name, provider_name

_LIST: Final = "/console/events"
_PAGE: Final = 50
_ANY: Final = "any"
_PROVIDERS: Final = ("stripe", "paystack", "paypal")
_REFUSALS: Final = (Conflict, Invalid, ProviderUnavailable, Misconfigured)


def routes(shell: Shell) -> list[Any]:
    """`/console/events` and beneath it."""
    return [_listing(shell), _showing(shell), _replaying(shell), _replaying_many(shell)]


class ShownEvent(msgspec.Struct, frozen=True):
    id: str
    type: str
    provider: str
    event: str
    status: str
    badge: str
    reason: str
    error: str
    received: str


def _row(one: EventRow) -> ShownEvent:
    return ShownEvent(
        id=one.id,
        type=outcomes.called(one.type),
        provider=provider_name(one.provider),
        event=one.event,
        status=one.status.capitalize(),
        badge=words.badge(one.status),
        reason=outcomes.reason(one.type, one.reason or ""),
        error=one.error if one.error and one.error != one.reason else "",
        received=words.moment(one.received_at),
    )


def _listing(shell: Shell) -> Any:
    gate, context = shell.gate, shell.context

    @get(_LIST, **needs(gate, "look"))
    async def list_events(
        request: Web,
        status: FromQuery[str] = "",
        provider: FromQuery[str] = "",
        type: FromQuery[str] = "",  # noqa: A002  # the name of the filter in the API, too
        after: FromQuery[str] = "",
    ) -> Response[Any]:
        chosen = {"status": status, "provider": provider, "type": type.strip()}
        filters = _filters(chosen)
        but = None if status else "ignored"
        tenant = signed_of(request).staff.tenant_id
        page = await gate.run(
            lambda: events.list_events(context, tenant, filters, cursor=after or None, limit=_PAGE, but=but)
        )
        return shell.page(
            request,
            "console_events.html",
            chosen=chosen,
            statuses=events.STATUSES,
            providers=[(one, provider_name(one)) for one in _PROVIDERS],
            is_narrow=bool(filters),
            rows=[_row(one) for one in page.items],
            onward=page.next_cursor,
        )

    return list_events


def _filters(chosen: Mapping[str, str]) -> dict[str, str]:
    """What narrows a list: `any` status does not."""
    return {name: value for name, value in chosen.items() if value and (name, value) != ("status", _ANY)}


def _showing(shell: Shell) -> Any:
    gate, context = shell.gate, shell.context

    @get(f"{_LIST}/{{event_id:str}}", **needs(gate, "look"))
    async def show(request: Web, event_id: FromPath[str], done: FromQuery[str] = "") -> Response[Any]:
        tenant = signed_of(request).staff.tenant_id
        found = await gate.run(lambda: events.show(context, tenant, event_id))
        return await _page(shell, request, found, notice=words.DONE.get(done, ""))

    return show


def _replaying(shell: Shell) -> Any:
    gate, context = shell.gate, shell.context

    def replay(tenant: str, event_id: str, actor: str, *, dry: bool) -> Difference:
        made = events.replay_one(context, tenant, event_id, dry_run=dry)
        if not dry:
            asked_for.note_replay(context, tenant, actor, made)
        return made

    @post(f"{_LIST}/{{event_id:str}}/replay", status_code=200, **needs(gate, "decide"))
    async def again(request: Web, event_id: FromPath[str]) -> Response[Any]:
        told = await gate.act_form(request)
        signed, dry = signed_of(request), told.get("step") != "do"
        tenant = signed.staff.tenant_id
        found = await gate.run(lambda: events.show(context, tenant, event_id))
        try:
            made = await gate.run(lambda: replay(tenant, event_id, signed.actor, dry=dry))
        except _REFUSALS as error:
            return await _page(shell, request, found, problem=error.detail, status=error.status)
        if dry:
            return await _page(shell, request, found, tried=made)
        return shell.go(f"{_LIST}/{found.id}?done=replayed")

    return again


def _replaying_many(shell: Shell) -> Any:
    gate, context = shell.gate, shell.context

    def replay(tenant: str, actor: str, filters: dict[str, str], *, dry: bool) -> Replayed:
        made = events.replay_page(context, tenant, filters, dry_run=dry, limit=_PAGE)
        if not dry:
            asked_for.note_replays(context, tenant, actor, filters, made.items)
        return made

    @post(f"{_LIST}/replay", status_code=200, **needs(gate, "decide"))
    async def again(request: Web) -> Response[Any]:
        told = await gate.act_form(request)
        signed, dry = signed_of(request), told.get("step") != "do"
        chosen = {name: told.get(name, "").strip() for name in ("status", "provider", "type")}
        filters = _filters(chosen)
        if not filters:
            raise Invalid("Choose a status, a provider or a type first.")
        made = await gate.run(lambda: replay(signed.staff.tenant_id, signed.actor, filters, dry=dry))
        return shell.page(
            request,
            "console_replay.html",
            dry=dry,
            chosen=chosen,
            more=made.next_cursor is not None,
            rows=[(one, words.badge(one.outcome)) for one in made.items],
        )

    return again


async def _page(
    shell: Shell,
    request: Web,
    found: EventShown,
    *,
    notice: str = "",
    problem: str = "",
    status: int = 200,
    tried: Difference | None = None,
) -> Response[Any]:
    row = _row(found)
    context, tenant = shell.context, signed_of(request).staff.tenant_id
    about = await shell.gate.run(lambda: events.about(context, tenant, found.id))
    names = await shell.gate.run(lambda: console.names_of_plans(context, tenant, about.licenses))
    plans = {id_: full_name(price.product, price.plan) for id_, price in about.prices.items()}
    facts = [
        ("Type", found.type),
        ("Our id", found.id),
        ("Its id", found.event),
        ("Provider", row.provider),
        ("Happened", words.moment(found.occurred_at)),
        ("Arrived", row.received),
        ("Last tried", words.moment(found.processed_at)),
        ("Attempts", f"{found.attempts:,}"),
        ("Next attempt", words.moment(found.next_attempt_at) if found.next_attempt_at else "None"),
        ("SHA-256 of the body", found.raw_sha256),
        ("Size of the body", f"{found.raw_size:,} bytes"),
    ]
    return shell.page(
        request,
        "console_event.html",
        status=status,
        notice=notice,
        problem=problem,
        event=row,
        outcome=outcomes.outcome(found.type, found.status, found.reason or "", row.error),
        facts=facts,
        says=[rule.told(fact, plans) for fact in about.facts],
        licenses=[words.row(one, names) for one in about.licenses],
        body=msgspec.json.format(msgspec.json.encode(found.body), indent=2).decode(),
        tried=_tried(tried) if tried is not None else None,
    )


def _tried(made: Difference) -> dict[str, Any]:
    return {
        "outcome": made.outcome,
        "reason": outcomes.reason("", made.reason or ""),
        "changed": made.changed,
        "licenses": [
            (
                one.license,
                one.before is None,
                [
                    (name, words.value((one.before or {}).get(name)), words.value(new))
                    for name, new in one.after.items()
                ],
            )
            for one in made.licenses
        ],
    }
