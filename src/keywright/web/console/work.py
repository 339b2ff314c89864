"""Work: what runs in the background, what waits, and what failed; taken up again, or ended."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote, urlencode

import msgspec
from litestar import Response, get
from litestar.params import FromPath, FromQuery

from keywright.domain.errors import Invalid
from keywright.flows.context import Context
from keywright.web.console import asking, words
from keywright.web.console.asking import Asked, Deal, Effect, Steps
from keywright.web.console.gate import Web, needs, signed_of
from keywright.web.console.shell import Shell
from keywright.workflows import engine
from keywright.workflows.views import GROUPS, LOOKED_BACK, Group, Hand, Work, Works, unknown_work

_PAGE: Final = "/console/work"
_ROWS: Final = 50
_GROUPS: Final[tuple[tuple[Group, str], ...]] = (
    ("open", "Running and waiting"),
    ("failed", "Failed and ended"),
    ("all", "All"),
)
_NAMES: Final = {
    "announce.1": ("Send mails", "Sends what one batch of events owes."),
    "refetch.1": ("Ask providers", "Asks a provider for objects whose events prove nothing by themselves."),
    "reconcile.1": ("Compare with providers", "A comparison that somebody asked for."),
    "import.1": ("Import", "What a seller has at a provider is taken over."),
    "create_tenant.1": ("Make a tenant", "Makes a tenant of a customer, step by step."),
    "reconcile_hourly.1": ("Compare every hour", "The hourly comparison, which repairs what it finds."),
    "sweep.1": (
        "Look after the rest",
        "Every ten seconds: tries again what is due, and looks at the clocks.",
    ),
}
_STATUSES: Final = {
    "PENDING": ("Running", "wait"),
    "ENQUEUED": ("Waiting", "wait"),
    "DELAYED": ("Waiting for its time", "wait"),
    "SUCCESS": ("Done", ""),
    "ERROR": ("Failed", "bad"),
    "MAX_RECOVERY_ATTEMPTS_EXCEEDED": ("Given up", "bad"),
    "CANCELLED": ("Ended by hand", "still"),
}
_OPEN: Final = GROUPS["open"] or ()
_DONE: Final = {"retry": "The work was taken up again.", "cancel": "The work was ended."}


class Shown(msgspec.Struct, frozen=True):
    """A workflow in words. `acts`: what can be done with it."""

    id: str
    title: str
    what: str
    status: str
    badge: str
    queue: str
    begun: str
    changed: str
    error: str
    acts: list[tuple[str, str]]


def routes(shell: Shell) -> list[Any]:
    """`/console/work` and beneath it. Work belongs to no tenant: the staff of the master tenant see it."""
    works = Works(shell.context.database)
    made = [_listing(shell, works), _showing(shell, works)]
    for kind in _MEANING:
        made += asking.routes_of(shell, f"{_PAGE}/{{work:str}}/{kind}", "decide", _steps(works, kind))
    return made


def _demand_master(context: Context, tenant: str) -> None:
    if tenant != context.master.id:
        raise unknown_work()


def _listing(shell: Shell, works: Works) -> Any:
    gate, context = shell.gate, shell.context

    @get(_PAGE, **needs(gate, "look"))
    async def list_work(
        request: Web,
        show: FromQuery[str] = "open",
        name: FromQuery[str] = "",
        after: FromQuery[str] = "",
        done: FromQuery[str] = "",
    ) -> Response[Any]:
        _demand_master(context, signed_of(request).staff.tenant_id)
        group = next((one for one in GROUPS if one == show), None)
        if group is None or (name and name not in engine.NAMES):
            raise Invalid("There is no such filter.")
        page = await gate.run(
            lambda: works.newest(group, name=name, cursor=after, limit=_ROWS, now=datetime.now(UTC))
        )
        query = {key: value for key, value in (("show", show), ("name", name)) if value}
        onward = urlencode({**query, "after": page.next_cursor}) if page.next_cursor else ""
        return shell.page(
            request,
            "console_work.html",
            groups=_GROUPS,
            group=group,
            names=[(one, _NAMES.get(one, (one, ""))[0]) for one in engine.NAMES],
            name=name,
            rows=[shown(one) for one in page.items],
            onward=onward,
            days=LOOKED_BACK.days,
            notice=_DONE.get(done, ""),
        )

    return list_work


def _showing(shell: Shell, works: Works) -> Any:
    gate, context = shell.gate, shell.context

    @get(f"{_PAGE}/{{work:str}}", **needs(gate, "look"))
    async def show(request: Web, work: FromPath[str], done: FromQuery[str] = "") -> Response[Any]:
        _demand_master(context, signed_of(request).staff.tenant_id)
        found = shown(await gate.run(lambda: works.show(work)))
        facts = [
            ("Id", found.id),
            ("Queue", found.queue or "None"),
            ("Begun", found.begun),
            ("Last change", found.changed),
            ("Error", found.error or "None"),
        ]
        return shell.page(
            request, "console_one_work.html", one=found, facts=facts, notice=_DONE.get(done, "")
        )

    return show


def shown(one: Work) -> Shown:
    """A workflow in words. Of an error its class alone: a message may quote what must not be shown."""
    title, what = _NAMES.get(one.name, (one.name, ""))
    status, badge = _STATUSES.get(one.status, (one.status.capitalize(), "bad"))
    acts = []
    if one.status != "SUCCESS":
        acts.append(("retry", "Take up again"))
    if one.status in _OPEN:
        acts.append(("cancel", "End"))
    return Shown(
        id=one.id,
        title=title,
        what=what,
        status=status,
        badge=badge,
        queue=one.queue or "",
        begun=words.moment(one.created_at),
        changed=words.moment(one.updated_at),
        error=one.error or "",
        acts=acts,
    )


def _of(id_: str) -> str:
    return f"{_PAGE}/{quote(id_, safe='')}"


# -- acts -----------------------------------------------------------------------------------------------

_MEANING: Final[dict[Hand, tuple[str, str]]] = {
    "retry": (
        "Take up again",
        "It does once more what it was to do. Its steps may be repeated: what is done is not done twice.",
    ),
    "cancel": (
        "End",
        "It begins no further step. What is owed stays owed: another look at it is taken every ten seconds.",
    ),
}


def _steps(works: Works, kind: Hand) -> Steps:
    title, meaning = _MEANING[kind]

    def of(context: Context, asked: Asked, look: Callable[[str], Work]) -> Work:
        _demand_master(context, asked.tenant)
        return look(asked.named["work"])

    def deal(context: Context, asked: Asked) -> Deal:
        one = shown(of(context, asked, works.show))
        return Deal(title=title, meaning=f"{one.title}: {meaning}", back=_of(one.id), above="The work")

    def preview(context: Context, asked: Asked) -> Effect:
        one = of(context, asked, lambda id_: works.may(id_, kind))
        before = shown(one).status
        after = _STATUSES["ENQUEUED" if kind == "retry" else "CANCELLED"][0]
        if kind == "retry" and one.status == "ERROR":
            return Effect([("Another work like it", "", after)], ["This one stays as it ended."])
        return Effect([("Status", before, after)])

    def do(context: Context, asked: Asked) -> str:
        of(context, asked, lambda id_: works.may(id_, kind))
        made = works.act(context, asked.named["work"], kind, asked.act.by, asked.act.reason or "")
        return f"{_of(made.id)}?done={kind}"

    return Steps(deal, preview, do)
