"""Mail look: every mail as it goes out, in each language; and color, logo and language of them, changed."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any, Final

from litestar import Response, get, post
from litestar.datastructures import UploadFile
from litestar.params import FromPath, FromQuery

from keywright.domain.errors import Invalid
from keywright.domain.language import LANGUAGES, is_language
from keywright.domain.logo import HIGHEST, LARGEST, WIDEST
from keywright.domain.look import PAPER, Look, contrast, paint
from keywright.flows import letter_samples, looks
from keywright.flows.looks import Change, Wish
from keywright.ports import Letter
from keywright.web.console.gate import Form, Web, act_of, needs, signed_of
from keywright.web.console.shell import Shell
from keywright.web.styles import styles_of

_PAGE: Final = "/console/looks"
_CHANGE: Final = f"{_PAGE}/change"
_LARGEST_FORM: Final = 64 * 1024  # the logo goes along in base64 from the preview on
_FIRST: Final = "license"
_DARK: Final = "@media (prefers-color-scheme:dark)"
_BOTH: Final = "light dark"
_NAMES: Final[Mapping[str, str]] = {
    "license": "License key",
    "license-device": "License key, bought from inside a program",
    "license-firm": "License key of a firm, with an HMAC key",
    "payment-failed": "A payment failed",
    "grace-ending": "Grace is about to end",
    "trial-ending": "A trial is about to end",
    "expired": "A license stopped: not paid",
    "expired-canceled": "A license ended: canceled",
    "expired-trial": "A license ended: trial over",
    "renewed": "A license was renewed",
    "seats-changed": "Seats were changed",
    "refunded": "Money was given back",
    "portal-link": "Link to sign in",
    "address-link": "Link to confirm an address",
    "address-moved": "An address was changed",
    "dead-letter": "An event could not be applied",
    "bad-signatures": "Many wrong signatures",
    "hmac-key-missing": "A license has no HMAC key",
    "repurchase-unproven": "A purchase may have been meant for an older license",
    "renewal-refused": "A renewal could not be done",
    "mail-undeliverable": "A mail could not be delivered",
    "staff-invited": "Invitation of a tenant's first person",
    "staff-set-up": "An account was set up",
    "staff-password-changed": "A password was changed",
    "staff-factor-added": "A second factor was added",
    "staff-factor-removed": "A second factor was removed",
    "staff-codes-made": "New recovery codes",
    "staff-code-used": "A recovery code was used",
}


def routes(shell: Shell) -> list[Any]:
    """`/console/looks` and beneath it."""
    return [_showing(shell), _reading(shell), *_changing(shell)]


# -- see ------------------------------------------------------------------------------------------------


def _showing(shell: Shell) -> Any:
    gate, context = shell.gate, shell.context

    @get(_PAGE, **needs(gate, "look"))
    async def show(request: Web, done: FromQuery[str] = "") -> Response[Any]:
        tenant = signed_of(request).staff.tenant_id
        look = await gate.run(lambda: looks.show(context, tenant))
        letters = [(name, _NAMES.get(name, name)) for name in letter_samples.names()]
        return shell.page(
            request,
            "console_looks.html",
            notice="The next mail looks so, and the shop does within a minute." if done else "",
            look=look,
            language=LANGUAGES[look.language],
            logo=_shown(look),
            note=_note(look.color),
            letters=letters,
            languages=LANGUAGES,
        )

    return show


def _reading(shell: Shell) -> Any:
    gate, context = shell.gate, shell.context

    @get(f"{_PAGE}/letters/{{letter:str}}", **needs(gate, "look"))
    async def read(request: Web, letter: FromPath[str], language: FromQuery[str] = "") -> Response[Any]:
        tenant = signed_of(request).staff.tenant_id

        def written() -> tuple[Look, Letter]:
            look = looks.show(context, tenant)
            if is_language(language):
                look = Look(look.color, language, look.logo)
            return look, letter_samples.write(context, tenant, letter, look)

        look, sample = await gate.run(written)
        by_day, by_night = _framed(sample)
        return shell.page(
            request,
            "console_letter.html",
            styles=styles_of(by_day + by_night),
            letter=letter,
            name=_NAMES.get(letter, letter),
            sample=sample,
            by_day=by_day,
            by_night=by_night,
            spoken=look.language,
            languages=LANGUAGES,
        )

    return read


def _framed(letter: Letter) -> tuple[str, str]:
    """The HTML of a mail for frames, by day and in dark mode, whichever the browser around them is in.

    With the picture in it, which in a mail comes along beside it.
    """
    html = letter.html
    if letter.logo is not None:
        html = html.replace(f"cid:{letter.logo.digest}@logo", _address(letter.logo.png))
    by_day = html.replace(_DARK, "@media not all").replace(_BOTH, "light")
    return by_day, html.replace(_DARK, "@media all").replace(_BOTH, "dark")


def _address(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def _shown(look: Look) -> dict[str, Any] | None:
    if look.logo is None:
        return None
    width, height = look.logo.shown
    return {"address": _address(look.logo.png), "width": width, "height": height}


def _note(color: str) -> str:
    """What becomes of a color that would hardly be seen."""
    worn = paint(color)
    if worn.fill == color:
        return ""
    told = f"{contrast(color, PAPER):.1f}"
    return f"On white it has a contrast of {told} to 1, and 3 are needed: mails wear {worn.fill} by day."


# -- change ---------------------------------------------------------------------------------------------


def _changing(shell: Shell) -> list[Any]:
    gate, context = shell.gate, shell.context
    declared = {**needs(gate, "decide", form=True), "request_max_body_size": _LARGEST_FORM}

    async def form_page(request: Web, told: Form, problem: str = "", status: int = 200) -> Response[Any]:
        tenant = signed_of(request).staff.tenant_id
        look = await gate.run(lambda: looks.show(context, tenant))
        return shell.page(
            request,
            "console_look.html",
            status=status,
            problem=problem,
            color=told.get("color", look.color),
            spoken=told.get("language", look.language),
            reason=told.get("reason", ""),
            logo=_shown(look),
            languages=LANGUAGES,
            most=LARGEST // 1024,
            size=f"{WIDEST} by {HIGHEST}",
        )

    @get(_CHANGE, **declared)
    async def form(request: Web) -> Response[Any]:
        return await form_page(request, {})

    @post(_CHANGE, status_code=200, **declared)
    async def change(request: Web) -> Response[Any]:
        told = await gate.act_form(request)
        tenant, act = signed_of(request).staff.tenant_id, act_of(request, told.get("reason", "").strip())
        try:
            logo = await _logo_of(request, told)
            wish = Wish(told.get("color"), told.get("language"), logo)
            if told.get("step") == "do":
                await gate.run(lambda: looks.change(context, tenant, act, wish))
                return shell.go(f"{_PAGE}?done=yes")

            def rehearsed() -> tuple[Change, Letter]:
                would = looks.rehearse(context, tenant, wish)
                return would, letter_samples.write(context, tenant, _FIRST, would.after)

            would, sample = await gate.run(rehearsed)
        except Invalid as error:
            return await form_page(request, told, error.detail, error.status)
        by_day, by_night = _framed(sample)
        kept = {name: told.get(name, "") for name in ("color", "language", "reason")}
        if logo is not None:
            kept["logo"] = base64.urlsafe_b64encode(logo).decode() or "none"
        return shell.page(
            request,
            "console_look_sure.html",
            styles=styles_of(by_day + by_night),
            changes=_changes(would),
            note=_note(would.after.color),
            by_day=by_day,
            by_night=by_night,
            told=kept,
        )

    return [form, change]


async def _logo_of(request: Web, told: Form) -> bytes | None:
    """The logo that was chosen: bytes of a file; empty to take it away; None to leave it. Raises Invalid."""
    kept = told.get("logo", "")
    if told.get("no_logo") or kept == "none":
        return b""
    if kept:
        try:
            return base64.urlsafe_b64decode(kept)
        except (binascii.Error, ValueError):
            raise Invalid(
                "The logo did not arrive whole. Please choose it again.", code="LOGO_INVALID"
            ) from None
    sent = (await request.form()).get("file")
    data = await sent.read() if isinstance(sent, UploadFile) else b""
    return data or None


def _changes(would: Change) -> list[tuple[str, str, str]]:
    before, after = would.before, would.after
    rows = [
        ("Color", before.color, after.color),
        ("Language", LANGUAGES[before.language], LANGUAGES[after.language]),
        ("Logo", _size(before), _size(after)),
    ]
    if before.logo is not None and after.logo is not None and before.logo != after.logo:
        rows[2] = ("Logo", f"{_size(before)}, as it is", f"{_size(after)}, another")
    return [(name, old, new) for name, old, new in rows if old != new]


def _size(look: Look) -> str:
    return "None" if look.logo is None else f"{look.logo.width} by {look.logo.height} pixels"
