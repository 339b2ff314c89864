"""An act in two steps, as every page of settings has it: a form with a reason, what it would do, and done."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
from litestar import Response, get, post

from keywright.domain.errors import Conflict, Forbidden, Invalid, KeywrightError, Misconfigured, NotFound
from keywright.domain.staff import Deed
from keywright.flows.context import Context
from keywright.flows.operate import Act
from keywright.web.console.gate import Form, Web, act_of, needs, signed_of
from keywright.web.console.shell import Shell


class Field(msgspec.Struct, frozen=True):
    """`kind`: an input's type, `choice` with `choices` (value, name), or `tick`. `usual`: what it begins
    with."""

    name: str
    label: str
    kind: str = "text"
    hint: str = ""
    choices: tuple[tuple[str, str], ...] = ()
    usual: str = ""
    most: int = 200
    required: bool = False


REASON: Final = Field(
    "reason", "Reason", hint="Stands in the audit for good. Name a ticket, not a person.", most=500
)


class Deal(msgspec.Struct, frozen=True):
    """What an act is called and means. `back`: where one comes from, called `above`. `grave`: it cannot be
    taken back."""

    title: str
    meaning: str
    back: str
    above: str
    fields: tuple[Field, ...] = (REASON,)
    button: str = "Show what it would do"
    grave: bool = False


class Effect(msgspec.Struct, frozen=True):
    """What would change: name, now, then; and what else to know."""

    changes: list[tuple[str, str, str]]
    notes: list[str] = []


class Once(msgspec.Struct, frozen=True):
    """A secret that was made, for this one page."""

    title: str
    meaning: str
    label: str
    secret: str

    def __repr__(self) -> str:  # secrets never reach a log
        return f"Once({self.title!r}, ...)"


class Asked(msgspec.Struct, frozen=True):
    """Who asks for what: the tenant, the act with its reason, the form, and what the address names."""

    tenant: str
    act: Act
    told: Form
    named: Mapping[str, str]


class Steps(msgspec.Struct, frozen=True):
    """An act's three parts. Each may raise NotFound; the last two Invalid and Conflict.

    `do` answers with the address to go on to, or with a secret to show.
    """

    deal: Callable[[Context, Asked], Deal]
    preview: Callable[[Context, Asked], Effect]
    do: Callable[[Context, Asked], str | Once]


_UNFIT: Final = 422
_REFUSALS: Final = (Conflict, Invalid, Forbidden, Misconfigured)


def routes_of(shell: Shell, path: str, deed: Deed, steps: Steps, *, proven: bool = False) -> list[Any]:
    """The form at this path, its preview, and the act itself. All three are checked alike."""
    gate, context = shell.gate, shell.context
    declared = needs(gate, deed, proven=proven, form=True)

    def asked_by(request: Web, told: Form) -> Asked:
        named = {name: str(value) for name, value in request.path_params.items()}
        act = act_of(request, told.get("reason", "").strip())
        return Asked(signed_of(request).staff.tenant_id, act, told, named)

    def form_page(request: Web, deal: Deal, told: Form, error: KeywrightError | None = None) -> Response[Any]:
        return shell.page(
            request,
            "console_ask.html",
            # A setting that is wrong is a mistake in this form, and no failure of the server.
            status=200 if error is None else min(error.status, _UNFIT),
            deal=deal,
            told={one.name: told.get(one.name, "" if told else one.usual) for one in deal.fields},
            problem=error.detail if error is not None else "",
        )

    @get(path, **declared)
    async def form(request: Web) -> Response[Any]:
        # What the address says beside its path fills the form in, where the act's fields take it up.
        asked = asked_by(request, {name: str(value) for name, value in request.query_params.items()})
        deal = await gate.run(lambda: steps.deal(context.of(asked.tenant), asked))
        return form_page(request, deal, {})

    @post(path, status_code=200, **declared)
    async def act(request: Web) -> Response[Any]:
        told = await gate.act_form(request)
        asked = asked_by(request, told)
        deal = await gate.run(lambda: steps.deal(context.of(asked.tenant), asked))
        try:
            if told.get("step") == "do":
                done = await gate.run(lambda: steps.do(context.of(asked.tenant), asked))
                if isinstance(done, str):
                    return shell.go(done)
                return shell.page(request, "console_once.html", deal=deal, once=done)
            effect = await gate.run(lambda: steps.preview(context.of(asked.tenant), asked))
        except NotFound:
            raise
        except _REFUSALS as error:
            return form_page(request, deal, told, error)
        kept = {one.name: told.get(one.name, "") for one in deal.fields}
        return shell.page(request, "console_sure.html", deal=deal, effect=effect, told=kept)

    return [form, act]
