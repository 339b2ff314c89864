"""Imports: what was taken over from a provider, how far it has come, and what stood in the way."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from litestar import Response, get
from litestar.params import FromPath, FromQuery

from keywright.domain.errors import Invalid
from keywright.flows import asked_for, import_views, importing
from keywright.flows.context import Context
from keywright.flows.import_views import Shown
from keywright.import_ports import ImportApi
from keywright.web.console import asking, words
from keywright.web.console.asking import REASON, Asked, Deal, Effect, Field, Steps
from keywright.web.console.gate import Web, needs, signed_of
from keywright.web.console.shell import Shell
from keywright.web.storefront.words import provider_name

_PAGE: Final = "/console/imports"
_ABOVE: Final = "Imports"
_SHOWN: Final = 100
_STATES: Final = {
    "running": ("wait", "Listing"),
    "ending": ("wait", "Comparing"),
    "done": ("", "Done"),
    "failed": ("bad", "Stopped"),
}
_KINDS: Final = {
    "price-unmapped": "Price without a plan",
    "customer-without-email": "Customer without an address",
    "payment-unclear": "Payment of no known subscription",
    "amount-mismatch": "A price of its own",
    "order-unknown": "Nothing says which plan",
    "claimed-elsewhere": "Payment that another tenant has",
    "line-refused": "Line that cannot be read",
    "line-unmatched": "Line about nothing that is there",
    "line-without-license": "Line without a license",
    "key-differs": "Another key is here",
    "key-taken": "Key in use",
    "key-refused": "Key that cannot be kept",
    "fewer-seats": "Fewer seats than are paid for",
    "tenant-not-believed": "Tenant that it does not belong to",
    "tenant-unclear": "Not clear which tenant it is",
    "failed": "Could not be taken in",
    "unreadable": "Unreadable",
}


class Run(msgspec.Struct, frozen=True):
    """One run as it stands in the list. `badge`: its tone and word."""

    id: str
    name: str
    badge: tuple[str, str]
    kind: str
    started: str
    progress: str
    conflicts: int
    dry_run: bool
    running: bool


def routes(shell: Shell) -> list[Any]:
    """`/console/imports` and beneath it."""
    begin = Steps(_deal, _preview, _begin)
    return [
        _list(shell),
        _one(shell),
        _csv(shell),
        *asking.routes_of(shell, f"{_PAGE}/run", "decide", begin),
    ]


def _list(shell: Shell) -> Any:
    gate, context = shell.gate, shell.context

    @get(_PAGE, **needs(gate, "look"))
    async def show(
        request: Web, done: FromQuery[str] = "", cursor: FromQuery[str | None] = None
    ) -> Response[Any]:
        tenant = signed_of(request).staff.tenant_id
        found = await gate.run(lambda: import_views.list_runs(context, tenant, cursor=cursor, limit=25))
        return shell.page(
            request,
            "console_imports.html",
            runs=[_run(one) for one in found.items],
            next=found.next_cursor or "",
            notice="The import has begun. Load this page again in a moment." if done else "",
        )

    return show


def _one(shell: Shell) -> Any:
    gate, context = shell.gate, shell.context

    @get(f"{_PAGE}/{{import_id:str}}", **needs(gate, "look"))
    async def show(
        request: Web, import_id: FromPath[str], cursor: FromQuery[str | None] = None
    ) -> Response[Any]:
        tenant = signed_of(request).staff.tenant_id
        found = await gate.run(lambda: import_views.show(context, tenant, import_id))
        conflicts = await gate.run(
            lambda: import_views.list_conflicts(context, tenant, import_id, cursor=cursor, limit=_SHOWN)
        )
        return shell.page(
            request,
            "console_import.html",
            run=_run(found),
            facts=_facts(found),
            error=found.error or "",
            counted=[(_KINDS.get(kind, kind), count) for kind, count in found.conflicts.items()],
            conflicts=[(_KINDS.get(one.kind, one.kind), one) for one in conflicts.items],
            next=conflicts.next_cursor or "",
        )

    return show


def _csv(shell: Shell) -> Any:
    gate, context = shell.gate, shell.context

    @get(f"{_PAGE}/{{import_id:str}}/conflicts.csv", **needs(gate, "look"))
    async def save(request: Web, import_id: FromPath[str]) -> Response[str]:
        tenant = signed_of(request).staff.tenant_id
        text = await gate.run(lambda: import_views.conflicts_csv(context, tenant, import_id))
        headers = {"content-disposition": f'attachment; filename="{import_id}-conflicts.csv"'}
        return Response(text, media_type="text/csv; charset=utf-8", headers=headers)

    return save


def _run(one: Shown) -> Run:
    told = one.counts
    of = f" of {one.total:,}" if one.total else ""
    return Run(
        id=one.id,
        name=provider_name(one.provider),
        badge=_STATES.get(one.status, ("still", one.status)),
        kind="Dry run" if one.dry_run else "With letters" if one.announce else "Silent",
        started=words.moment(one.started_at),
        progress=f"{told.subscriptions:,}{of} subscriptions",
        conflicts=sum(one.conflicts.values()),
        dry_run=one.dry_run,
        running=one.status in ("running", "ending"),
    )


def _facts(one: Shown) -> list[tuple[str, str]]:
    told, would = one.counts, "would be " if one.dry_run else ""
    of = f" of {one.total:,}" if one.total else ""
    return [
        ("Began", words.moment(one.started_at)),
        ("Ended", words.moment(one.finished_at) if one.finished_at else "not yet"),
        ("Subscriptions", f"{told.subscriptions:,}{of}"),
        (f"Licenses {would}made", f"{told.made:,}"),
        (f"Licenses {would}changed", f"{told.changed:,}"),
        ("As they were", f"{told.known:,}"),
        ("Never paid for", f"{told.unpaid:,}"),
        ("Left out", f"{told.left:,}"),
        ("New customers", f"{told.customers:,}"),
        ("Payments", f"{told.payments:,}"),
        ("Keys and machines kept", f"{told.keys:,} and {told.machines:,}"),
        ("Matched to tenants by e-mail", f"{told.tenants:,}"),
        ("Requests", f"{told.requests:,}, {told.refusals:,} of them refused or not answered"),
    ]


# -- begin ----------------------------------------------------------------------------------------------


def _able(context: Context) -> list[str]:
    return sorted(name for name, one in context.channels.items() if isinstance(one.api, ImportApi))


def _deal(context: Context, asked: Asked) -> Deal:
    able = _able(context.of(asked.tenant))
    return Deal(
        title="Import",
        meaning="Takes over the customers, subscriptions and payments that are at a provider already.",
        back=_PAGE,
        above=_ABOVE,
        fields=(
            Field(
                "provider",
                "From where",
                kind="choice",
                choices=tuple((name, provider_name(name)) for name in able),
            ),
            Field("dry_run", "Only show what would be made", kind="tick"),
            Field("announce", "Write to those whose license runs", kind="tick"),
            REASON,
        ),
    )


def _wish(context: Context, asked: Asked) -> importing.Wish:
    """Raises Invalid."""
    provider = asked.told.get("provider", "")
    if provider not in _able(context):
        raise Invalid("Choose a provider that is set up with a key.")
    return importing.Wish(
        provider,
        asked.act.by,
        asked.act.reason,
        dry_run=asked.told.get("dry_run") == "yes",
        announce=asked.told.get("announce") == "yes",
    )


def _preview(context: Context, asked: Asked) -> Effect:
    wish = _wish(context.of(asked.tenant), asked)
    notes = [
        f"{provider_name(wish.provider)} is asked for everything that is there, at a pace that it takes.",
        "Keys that customers have already are brought along by the command: keywright import --csv.",
    ]
    if wish.dry_run:
        return Effect([], [*notes, "Nothing is changed."])
    notes.append("Customers, purchases and licenses are made for all that is paid.")
    notes.append("Whose license runs gets a mail with its key." if wish.announce else "Nobody gets a mail.")
    return Effect([("Import", "No", "Yes")], notes)


def _begin(context: Context, asked: Asked) -> str:
    own = context.of(asked.tenant)
    wish = _wish(own, asked)
    run, work = importing.enqueue(own, wish)
    asked_for.note_import(own, asked.act.by, wish, run, work=work)
    return f"{_PAGE}?done=begun"
