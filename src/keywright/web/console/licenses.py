"""Licenses: the list, the search, one on a page, and what staff do to it: form, preview, done."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, time
from typing import Any, Final

from litestar import Response, get, post
from litestar.params import FromPath, FromQuery

from keywright.domain.errors import Conflict, Invalid, Misconfigured, NotFound
from keywright.domain.license import Status
from keywright.domain.staff import Deed, may
from keywright.flows import console, firms, license_views, operate
from keywright.flows.console import Preview
from keywright.flows.context import Context
from keywright.flows.license_views import LicenseRow
from keywright.flows.operate import Act
from keywright.web.console import mail, purchase, told, words
from keywright.web.console.gate import Form, Web, act_of, needs, signed_of
from keywright.web.console.shell import Shell

_LIST: Final = "/console/licenses"
_ONE: Final = f"{_LIST}/{{license_id:str}}"
_PAGE: Final = 50
_STATUSES: Final[tuple[Status, ...]] = ("active", "grace", "expired", "suspended", "revoked", "pending")
_MOST_DAYS: Final = 36500
_UNFIT: Final = 422

_Do = Callable[[Context, str, str, Act, Form], LicenseRow]


def routes(shell: Shell) -> list[Any]:
    """`/console/licenses` and beneath it."""
    made = [_listing(shell), _showing(shell)]
    for name, (deed, do) in _ACTS.items():
        made += _acting(shell, name, deed, do)
    return made


# -- see ------------------------------------------------------------------------------------------------


def _listing(shell: Shell) -> Any:
    gate, context = shell.gate, shell.context

    @get(_LIST, **needs(gate, "look"))
    async def list_licenses(
        request: Web, q: FromQuery[str] = "", status: FromQuery[str] = "", after: FromQuery[str] = ""
    ) -> Response[Any]:
        tenant = signed_of(request).staff.tenant_id
        if q.strip():
            found = await gate.run(lambda: console.search(context, tenant, q))
            if found.event is not None:
                return shell.go(f"/console/events/{found.event}")
            if len(found.licenses) == 1:
                return shell.go(f"{_LIST}/{found.licenses[0].id}")
            rows, onward = found.licenses, None
        else:
            filters = {"status": status} if status else {}
            page = await gate.run(
                lambda: license_views.list_licenses(
                    context, tenant, filters, cursor=after or None, limit=_PAGE
                )
            )
            rows, onward = page.items, page.next_cursor
        names = await gate.run(lambda: console.names_of_plans(context, tenant, rows))
        return shell.page(
            request,
            "console_licenses.html",
            q=q[:320],
            chosen=status,
            statuses=_STATUSES,
            rows=[words.row(one, names) for one in rows],
            onward=onward,
        )

    return list_licenses


def _showing(shell: Shell) -> Any:
    gate, context = shell.gate, shell.context

    @get(_ONE, **needs(gate, "look"))
    async def show(request: Web, license_id: FromPath[str], done: FromQuery[str] = "") -> Response[Any]:
        signed = signed_of(request)
        found = await gate.run(lambda: console.dossier(context, signed.staff.tenant_id, license_id))
        tenant = signed.staff.tenant_id
        names = await gate.run(lambda: console.names_of_plans(context, tenant, [found.row]))
        return shell.page(
            request,
            "console_license.html",
            notice=words.DONE.get(done, ""),
            id=found.row.id,
            title=words.title(found.row, names),
            slugs=f"{found.row.product}/{found.row.plan}",
            standing=found.row.status.capitalize(),
            style=words.badge(found.row.status) if found.intact else "bad",
            why=found.why,
            facts=words.facts(found.row),
            machines=[words.machine(one) for one in found.machines],
            entries=[told.entry(one, found.names) for one in found.entries],
            earlier=found.earlier,
            bought=purchase.shown(found.bought) if found.bought is not None else None,
            mails=[
                (*_mail_line(one), words.badge(one.status), words.moment(one.at), one.error or "")
                for one in found.mails
            ],
            acts=[
                (name, words.DEEDS[name].title)
                for name in [*_offered(found), *(["firm"] if context.firm_secrets is not None else [])]
                if may(signed.staff.role, _ACTS[name][0])
            ],
            firm=found.row.firm or "",
            has_secrets=context.firm_secrets is not None,
        )

    return show


def _mail_line(one: console.MailSeen) -> tuple[str, str]:
    """A mail and where it stands, as the page of all mails calls them."""
    return mail.title_of(one.kind), mail.status_of(one.status)


def _offered(found: console.Dossier) -> list[str]:
    """The acts that would do something: nothing is reinstated that nobody stopped."""
    standing = found.row.status
    offered = ["resend"] if found.row.customer is not None else []
    if found.ends:
        offered.append("extend")
    if standing in ("suspended", "revoked"):
        offered.append("reinstate")
    if standing not in ("suspended", "revoked"):
        offered.append("suspend")
    if found.decided != "revoke":
        offered.append("revoke")
    return [*offered, "seats", "transfer", "rotate-key", "note"]


# -- act ------------------------------------------------------------------------------------------------


def _decide(kind: Any) -> _Do:
    return lambda context, tenant, id_, act, _form: operate.decide(context, tenant, id_, act, kind)


def _extend(context: Context, tenant: str, id_: str, act: Act, form: Form) -> LicenseRow:
    days, until = form.get("days", "").strip(), form.get("until", "").strip()
    if bool(days) == bool(until):
        raise Invalid("Say either how many days, or until which day.")
    if days:
        if not (days.isascii() and days.isdigit() and len(days) < 6) or not 1 <= int(days) <= _MOST_DAYS:
            raise Invalid(f"Days are a number from 1 to {_MOST_DAYS}.")
        return operate.extend(context, tenant, id_, act, days=int(days))
    try:
        # Through the day that was typed.
        end = datetime.combine(datetime.strptime(until, "%Y-%m-%d").date(), time(23, 59, 59), UTC)  # noqa: DTZ007  # the zone is given right here
    except ValueError:
        raise Invalid("The day is written like 2027-05-31.") from None
    return operate.extend(context, tenant, id_, act, until=end)


def _transfer(context: Context, tenant: str, id_: str, act: Act, form: Form) -> LicenseRow:
    email, keep = form.get("email", ""), form.get("keep") == "yes"
    return operate.transfer(context, tenant, id_, act, email=email, keep_machines=keep)


def _resend(context: Context, tenant: str, id_: str, act: Act, _form: Form) -> LicenseRow:
    return operate.resend(context, tenant, id_, act)


def _rotate(context: Context, tenant: str, id_: str, act: Act, _form: Form) -> LicenseRow:
    # The new key goes to the holder by mail and nowhere else.
    return operate.rotate_key(context, tenant, id_, act)[0]


def _free(context: Context, tenant: str, id_: str, act: Act, form: Form) -> LicenseRow:
    machine = form.get("machine", "")
    page = license_views.list_machines(context, tenant, license_id=id_, limit=license_views.LARGEST_PAGE)
    if machine not in {one.id for one in page.items}:
        raise NotFound("This license is not on such a machine any more.")
    return operate.release_activation(context, tenant, machine, act)


def _give_seats(context: Context, tenant: str, id_: str, act: Act, form: Form) -> LicenseRow:
    seats = form.get("seats", "").strip()
    if not (seats.isascii() and seats.isdigit()):
        raise Invalid("Seats are a number.")
    return operate.give_seats(context, tenant, id_, act, int(seats[:10]))


def _note(context: Context, tenant: str, id_: str, act: Act, _form: Form) -> LicenseRow:
    return operate.note(context, tenant, id_, act)


def _name_firm(context: Context, tenant: str, id_: str, act: Act, form: Form) -> LicenseRow:
    held = firms.name_firm(context, tenant, id_, form.get("firm", ""), act)
    with context.database.read() as connection:
        return license_views.rows_of(context, connection, [held])[0]


_ACTS: Final[Mapping[str, tuple[Deed, _Do]]] = {
    "suspend": ("help", _decide("suspend")),
    "reinstate": ("help", _decide("reinstate")),
    "revoke": ("decide", _decide("revoke")),
    "extend": ("help", _extend),
    "transfer": ("help", _transfer),
    "resend": ("help", _resend),
    "rotate-key": ("help", _rotate),
    "free": ("help", _free),
    "seats": ("help", _give_seats),
    "note": ("help", _note),
    "firm": ("help", _name_firm),
}
_FIELDS: Final = ("reason", "days", "until", "email", "keep", "machine", "seats", "firm")


def _acting(shell: Shell, name: str, deed: Deed, do: _Do) -> list[Any]:
    """The form of an act, its preview, and the act itself. All three are checked alike."""
    gate, context = shell.gate, shell.context

    def show(
        request: Web, license_id: str, typed: Form, problem: str = "", status: int = 200
    ) -> Response[Any]:
        return shell.page(
            request,
            "console_act.html",
            status=status,
            id=license_id,
            name=name,
            deed=words.DEEDS[name],
            told={field: typed.get(field, "") for field in _FIELDS},
            problem=problem,
        )

    @get(f"{_ONE}/{name}", **needs(gate, deed))
    async def form(request: Web, license_id: FromPath[str], machine: FromQuery[str] = "") -> Response[Any]:
        tenant = signed_of(request).staff.tenant_id
        await gate.run(lambda: license_views.show(context, tenant, license_id))  # an unknown one is a 404
        return show(request, license_id, {"machine": machine})

    @post(f"{_ONE}/{name}", status_code=200, **needs(gate, deed))
    async def act(request: Web, license_id: FromPath[str]) -> Response[Any]:
        typed = await gate.act_form(request)
        tenant, by = signed_of(request).staff.tenant_id, act_of(request, typed.get("reason", "").strip())

        def run(of: Context) -> LicenseRow:
            return do(of, tenant, license_id, by, typed)

        try:
            if typed.get("step") == "do":
                await gate.run(lambda: run(context))
                return shell.go(f"{_LIST}/{license_id}?done={name}")
            preview = await gate.run(lambda: console.rehearse(context, tenant, license_id, run))
        except NotFound:
            raise
        except (Invalid, Conflict, Misconfigured) as error:
            status = min(error.status, _UNFIT)
            return show(request, license_id, typed, problem=error.detail, status=status)
        return shell.page(request, "console_preview.html", **_previewed(license_id, name, typed, preview))

    return [form, act]


def _previewed(license_id: str, name: str, typed: Form, preview: Preview) -> dict[str, Any]:
    changes = [
        (words.NAMES[member], words.value(before), words.value(after))
        for member, before, after in preview.changes
    ]
    return {
        "id": license_id,
        "name": name,
        "deed": words.DEEDS[name],
        "told": {field: typed.get(field, "") for field in _FIELDS},
        "changes": changes,
        "mail": _mail(name, preview),
    }


def _mail(name: str, preview: Preview) -> str:
    """Which mail goes out with an act."""
    if name not in ("resend", "rotate-key", "transfer"):
        return ""
    holder = preview.after.customer
    if holder is None or not holder.email:
        return "A mail with the key waits until the holder's address is known."
    return f"A mail with the key goes to {holder.email}."
