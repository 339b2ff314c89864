"""Signing keys: their states, where programs find them, rotate and revoke."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

from litestar import Response, get
from litestar.params import FromQuery

from keywright.domain.errors import NotFound
from keywright.flows import signing_keys
from keywright.flows.console import Rehearsal
from keywright.flows.context import Context
from keywright.flows.signing_keys import Changed, KeyAct, KeyRow, KeysShown
from keywright.web.console import words
from keywright.web.console.asking import REASON, Asked, Deal, Effect, Field, Steps, routes_of
from keywright.web.console.gate import Web, needs, signed_of
from keywright.web.console.shell import Shell

_PAGE: Final = "/console/keys"
_ROTATE: Final = f"{_PAGE}/rotate"
_REVOKE: Final = f"{_PAGE}/{{kid:str}}/revoke"
_ABOVE: Final = "Signing keys"
_NEAR: Final = timedelta(days=30)

TYPES: Final[Mapping[str, str]] = {
    "lic+jwt": "License files",
    "lease+jwt": "Leases",
    "crl+jwt": "Revocation lists",
}
STATES: Final[Mapping[str, tuple[str, str, str]]] = {
    "active": ("Signs", "", "signs now, and its tokens count"),
    "next": ("Next", "wait", "is published, and signs after the next rotation"),
    "verify-only": ("Counts", "still", "signs no more; its tokens count, and its private half is erased"),
    "revoked": ("Revoked", "bad", "its tokens count no longer"),
}
_DONE: Final = {
    "rotated": "The next keys sign now. Running servers take them up within two seconds.",
    "revoked": "The key is revoked: its tokens count no longer.",
}


def routes(shell: Shell) -> list[Any]:
    """`/console/keys` and beneath it."""
    rotate = Steps(_rotate_deal, _preview_rotation, _rotate)
    revoke = Steps(_revoke_deal, _preview_revocation, _revoke)
    return [
        _showing(shell),
        *routes_of(shell, _ROTATE, "decide", rotate, proven=True),
        *routes_of(shell, _REVOKE, "decide", revoke, proven=True),
    ]


# -- see ------------------------------------------------------------------------------------------------


def _showing(shell: Shell) -> Any:
    gate, context = shell.gate, shell.context

    @get(_PAGE, **needs(gate, "look"))
    async def show(request: Web, done: FromQuery[str] = "") -> Response[Any]:
        tenant = signed_of(request).staff.tenant_id
        found = await gate.run(lambda: signing_keys.show(context, tenant))
        order = list(STATES)
        good = sorted(
            (one for one in found.items if one.state != "revoked"), key=lambda one: order.index(one.state)
        )
        return shell.page(
            request,
            "console_keys.html",
            notice=_DONE.get(done, ""),
            groups=[
                (label, [_row(one) for one in good if one.type == type_]) for type_, label in TYPES.items()
            ],
            revoked=[_row(one) for one in found.items if one.state == "revoked"],
            states=[(label, badge, meaning) for label, badge, meaning in STATES.values()],
            addresses=_addresses(context, tenant),
            root=_root(context, found),
        )

    return show


def _row(one: KeyRow) -> dict[str, str]:
    label, badge, _ = STATES[one.state]
    return {
        "kid": one.kid,
        "type": TYPES.get(one.type, one.type),
        "state": label,
        "badge": badge,
        "published": words.short(one.created_at),
        "since": words.short(one.activated_at) if one.activated_at is not None else "",
        "until": words.short(one.retired_at) if one.retired_at is not None else "",
        "revoked": words.short(one.revoked_at) if one.revoked_at is not None else "",
        "reason": one.reason or "",
        "signed": {True: "Yes", False: "No", None: ""}[one.in_signed_set],
    }


def _addresses(context: Context, tenant: str) -> list[tuple[str, str]]:
    """Where programs find what they check with."""
    base = context.policy.base_url if tenant == context.master.id else context.issuer(tenant)
    return [
        ("Key set (JWKS)", f"{base}/.well-known/jwks.json"),
        ("Key set under the root", f"{base}/.well-known/keywright-keys.jwt"),
        ("Revocation list", f"{base}/.well-known/keywright-revoked.jwt"),
    ]


def _root(context: Context, found: KeysShown) -> dict[str, Any]:
    """The offline root: what it has signed, and what is to be done about it."""
    signed = found.signed_set
    if signed is None:
        return {"public": "", "facts": [], "todo": ""}
    facts = [
        ("Number", "None yet" if signed.seq is None else f"{signed.seq:,}"),
        ("Signed", words.moment(signed.signed_at)),
        ("Counts until", words.moment(signed.signed_until)),
    ]
    return {"public": signed.root, "facts": facts, "todo": _todo(context, found)}


def _todo(context: Context, found: KeysShown) -> str:
    signed = found.signed_set
    if signed is None or signed.signed_until is None:
        return "The root has signed no key set yet: programs that pin it believe nothing."
    left = signed.signed_until - context.clock.now()
    if left <= timedelta(0):
        return "The signed key set has ended: programs that pin the root believe nothing new."
    if any(one.state == "active" and not one.in_signed_set for one in found.items):
        return "A key signs that the root has not signed for: programs that pin the root refuse its tokens."
    if any(one.state == "revoked" and one.in_signed_set for one in found.items):
        return "The signed key set still tells of a revoked key."
    if any(one.state == "next" and not one.in_signed_set for one in found.items):
        return "The signed key set lacks a next key, so keys cannot rotate."
    return f"The signed key set ends in {left.days} days." if left < _NEAR else ""


# -- act ------------------------------------------------------------------------------------------------


def _rotate_deal(_context: Context, _asked: Asked) -> Deal:
    types = (("", "All of them"), *TYPES.items())
    return Deal(
        title="Rotate keys",
        meaning="The next key signs from now on, the one before it goes on counting, and another next one is "
        "published. Nothing has to be restarted, and no program notices that fetches the key set.",
        back=_PAGE,
        above=_ABOVE,
        fields=(
            Field("type", "For what", kind="choice", choices=types),
            Field("force", "Also if the offline root has not signed for the next key", kind="tick"),
            REASON,
        ),
    )


def _rotated(context: Context, asked: Asked) -> Changed:
    token_type, force = asked.told.get("type") or None, asked.told.get("force") == "yes"
    return signing_keys.rotate(context, asked.tenant, _act(asked), token_type=token_type, force=force)


def _act(asked: Asked) -> KeyAct:
    return KeyAct(asked.act.by, asked.act.reason)


def _rehearsing(context: Context) -> Context:
    return replace(context, database=Rehearsal(context.database))


def _preview_rotation(context: Context, asked: Asked) -> Effect:
    before = signing_keys.show(context, asked.tenant)
    return _effect(before, _rotated(_rehearsing(context), asked))


def _rotate(context: Context, asked: Asked) -> str:
    _rotated(context, asked)
    return f"{_PAGE}?done=rotated"


def _revoke_deal(context: Context, asked: Asked) -> Deal:
    found = signing_keys.show(context, asked.tenant).items
    key = next((one for one in found if one.kid == asked.named["kid"]), None)
    if key is None:
        raise NotFound("There is no such signing key.", code="KEY_UNKNOWN")
    what = TYPES.get(key.type, key.type).lower()
    told = {
        "active": "It signs now: the next key takes its place at once.",
        "next": "It has signed nothing yet: another next key is published in its place.",
        "verify-only": "It signs no more.",
        "revoked": "It is revoked already.",
    }[key.state]
    return Deal(
        title="Revoke the key",
        meaning=f"The key {key.kid} is for {what}. {told} No token of a revoked key counts any longer, and "
        "that cannot be taken back: programs ask for new ones when they are online, and those that never are "
        "stop with their lease or file.",
        back=_PAGE,
        above=_ABOVE,
    )


def _revoked(context: Context, asked: Asked) -> Changed:
    return signing_keys.revoke(context, asked.tenant, asked.named["kid"], _act(asked))


def _preview_revocation(context: Context, asked: Asked) -> Effect:
    before = signing_keys.show(context, asked.tenant)
    return _effect(before, _revoked(_rehearsing(context), asked))


def _revoke(context: Context, asked: Asked) -> str:
    _revoked(context, asked)
    return f"{_PAGE}?done=revoked"


def _effect(before: KeysShown, done: Changed) -> Effect:
    known = {one.kid: one for one in before.items}
    changes = []
    for one in done.items:
        was = known.get(one.kid)
        # A key that the trial run made is gone with it; the real one will have another id.
        name = one.kid if was is not None else "A new key"
        if was is None or was.state != one.state:
            now = STATES[was.state][0] if was is not None else "Not there"
            changes.append((f"{TYPES.get(one.type, one.type)}: {name}", now, STATES[one.state][0]))
    notes = list(done.notes)
    return Effect(changes, notes)
