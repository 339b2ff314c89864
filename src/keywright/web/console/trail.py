"""The audit: who did what, filtered, as files, and whether its chain holds."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Final
from urllib.parse import urlencode

import msgspec
from litestar import Response, get, post
from litestar.params import FromQuery

from keywright.domain.errors import Invalid
from keywright.flows import admin_views, audit_trail
from keywright.flows.audit_trail import Line, Wanted
from keywright.web.console import sheets, words
from keywright.web.console.gate import Gate, Web, needs, signed_of
from keywright.web.console.shell import Shell

_PAGE: Final = "/console/audit"
_LONGEST_ID: Final = 20
_COLUMNS: Final = ("seq", "at", "actor", "who", "act", "subject", "whom", "detail", "hash")
# What staff do most; the field takes every other act as well.
_ACTS: Final = (
    ("", "Everything"),
    ("staff", "Staff and sign-ins"),
    ("token", "API tokens"),
    ("key", "Signing keys"),
    ("catalog", "Catalog"),
    ("provider", "Provider accounts"),
    ("event", "Events applied again"),
    ("firm", "Firms"),
    ("mail", "Mails"),
)


class Shown(msgspec.Struct, frozen=True):
    """An entry in the table. `by` and `on` are what their filters are called with."""

    seq: str
    at: str
    act: str
    title: str
    actor: str
    by: str
    subject: str
    on: str
    why: str
    lines: list[tuple[str, str]]


def routes(shell: Shell) -> list[Any]:
    """`/console/audit` and beneath it."""
    return [_listing(shell), _checking(shell), *(_export(shell, name) for name in _FORMATS)]


def _listing(shell: Shell) -> Any:
    @get(_PAGE, **needs(shell.gate, "decide"))
    async def list_audit(
        request: Web,
        actor: FromQuery[str] = "",
        act: FromQuery[str] = "",
        subject: FromQuery[str] = "",
        since: FromQuery[str] = "",
        until: FromQuery[str] = "",
        before: FromQuery[str] = "",
    ) -> Response[Any]:
        wanted = Wanted(actor.strip(), act.strip(), subject.strip(), since.strip(), until.strip())
        return await _page(shell, request, wanted, before=before)

    return list_audit


async def _page(
    shell: Shell, request: Web, wanted: Wanted, *, before: str = "", notice: str = "", broken: str = ""
) -> Response[Any]:
    tenant, problem, status = signed_of(request).staff.tenant_id, "", 200
    try:
        page = await shell.gate.run(lambda: audit_trail.read(shell.context, tenant, wanted, before))
    except Invalid as error:
        page, problem, status = audit_trail.TrailPage([], None), error.detail, error.status
    chosen = msgspec.structs.asdict(wanted)
    query = urlencode({name: value for name, value in chosen.items() if value})
    return shell.page(
        request,
        "console_audit.html",
        status=status,
        notice=notice,
        problem=problem or broken,
        chosen=chosen,
        is_filtered=bool(query),
        acts=_ACTS if any(wanted.act == one for one, _ in _ACTS) else (*_ACTS, (wanted.act, wanted.act)),
        rows=[_shown(one) for one in page.lines],
        query=query,
        onward="&".join(filter(None, (query, f"before={page.earlier}"))) if page.earlier else "",
    )


def _shown(line: Line) -> Shown:
    detail = dict(line.detail)
    why = str(detail.pop("why", "") or detail.pop("reason", "") or "")
    detail.pop("by", None)
    return Shown(
        seq=f"{line.seq:,}",
        at=words.moment(line.at),
        act=line.act,
        title=line.act.replace(".", " ").replace("_", " ").capitalize(),
        actor=line.who or line.actor,
        by=line.actor,
        subject=line.whom or _short(line.subject),
        on=line.subject,
        why=why,
        lines=[(name.replace("_", " "), words.value(of)) for name, of in detail.items()],
    )


def _short(id_: str) -> str:
    """An id as people compare it: its two ends. The whole stands in the files, and behind the link."""
    return id_ if len(id_) <= _LONGEST_ID or " " in id_ else f"{id_[:8]}…{id_[-6:]}"


def _checking(shell: Shell) -> Any:
    gate, context = shell.gate, shell.context

    @post(f"{_PAGE}/check", status_code=200, **needs(gate, "decide"))
    async def check(request: Web) -> Response[Any]:
        await gate.act_form(request)
        tenant = signed_of(request).staff.tenant_id
        at = await gate.run(lambda: admin_views.find_audit_break(context, tenant))
        if at is None:
            return await _page(
                shell, request, Wanted(), notice="The chain holds: no entry was altered or cut off."
            )
        told = f"The chain breaks at entry {at:,}: it, or one before it, was altered outside the server."
        return await _page(shell, request, Wanted(), broken=told)

    return check


# -- files ----------------------------------------------------------------------------------------------


def _as_csv(pages: Iterator[list[Line]]) -> Iterator[bytes]:
    yield sheets.rows([_COLUMNS])
    for lines in pages:
        yield sheets.rows(
            (
                *(one.seq, one.at.isoformat(), one.actor, one.who, one.act, one.subject, one.whom),
                *(msgspec.json.encode(one.detail).decode(), one.hash),
            )
            for one in lines
        )


def _as_json(pages: Iterator[list[Line]]) -> Iterator[bytes]:
    yield b"["
    comma = b"\n"
    for lines in pages:
        for one in lines:
            yield comma + msgspec.json.encode(one)
            comma = b",\n"
    yield b"\n]\n"


_Writer = Callable[[Iterator[list[Line]]], Iterator[bytes]]
_FORMATS: Final[dict[str, tuple[str, _Writer]]] = {
    "audit.csv": ("text/csv", _as_csv),
    "audit.json": ("application/json", _as_json),
}


def _export(shell: Shell, name: str) -> Any:
    gate, context = shell.gate, shell.context
    kind, write = _FORMATS[name]

    @get(f"/console/{name}", **needs(gate, "decide"))
    async def export(
        request: Web,
        actor: FromQuery[str] = "",
        act: FromQuery[str] = "",
        subject: FromQuery[str] = "",
        since: FromQuery[str] = "",
        until: FromQuery[str] = "",
    ) -> Response[Any]:
        wanted = Wanted(actor.strip(), act.strip(), subject.strip(), since.strip(), until.strip())
        tenant = signed_of(request).staff.tenant_id
        pieces = _ahead(write(audit_trail.all_lines(context, tenant, wanted)))
        # The first page is read before the answer begins: a filter that is none is refused, not cut short.
        first = await gate.run(lambda: [next(pieces), next(pieces, b"")])
        return shell.file(f"keywright-{name}", kind, _rest(gate, first, pieces))

    return export


def _ahead(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The same in larger pieces, so that few threads are asked."""
    held = bytearray()
    for piece in pieces:
        held += piece
        if len(held) >= _LARGE:
            yield bytes(held)
            held.clear()
    yield bytes(held)


_LARGE: Final = 64 * 1024


async def _rest(gate: Gate, first: list[bytes], pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    for piece in first:
        yield piece
    while piece := await gate.run(lambda: next(pieces, b"")):
        yield piece
