"""The console's door: sign in, second factor, set-up with a one-time link, sign out."""

from __future__ import annotations

from typing import Any, Final

import segno
from litestar import Response, get, post
from litestar.params import FromPath

from keywright.domain.errors import Invalid
from keywright.domain.staff import password_problem
from keywright.flows import staff, staff_factors, staff_secrets, staff_sign_in
from keywright.flows.staff_sessions import DOOR, door_of
from keywright.web.console.gate import (
    Form,
    SignInNeeded,
    Web,
    agent_of,
    fresh_browser,
    needs,
    open_to_all,
    place_of,
    signed_of,
)
from keywright.web.console.shell import Shell

_HOME: Final = "/console"
_SECOND: Final = f"{DOOR}/second"
_ENROL: Final = "/console/second-factor"
_GONE: Final = 410
_LONGEST_SLUG: Final = 48
_REFUSED: Final = 403
_WRONG: Final = "The address or the password is wrong, or the account is not set up yet."
_WRONG_CODE: Final = "That was not right. A code is good once, and for half a minute."


def routes(shell: Shell) -> list[Any]:
    """`/console/sign-in`, `/console/setup/...`, `/console/second-factor`, `/console/sign-out`."""
    return [*_password(shell), *_second(shell), *_setup(shell), *_enrolling(shell), _leaving(shell)]


def _slug(told: str) -> str:
    """What may be a slug; a longer text is nobody's, and is neither kept nor shown in part."""
    return told if len(told) <= _LONGEST_SLUG else ""


# -- password -------------------------------------------------------------------------------------------


def _password(shell: Shell) -> list[Any]:
    gate = shell.gate

    @get(DOOR, **open_to_all())
    async def form(request: Web) -> Response[Any]:
        gate.count_door(request)
        if await gate.find(request) is not None:
            return shell.go(_HOME)
        browser = gate.browser_of(request) or fresh_browser()
        at = _slug(request.query_params.get("at", ""))
        response = shell.door("console_sign_in.html", cookie=browser, problem="", email="", at=at)
        response.cookies.append(gate.browser_cookie(browser))
        return response

    @post(DOOR, status_code=200, **open_to_all())
    async def sign_in(request: Web) -> Response[Any]:
        gate.count_knock(request)
        browser = gate.browser_of(request)
        told = await gate.form_of(request, browser)
        email, password = told.get("email", ""), told.get("password", "")
        at = _slug(told.get("at", ""))
        async with gate.place() as hashing:
            known = await gate.run(lambda: staff_sign_in.look_up(gate.context, email, place_of(request), at))
            right = await hashing(lambda: staff_secrets.is_right(known.encoded, password))
        session = None
        if right:
            agent = agent_of(request)
            session = await gate.run(lambda: staff_sign_in.ask_second(gate.context, known, agent))
        if session is None:
            staff_sign_in.refuse(known)
            return shell.door(
                "console_sign_in.html",
                cookie=browser,
                status=_REFUSED,
                problem=_WRONG,
                email=email[:320],
                at=at,
            )
        response = shell.go(_SECOND)
        response.cookies.append(gate.session_cookie(session))
        return response

    return [form, sign_in]


# -- second factor --------------------------------------------------------------------------------------


def _second(shell: Shell) -> list[Any]:
    gate = shell.gate

    async def ask(request: Web, problem: str = "") -> Response[Any]:
        signed = await gate.find(request, "second")
        if signed is None:
            return shell.go(_HOME if await gate.find(request) is not None else gate.door_of(request))
        question = await gate.run(lambda: staff_factors.question_for(gate.context, signed))
        return shell.door(
            "console_second.html",
            cookie=gate.session_of(request),
            status=_REFUSED if problem else 200,
            problem=problem,
            question=question,
            target=_SECOND,
        )

    @get(_SECOND, **open_to_all())
    async def form(request: Web) -> Response[Any]:
        return await ask(request)

    @post(_SECOND, status_code=200, **open_to_all())
    async def check(request: Web) -> Response[Any]:
        told = await gate.form_of(request, gate.session_of(request))
        signed = await gate.find(request, "second")
        if signed is None:
            raise SignInNeeded("Please sign in once more: the password was typed too long ago.")
        code, answer, place = told.get("code", ""), told.get("answer", ""), place_of(request)
        session = await gate.run(
            lambda: staff_sign_in.finish(gate.context, signed, place, code=code, answer=answer)
        )
        if session is None:
            return await ask(request, _WRONG_CODE)
        response = shell.go(_HOME)
        response.cookies += [gate.session_cookie(session), gate.place_cookie(signed.tenant)]
        return response

    return [form, check]


# -- set-up ---------------------------------------------------------------------------------------------


