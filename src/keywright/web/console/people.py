"""Who works here: the list, who is let in, roles, and who is sent out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from litestar import Response, get, post
from litestar.params import FromPath, FromQuery

from keywright.domain.errors import Conflict, Invalid
from keywright.domain.staff import ROLES
from keywright.flows import staff
from keywright.flows.staff_sessions import Signed
from keywright.web.console import words
from keywright.web.console.gate import Form, Web, needs, signed_of
from keywright.web.console.shell import Shell

_LIST: Final = "/console/staff"


def routes(shell: Shell) -> list[Any]:
    """`/console/staff` and beneath it."""
    acts = [_acting(shell, name, act) for name, act in _ACTS.items()]
    return [_listing(shell), _inviting(shell), *acts]


def _listing(shell: Shell) -> Any:
    @get(_LIST, **needs(shell.gate, "decide"))
    async def list_staff(request: Web, done: FromQuery[str] = "") -> Response[Any]:
        return await _page(shell, request, notice=words.DONE.get(done, ""))

    return list_staff


async def _page(
    shell: Shell,
    request: Web,
    *,
    notice: str = "",
    problem: str = "",
    status: int = 200,
    link: str = "",
    told: Form | None = None,
) -> Response[Any]:
    tenant = signed_of(request).staff.tenant_id
    found = await shell.gate.run(lambda: staff.list_staff(shell.context, tenant))
    return shell.page(
        request,
        "console_staff.html",
        status=status,
        notice=notice,
        problem=problem,
        link=link,
        hours=int(staff.LINK_LIVES.total_seconds() // 3600),
        people=[
            (one, one.state.capitalize(), words.badge(one.state), words.short(one.created_at))
            for one in found
        ],
        roles=[(role, words.ROLES[role]) for role in ROLES],
        told=told or {},
    )


def _inviting(shell: Shell) -> Any:
    gate, context = shell.gate, shell.context

    @post(_LIST, status_code=200, **needs(gate, "govern", proven=True))
    async def invite(request: Web) -> Response[Any]:
        told, signed = await gate.act_form(request), signed_of(request)
        email, role = told.get("email", ""), told.get("role", "")
        try:
            _, link = await gate.run(
                lambda: staff.create(context, signed.staff.tenant_id, email, role, signed.actor)
            )
        except (Conflict, Invalid) as error:
            return await _page(shell, request, problem=error.detail, status=error.status, told=told)
        return await _page(shell, request, link=link)

    return invite


def _change_role(shell: Shell, signed: Signed, staff_id: str, told: Form) -> str:
    staff.change_role(shell.context, signed.staff.tenant_id, staff_id, told.get("role", ""), signed.actor)
    return "role"


def _close(shell: Shell, signed: Signed, staff_id: str, _told: Form) -> str:
    staff.close(shell.context, signed.staff.tenant_id, staff_id, signed.actor)
    return "closed"


def _end_sessions(shell: Shell, signed: Signed, staff_id: str, _told: Form) -> str:
    staff.end_sessions_of(shell.context, signed, staff_id)
    return "signed-out"


_ACTS: Final[dict[str, Callable[[Shell, Signed, str, Form], str]]] = {
    "role": _change_role,
    "close": _close,
    "end-sessions": _end_sessions,
    "link": lambda shell, signed, staff_id, _told: staff.renew_link(
        shell.context, signed.staff.tenant_id, staff_id, signed.actor
    ),
}


def _acting(shell: Shell, name: str, run: Callable[[Shell, Signed, str, Form], str]) -> Any:
    gate = shell.gate

    @post(f"{_LIST}/{{staff_id:str}}/{name}", status_code=200, **needs(gate, "govern", proven=True))
    async def act(request: Web, staff_id: FromPath[str]) -> Response[Any]:
        told, signed = await gate.act_form(request), signed_of(request)
        try:
            done = await gate.run(lambda: run(shell, signed, staff_id, told))
        except (Conflict, Invalid) as error:
            return await _page(shell, request, problem=error.detail, status=error.status)
        if name == "link":
            return await _page(shell, request, link=done)
        return shell.go(f"{_LIST}?done={done}")

    return act
