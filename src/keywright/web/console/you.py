"""One's own account: sessions, second factors, recovery codes, password, and the proof that they ask for."""

from __future__ import annotations

import re
from typing import Any, Final

from litestar import Response, get, post
from litestar.params import FromPath, FromQuery

from keywright.domain.errors import Conflict, Invalid
from keywright.domain.staff import password_problem
from keywright.flows import staff, staff_factors, staff_secrets, staff_sign_in
from keywright.web.console import words
from keywright.web.console.gate import Web, needs, place_of, signed_of
from keywright.web.console.shell import Shell
from keywright.web.console.sign_in import enrolment

_YOU: Final = "/console/you"
_ADD: Final = "/console/you/add"
_PROVE: Final = "/console/you/prove"
_PASSWORD: Final = "/console/you/password"  # noqa: S105  # an address
_PAGE: Final = re.compile(r"/console(/[A-Za-z0-9_-]+)*")
_REFUSED: Final = 403


def routes(shell: Shell) -> list[Any]:
    """`/console/you` and beneath it."""
    return [*_seeing(shell), *_proving(shell), *_adding(shell), *_changing(shell)]


def _seeing(shell: Shell) -> list[Any]:
    gate, context = shell.gate, shell.context

    @get(_YOU, **needs(gate, "look"))
    async def you(request: Web, done: FromQuery[str] = "") -> Response[Any]:
        signed = signed_of(request)
        factors = await gate.run(lambda: staff_factors.list_factors(context, signed.staff))
        sessions = await gate.run(lambda: staff.list_sessions(context, signed.staff))
        return shell.page(
            request,
            "console_you.html",
            notice=words.DONE.get(done, ""),
            factors=[words.factor(one) for one in factors if one.kind != "recovery"],
            codes=sum(one.kind == "recovery" and one.used_at is None for one in factors),
            sessions=[words.session(one, signed.session.id, context.clock.now()) for one in sessions],
            role=words.ROLES[signed.staff.role],
        )

    @post(f"{_YOU}/sessions/{{session_id:str}}/end", status_code=200, **needs(gate, "look"))
    async def end(request: Web, session_id: FromPath[str]) -> Response[Any]:
        await gate.act_form(request)
        await gate.run(lambda: staff.end_session(context, signed_of(request), session_id))
        return shell.go(f"{_YOU}?done=ended")

    return [you, end]


# -- proof ----------------------------------------------------------------------------------------------


def _proving(shell: Shell) -> list[Any]:
    gate, context = shell.gate, shell.context

    async def ask(request: Web, onward: str, problem: str = "") -> Response[Any]:
        # Read once more: a question that was answered wrongly is over.
        signed = await gate.find(request) or signed_of(request)
        question = await gate.run(lambda: staff_factors.question_for(context, signed))
        return shell.page(
            request,
            "console_prove.html",
            status=_REFUSED if problem else 200,
            problem=problem,
            question=question,
            onward=onward,
        )

    @get(_PROVE, **needs(gate, "look"))
    async def form(request: Web, onward: FromQuery[str] = _YOU) -> Response[Any]:
        return await ask(request, _within(onward))

    @post(_PROVE, status_code=200, **needs(gate, "look"))
    async def prove(request: Web) -> Response[Any]:
        told = await gate.act_form(request)
        onward, signed, place = _within(told.get("onward", "")), signed_of(request), place_of(request)
        password, code, answer = (told.get(name, "") for name in ("password", "code", "answer"))
        async with gate.place() as hashing:
            known = await gate.run(lambda: staff_sign_in.known_again(context, signed, place))
            right = await hashing(lambda: staff_secrets.is_right(known.encoded, password))
        proven = await gate.run(
            lambda: staff_sign_in.prove_again(context, signed, known, right, code=code, answer=answer)
        )
        if not proven:
            return await ask(request, onward, "The password or the second factor was wrong.")
        return shell.go(onward)

    return [form, prove]


def _within(path: str) -> str:
    """Where to go on, within the console and nowhere else."""
    return path if _PAGE.fullmatch(path) else _YOU


# -- second factors -------------------------------------------------------------------------------------


def _adding(shell: Shell) -> list[Any]:
    gate, context = shell.gate, shell.context

    async def show(request: Web, problem: str = "") -> Response[Any]:
        signed = await gate.find(request)
        adding = None
        if signed is not None:
            adding = await gate.run(lambda: staff_factors.adding(context, signed))
        if adding is None:
            return shell.go(_YOU)
        return shell.page(
            request,
            "console_enrol.html",
            status=_REFUSED if problem else 200,
            problem=problem,
            target=f"{_ADD}/confirm",
            back=_YOU,
            **enrolment(adding),
        )

    @post(_ADD, status_code=200, **needs(gate, "look", proven=True))
    async def begin(request: Web) -> Response[Any]:
        await gate.act_form(request)
        await gate.run(lambda: staff_factors.begin_adding(context, signed_of(request)))
        return shell.go(_ADD)

    @get(_ADD, **needs(gate, "look", proven=True))
    async def form(request: Web) -> Response[Any]:
        return await show(request)

    @post(f"{_ADD}/confirm", status_code=200, **needs(gate, "look", proven=True))
    async def confirm(request: Web) -> Response[Any]:
        told = await gate.act_form(request)
        code, answer, name = (told.get(field, "") for field in ("code", "answer", "name"))
        try:
            added = await gate.run(
                lambda: staff_factors.add(context, signed_of(request), code=code, answer=answer, name=name)
            )
        except (Conflict, Invalid) as error:
            return await show(request, error.detail)
        if not added:
            return await show(request, "That was not right. Please try once more.")
        return shell.go(f"{_YOU}?done=added")

    return [begin, form, confirm]


def _changing(shell: Shell) -> list[Any]:
    gate, context = shell.gate, shell.context

    @post(f"{_YOU}/factors/{{factor_id:str}}/remove", status_code=200, **needs(gate, "look", proven=True))
    async def remove(request: Web, factor_id: FromPath[str]) -> Response[Any]:
        await gate.act_form(request)
        await gate.run(lambda: staff_factors.remove(context, signed_of(request), factor_id))
        return shell.go(f"{_YOU}?done=removed")

    @post(f"{_YOU}/codes", status_code=200, **needs(gate, "look", proven=True))
    async def renew(request: Web) -> Response[Any]:
        await gate.act_form(request)
        codes = await gate.run(lambda: staff_factors.renew_recovery_codes(context, signed_of(request)))
        return shell.page(request, "console_codes.html", codes=codes, next=_YOU, door="")

    @get(_PASSWORD, **needs(gate, "look", proven=True))
    async def form(request: Web) -> Response[Any]:
        return shell.page(request, "console_password.html", problem="")

    @post(_PASSWORD, status_code=200, **needs(gate, "look", proven=True))
    async def change(request: Web) -> Response[Any]:
        told = await gate.act_form(request)
        password, signed = told.get("password", ""), signed_of(request)
        problem = password_problem(password, signed.staff.email, alone=False)
        if password != told.get("again", ""):
            problem = "The two passwords are not the same."
        if problem is not None:
            return shell.page(request, "console_password.html", status=422, problem=problem)
        async with gate.place() as hashing:
            encoded = await hashing(lambda: staff_secrets.hashed(password))
        await gate.run(lambda: staff_factors.change_password(context, signed, encoded))
        return shell.go(f"{_YOU}?done=password")

    return [remove, renew, form, change]
