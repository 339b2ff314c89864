"""Reconcile: what the last comparison with each provider found, and having it repaired."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlencode

import msgspec
from litestar import Response, get
from litestar.params import FromQuery

from keywright.domain.errors import Invalid, NotFound
from keywright.flows import asked_for, reconcile, reconciliation_views
from keywright.flows.context import Context
from keywright.flows.findings import Finding
from keywright.flows.reconcile import Wish
from keywright.flows.reconciliation_views import AccountReport, Standing
from keywright.web.console import asking, words
from keywright.web.console.asking import REASON, Asked, Deal, Effect, Field, Steps
from keywright.web.console.gate import Web, needs, signed_of
from keywright.web.console.shell import Shell
from keywright.web.storefront.words import provider_name

_PAGE: Final = "/console/reconcile"
_ABOVE: Final = "Reconcile"
# Of each account: what is beyond them is counted, and seen with the next report.
_SHOWN: Final = 40
_LONGEST_NAME: Final = 300
_KINDS: Final = {
    "paid-without-license": ("Paid, and no license", "bad"),
    "license-without-payment": ("License without a payment", "bad"),
    "refunded-but-valid": ("Refunded, and still valid", "bad"),
    "wrong-seats": ("Wrong number of seats", "wait"),
    "wrong-dates": ("Wrong end", "wait"),
    "wrong-plan": ("Wrong plan", "wait"),
    "missed-event": ("Missed event", "still"),
    "amount-mismatch": ("Another amount than ordered", "wait"),
    "price-unmapped": ("Price without a plan", "wait"),
    "order-unknown": ("Order of somebody else", "wait"),
    "claimed-elsewhere": ("Payment that another tenant has", "wait"),
    "failed-event": ("Event that failed", "bad"),
    "unreadable": ("Unreadable", "bad"),
}
_DONE: Final = {
    "compare": "The comparison has begun. Load this page again in a moment.",
    "fix": "The repair has begun. Load this page again in a moment.",
}


class Line(msgspec.Struct, frozen=True):
    """One finding. `state`: what is to be done about it, or was."""

    title: str
    badge: str
    object: str
    license: str
    fix: str
    state: str
    one: str


class Shown(msgspec.Struct, frozen=True):
    """One account. `all_`: where all of it is repaired, if there is something."""

    provider: str
    name: str
    mode: str
    able: bool
    running: str
    facts: list[tuple[str, str]]
    error: str
    lines: list[Line]
    more: int
    fixable: int
    all_: str


def routes(shell: Shell) -> list[Any]:
    """`/console/reconcile` and beneath it."""
    run = Steps(_deal_run, _preview_run, _run)
    fix = Steps(_deal_fix, _preview_fix, _fix)
    return [
        _standing(shell),
        *asking.routes_of(shell, f"{_PAGE}/run", "decide", run),
        *asking.routes_of(shell, f"{_PAGE}/{{provider:str}}/fix", "decide", fix),
    ]


def _standing(shell: Shell) -> Any:
    gate, context = shell.gate, shell.context

    @get(_PAGE, **needs(gate, "look"))
    async def show(request: Web, done: FromQuery[str] = "") -> Response[Any]:
        tenant = signed_of(request).staff.tenant_id
        found = await gate.run(lambda: reconciliation_views.standings(context, tenant))
        return shell.page(
            request,
            "console_reconcile.html",
            accounts=[_shown(one) for one in found],
            can_run=any(one.able for one in found),
            notice=_DONE.get(done, ""),
        )

    return show


def _shown(one: Standing) -> Shown:
    report = one.report
    lines = [_line(one, finding) for finding in report.findings] if report is not None else []
    fixable = sum(bool(line.one) for line in lines)
    return Shown(
        provider=one.provider,
        name=provider_name(one.provider),
        mode="live" if one.live else "test",
        able=one.able,
        running=words.moment(one.running) if one.running is not None else "",
        facts=_facts(report) if report is not None else [],
        error=(report.error or "") if report is not None else "",
        lines=lines[:_SHOWN],
        more=max(0, (report.found if report is not None else 0) - _SHOWN),
        fixable=fixable,
        all_=f"{_PAGE}/{one.provider}/fix" if fixable else "",
    )


def _facts(report: AccountReport) -> list[tuple[str, str]]:
    return [
        ("Compared", words.moment(report.finished_at)),
        ("From", words.moment(report.since)),
        ("Looked at", f"{report.looked_at:,}"),
        ("Had not arrived", f"{report.missing:,}"),
        ("Taken in", f"{report.applied:,}"),
        ("Differences", f"{report.found:,}"),
    ]


def _line(account: Standing, finding: Finding) -> Line:
    title, badge = _KINDS.get(finding.kind, (finding.kind, "bad"))
    fixed = finding.fixed or finding.object in account.repaired
    open_ = not fixed and not finding.manual and account.able
    query = urlencode({"only": finding.object})
    return Line(
        title=title,
        badge="" if fixed else badge,
        object=finding.object,
        license=finding.license or "",
        fix=finding.fix,
        state="Repaired" if fixed else "By hand" if finding.manual else "Open",
        one=f"{_PAGE}/{account.provider}/fix?{query}" if open_ else "",
    )


# -- compare --------------------------------------------------------------------------------------------


def _able(context: Context, tenant: str) -> list[Standing]:
    """Raises NotFound."""
    found = [one for one in reconciliation_views.standings(context, tenant) if one.able]
    if not found:
        raise NotFound("No provider is set up with a key to ask it with.", code="PROVIDER_UNKNOWN")
    return found


def _deal_run(context: Context, asked: Asked) -> Deal:
    choices = tuple((one.provider, provider_name(one.provider)) for one in _able(context, asked.tenant))
    return Deal(
        title="Compare now",
        meaning="Lists what the providers have had and looks for what is not here. Looking changes nothing.",
        back=_PAGE,
        above=_ABOVE,
        fields=(
            Field("provider", "With whom", kind="choice", choices=(("", "All of them"), *choices)),
            Field("since", "From the day", kind="date", hint="Empty: where the last comparison began."),
            Field("fix", "Repair what differs", kind="tick"),
            REASON,
        ),
    )


def _wish(context: Context, asked: Asked) -> Wish:
    """Raises NotFound, Invalid."""
    able = {one.provider for one in _able(context, asked.tenant)}
    provider, typed = asked.told.get("provider", ""), asked.told.get("since", "").strip()
    if provider and provider not in able:
        raise NotFound(f"The provider {provider[:40]} is not set up here.", code="PROVIDER_UNKNOWN")
    since = None
    if typed:
        try:
            since = datetime.strptime(typed, "%Y-%m-%d").replace(tzinfo=UTC)
        except ValueError:
            raise Invalid("The day must look like 2026-11-01.") from None
        if since > context.clock.now():
            raise Invalid("The day lies in the future.")
    return Wish(provider or None, since, asked.told.get("fix") == "yes")


def _preview_run(context: Context, asked: Asked) -> Effect:
    wish = _wish(context, asked)
    who = provider_name(wish.provider) if wish.provider else "Every provider that is set up"
    since = f"from {words.short(wish.since)} on" if wish.since else "from where the last comparison began"
    notes = [f"{who} is asked {since}, in the background. The report stands here afterwards."]
    if wish.fix:
        notes.append(
            "What differs is repaired, as a webhook that had arrived would have done it; mails go out."
        )
        return Effect([("Repair", "No", "Yes")], notes)
    return Effect([], notes)


def _run(context: Context, asked: Asked) -> str:
    wish = _wish(context, asked)
    _enqueue(context, asked, wish)
    return f"{_PAGE}?done={'fix' if wish.fix else 'compare'}"


def _enqueue(context: Context, asked: Asked, wish: Wish) -> None:
    work = reconcile.enqueue(context, wish)
    why = asked.act.reason or ""
    asked_for.note_reconciliation(context, asked.tenant, asked.act.by, wish, why=why, work=work)


# -- fix ------------------------------------------------------------------------------------------------


def _reported(context: Context, asked: Asked) -> tuple[Standing, AccountReport]:
    """Raises NotFound."""
    for one in _able(context, asked.tenant):
        if one.provider == asked.named["provider"] and one.report is not None:
            return one, one.report
    raise NotFound("There is no report of this provider.", code="PROVIDER_UNKNOWN")


def _deal_fix(context: Context, asked: Asked) -> Deal:
    account, _ = _reported(context, asked)
    name = provider_name(account.provider)
    only = asked.told.get("only", "")
    return Deal(
        title=f"Repair one difference with {name}" if only else f"Repair all differences with {name}",
        meaning="The provider is asked again, and what it says is taken in as a webhook that had arrived.",
        back=_PAGE,
        above=_ABOVE,
        fields=(
            Field(
                "only",
                "Only this object",
                hint="The provider's name of it. Empty: all that can be repaired.",
                usual=only,
                most=_LONGEST_NAME,
            ),
            REASON,
        ),
    )


def _wanted(context: Context, asked: Asked) -> tuple[Standing, AccountReport, list[Finding]]:
    """What would be repaired. Raises NotFound, and Invalid when there is nothing."""
    account, report = _reported(context, asked)
    only = asked.told.get("only", "").strip()
    found = [
        one
        for one in report.findings
        if not (one.fixed or one.manual or one.object in account.repaired) and only in ("", one.object)
    ]
    if not found:
        raise Invalid("There is nothing to repair: it was repaired, or needs somebody.")
    return account, report, found


def _preview_fix(context: Context, asked: Asked) -> Effect:
    _, report, found = _wanted(context, asked)
    changes = [
        (f"{_KINDS.get(one.kind, (one.kind, ''))[0]}: {one.object}", "Open", one.fix)
        for one in found[:_SHOWN]
    ]
    notes = [
        "It is done in the background, by what the provider says then. Mails go out as with any purchase."
    ]
    if report.found > len(changes):
        notes.append(f"The report has {report.found:,} differences in all.")
    return Effect(changes, notes)


def _fix(context: Context, asked: Asked) -> str:
    account, report, _ = _wanted(context, asked)
    only = asked.told.get("only", "").strip() or None
    # From where the report began, or the provider would not list it again.
    _enqueue(context, asked, Wish(account.provider, report.since, fix=True, only=only))
    return f"{_PAGE}?done=fix"
