"""Mail: what is owed to whom, what became of it, and sending it again."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import urlencode

import msgspec
from litestar import Response, get
from litestar.params import FromQuery

from keywright.domain.errors import Conflict
from keywright.flows import mails
from keywright.flows.context import Context
from keywright.flows.mails import Mail
from keywright.web.console import asking, words
from keywright.web.console.asking import Asked, Deal, Effect, Steps
from keywright.web.console.gate import Web, needs, signed_of
from keywright.web.console.shell import Shell

_PAGE: Final = "/console/mail"
_ROWS: Final = 50
_ALARMS: Final = 5
_STATUSES: Final = (
    ("failed", "Undeliverable"),
    ("pending", "On its way"),
    ("waiting", "Without an address"),
    ("sent", "Sent"),
    ("outdated", "Outdated"),
)
_ABOUT: Final = (
    ("key", "License keys"),
    ("notice", "Notices about licenses"),
    ("alarm", "Alarms"),
    ("person", "Sign-in and accounts"),
)
_KINDS: Final = {
    "license.issued": "License key",
    "portal.link": "Sign-in link",
    "address.confirm": "Confirm an address",
    "address.moved": "Address changed",
}
_DONE: Final = {
    "again": "The mail is on its way again.",
    "all": "The mails are on their way again.",
}
# Long errors of mail servers are cut: the page must stay small, and the log has the whole.
_LONGEST: Final = 160


class Shown(msgspec.Struct, frozen=True):
    """A mail in the table."""

    id: str
    title: str
    status: str
    badge: str
    to: str
    license: str
    owed: str
    then: str
    why: str
    lines: list[tuple[str, str]]
    again: bool


def routes(shell: Shell) -> list[Any]:
    """`/console/mail` and beneath it."""
    one = Steps(_deal, _preview, _send)
    all_ = Steps(_deal_all, _preview_all, _send_all)
    return [
        _listing(shell),
        *asking.routes_of(shell, f"{_PAGE}/{{mail:str}}/again", "help", one),
        *asking.routes_of(shell, f"{_PAGE}/again", "decide", all_),
    ]


def _listing(shell: Shell) -> Any:
    gate, context = shell.gate, shell.context

    @get(_PAGE, **needs(gate, "look"))
    async def list_mails(
        request: Web,
        status: FromQuery[str] = "",
        about: FromQuery[str] = "",
        after: FromQuery[str] = "",
        done: FromQuery[str] = "",
    ) -> Response[Any]:
        tenant = signed_of(request).staff.tenant_id
        page = await gate.run(
            lambda: mails.list_mails(context, tenant, status=status, about=about, cursor=after, limit=_ROWS)
        )
        alarms = []
        if not (status or about or after):
            found = await gate.run(lambda: mails.list_mails(context, tenant, about="alarm", limit=_ALARMS))
            alarms = [shown(one) for one in found.items]
        chosen = {"status": status, "about": about}
        query = {name: value for name, value in chosen.items() if value}
        onward = urlencode({**query, "after": page.next_cursor}) if page.next_cursor else ""
        return shell.page(
            request,
            "console_mail.html",
            chosen=chosen,
            is_filtered=bool(query),
            statuses=_STATUSES,
            abouts=_ABOUT,
            rows=[shown(one) for one in page.items],
            alarms=alarms,
            alerts_to=context.policy.alert_email or "",
            onward=onward,
            notice=_DONE.get(done, ""),
        )

    return list_mails


def shown(one: Mail) -> Shown:
    """A mail in words."""
    then = ""
    if one.sent_at is not None:
        then = f"Sent {words.moment(one.sent_at)}"
    elif one.status == "pending" and one.next_attempt_at is not None:
        then = f"Next try {words.moment(one.next_attempt_at)}"
    if one.attempts > 1 and one.again == "same":
        then = f"{then}, {one.attempts} tries".removeprefix(", ")
    why = one.error or ""
    return Shown(
        id=one.id,
        title=title_of(one.kind),
        status=status_of(one.status),
        badge=words.badge(one.status),
        to=_to(one),
        license=one.license or "",
        owed=words.moment(one.created_at),
        then=then,
        why=why if len(why) <= _LONGEST else f"{why[:_LONGEST]}…",
        lines=[(name.replace("_", " "), words.value(value)) for name, value in one.detail.items()],
        again=bool(one.again),
    )


def title_of(kind: str) -> str:
    """`notice.payment_failed`: Notice: payment failed."""
    if kind in _KINDS:
        return _KINDS[kind]
    about, _, what = kind.partition(".")
    subject = {"staff": "To staff", "portal": "Portal"}.get(about, about.capitalize())
    return f"{subject}: {what.replace('_', ' ')}" if what else subject


def status_of(status: str) -> str:
    """Where a mail stands, in words."""
    return dict(_STATUSES).get(status, status.capitalize())


def _to(one: Mail) -> str:
    if one.to:
        return one.to
    if one.kind.startswith("alarm."):
        return "Nobody: ALERT_EMAIL is not set"
    if one.license is not None:
        return "No address yet"
    return "One of the staff" if one.kind.startswith("staff.") else "A visitor of the portal"


# -- again ----------------------------------------------------------------------------------------------


def _mail(context: Context, asked: Asked) -> Mail:
    return mails.show(context, asked.tenant, asked.named["mail"])


def _deal(context: Context, asked: Asked) -> Deal:
    one = _mail(context, asked)
    meaning = f"{title_of(one.kind)}, to {_to(one)}. "
    if one.again == "new":
        meaning += "It has gone out before: another one is made, with the key as it is now."
    else:
        meaning += (
            "It has not gone out: the same mail is tried once more, at once, and then as often as at first."
        )
    return Deal(title="Send again", meaning=meaning, back=_PAGE, above="Mail")


def _preview(context: Context, asked: Asked) -> Effect:
    one = _mail(context, asked)
    if not one.again:
        raise Conflict("This mail cannot be sent again.")
    notes = [f"It goes to {_to(one)}."]
    if one.again == "new":
        return Effect([], [*notes, "The timeline of the license will say that it was sent again."])
    status = dict(_STATUSES)[one.status]
    return Effect([("Status", status, "On its way"), ("Tries", f"{one.attempts:,}", "0")], notes)


def _send(context: Context, asked: Asked) -> str:
    mails.send_again(context, asked.tenant, asked.named["mail"], asked.act)
    return f"{_PAGE}?done=again"


def _deal_all(_context: Context, _asked: Asked) -> Deal:
    return Deal(
        title="Send all undeliverable mails again",
        meaning="For when the mail server was at fault. What an address refused will come back once more. "
        "What is not true any more is left out.",
        back=f"{_PAGE}?status=failed",
        above="Undeliverable mails",
    )


def _preview_all(context: Context, asked: Asked) -> Effect:
    count = mails.count_failed(context, asked.tenant)
    if not count:
        raise Conflict("There is no mail that could not be delivered.")
    more = ["There may be more: these are as many as go out at once."] if count == mails.AT_ONCE else []
    return Effect([("Mails on their way", "", f"{count:,} more")], more)


def _send_all(context: Context, asked: Asked) -> str:
    mails.send_failed_again(context, asked.tenant, asked.act)
    return f"{_PAGE}?done=all"
