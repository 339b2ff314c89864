"""What a firm's installation checks its HMAC keys with: shown once, and changed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from keywright.domain.errors import Invalid, NotFound
from keywright.flows import firms
from keywright.flows.console import Rehearsal
from keywright.flows.context import Context
from keywright.flows.firms import FirmSecret
from keywright.web.console.asking import REASON, Asked, Deal, Effect, Field, Once, Steps, routes_of
from keywright.web.console.shell import Shell

_PAGE: Final = "/console/firms/secret"


def routes(shell: Shell) -> list[Any]:
    """`/console/firms/secret`."""
    return routes_of(shell, _PAGE, "decide", Steps(_deal, _preview, _show), proven=True)


def _deal(_context: Context, asked: Asked) -> Deal:
    return Deal(
        title="Show a firm's secret",
        meaning="What the firm's own installation checks its HMAC keys with. Whoever has it can make keys "
        "for that firm: hand it over on a safe way, and to nobody else.",
        back="/console/licenses",
        above="Licenses",
        fields=(
            Field(
                "firm",
                "Firm",
                hint="Exactly as its licenses name it.",
                usual=asked.told.get("firm", ""),
                required=True,
            ),
            Field("product", "Product", hint="Its slug. Needed where several products have codes.", most=63),
            Field("rotate", "Change it first, and mail new keys for all the firm's licenses", kind="tick"),
            REASON,
        ),
    )


def _made(context: Context, asked: Asked, *, rotate: bool) -> FirmSecret:
    product = asked.told.get("product", "").strip() or None
    firm = asked.told.get("firm", "")
    try:
        return firms.secrets_of(context, asked.tenant, firm, asked.act, product=product, rotate=rotate)
    except NotFound as error:  # of the product, which is a field of the form
        raise Invalid(error.detail, code=error.code) from None


def _preview(context: Context, asked: Asked) -> Effect:
    trial = replace(context, database=Rehearsal(context.database))
    rotate = asked.told.get("rotate") == "yes"
    now, then = (_made(trial, asked, rotate=False), _made(trial, asked, rotate=rotate))
    name = f"Secret of {now.firm} for {now.product}"
    notes = ["The secret is shown once, on the next page. That it was shown stands in the audit."]
    if rotate:
        notes.append(
            "Each license of the firm gets a new key by mail. Keys of the secret before go on working, those "
            "of the one before that do not."
        )
        return Effect([(name, f"Number {now.epoch}", f"Number {then.epoch}")], notes)
    return Effect([(name, f"Number {now.epoch}, not shown", f"Number {now.epoch}, shown to you")], notes)


def _show(context: Context, asked: Asked) -> Once:
    made = _made(context, asked, rotate=asked.told.get("rotate") == "yes")
    return Once(
        title=f"The secret of {made.firm}",
        meaning=f"For {made.product}. It goes into the file that the installation reads, one secret a line.",
        label=f"Secret number {made.epoch}",
        secret=made.secret,
    )