def _setup(shell: Shell) -> list[Any]:
    gate = shell.gate

    async def show(request: Web, secret: str, browser: str, problem: str = "") -> Response[Any]:
        gate.count_door(request)
        found = await gate.run(lambda: staff.open_link(gate.context, secret))
        if found is None:
            return _link_is_over(shell, request)
        response = shell.door(
            "console_setup.html",
            cookie=browser,
            status=422 if problem else 200,
            problem=problem,
            email=found.email,
            role=found.role,
            secret=secret,
        )
        response.cookies.append(gate.browser_cookie(browser))
        return response

    @get("/console/setup/{secret:str}", **open_to_all())
    async def form(request: Web, secret: FromPath[str]) -> Response[Any]:
        return await show(request, secret, gate.browser_of(request) or fresh_browser())

    @post("/console/setup/{secret:str}", status_code=200, **open_to_all())
    async def choose(request: Web, secret: FromPath[str]) -> Response[Any]:
        gate.count_knock(request)
        browser = gate.browser_of(request)
        told = await gate.form_of(request, browser)
        found = await gate.run(lambda: staff.open_link(gate.context, secret))
        if found is None:
            return _link_is_over(shell, request)
        email = found.email or told.get("email", "")
        problem = _choice_problem(told, email)
        if problem is not None:
            return await show(request, secret, browser, problem)
        async with gate.place() as hashing:
            encoded = await hashing(lambda: staff_secrets.hashed(told["password"]))
        agent = agent_of(request)
        try:
            session = await gate.run(lambda: staff.begin_setup(gate.context, secret, email, encoded, agent))
        except Invalid as error:
            return await show(request, secret, browser, error.detail)
        if session is None:
            return _link_is_over(shell, request)
        response = shell.go(_ENROL)
        response.cookies.append(gate.session_cookie(session))
        return response

    return [form, choose]


def _link_is_over(shell: Shell, request: Web) -> Response[Any]:
    return shell.door("console_link.html", cookie="", status=_GONE, door=shell.gate.door_of(request))


def _choice_problem(told: Form, email: str) -> str | None:
    """What is wrong with the password that was chosen, for an account with a second factor."""
    password = told.get("password", "")
    if password != told.get("again", ""):
        return "The two passwords are not the same."
    return password_problem(password, email, alone=False)


def _enrolling(shell: Shell) -> list[Any]:
    gate = shell.gate

    async def show(request: Web, problem: str = "") -> Response[Any]:
        signed = await gate.find(request, "setup")
        if signed is None:
            return shell.go(gate.door_of(request))
        adding = await gate.run(lambda: staff_factors.adding(gate.context, signed))
        if adding is None:
            return shell.go(gate.door_of(request))
        return shell.door(
            "console_enrol.html",
            cookie=gate.session_of(request),
            status=_REFUSED if problem else 200,
            problem=problem,
            target=_ENROL,
            back="",
            **enrolment(adding),
        )

    @get(_ENROL, **open_to_all())
    async def form(request: Web) -> Response[Any]:
        return await show(request)

    @post(_ENROL, status_code=200, **open_to_all())
    async def confirm(request: Web) -> Response[Any]:
        gate.count_door(request)
        told = await gate.form_of(request, gate.session_of(request))
        signed = await gate.find(request, "setup")
        if signed is None:
            raise SignInNeeded("Please open your set-up link once more.")
        made = await gate.run(
            lambda: staff.finish_setup(
                gate.context,
                signed,
                code=told.get("code", ""),
                answer=told.get("answer", ""),
                name=told.get("name", ""),
            )
        )
        if made is None:
            return await show(request, _WRONG_CODE)
        session, codes = made
        door = "" if signed.tenant.is_master else f"{gate.context.policy.base_url}{door_of(signed.tenant)}"
        response = shell.door("console_codes.html", cookie=session, codes=codes, next=_HOME, door=door)
        response.cookies += [gate.session_cookie(session), gate.place_cookie(signed.tenant)]
        return response

    return [form, confirm]


def enrolment(adding: staff_factors.Adding) -> dict[str, Any]:
    """What the page that adds a factor needs: the QR code as SVG, the secret in groups, the question."""
    code = segno.make(adding.address, error="m", micro=False)
    groups = [adding.secret[i : i + 4] for i in range(0, len(adding.secret), 4)]
    return {
        "code": code.svg_inline(
            omitsize=True, border=4, light="#fff", dark="#000", svgclass="code", lineclass=None
        ),
        "groups": " ".join(groups),
        "question": adding.question,
    }


# -- out ------------------------------------------------------------------------------------------------


def _leaving(shell: Shell) -> Any:
    gate = shell.gate

    @post("/console/sign-out", status_code=200, **needs(gate, "look"))
    async def leave(request: Web) -> Response[Any]:
        await gate.form_of(request, gate.session_of(request))
        signed = signed_of(request)
        await gate.run(lambda: staff_sign_in.sign_out(gate.context, signed))
        response = shell.go(door_of(signed.tenant))
        response.cookies.append(gate.session_cookie(""))
        return response

    return leave
