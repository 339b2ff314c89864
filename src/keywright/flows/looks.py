"""What a seller's mails look like: shown, changed and audited."""

from __future__ import annotations

from typing import Any

import msgspec

from keywright.domain.errors import Invalid
from keywright.domain.logo import Logo, read_logo
from keywright.domain.look import PLAIN, Look, read_color, read_language
from keywright.flows.context import Context
from keywright.flows.operate import Act
from keywright.store import audit
from keywright.store import looks as stored


class Wish(msgspec.Struct, frozen=True):
    """What is to change. None: stays as it is. `logo`: a PNG; empty bytes take the logo away."""

    color: str | None = None
    language: str | None = None
    logo: bytes | None = None


class Change(msgspec.Struct, frozen=True):
    before: Look
    after: Look


def show(context: Context, tenant: str) -> Look:
    with context.database.read() as connection:
        return stored.find(connection, tenant) or PLAIN


def rehearse(context: Context, tenant: str, wish: Wish) -> Change:
    """What a change would do. Raises Invalid as `change` does."""
    before = show(context, tenant)
    return Change(before, _changed(before, wish))


def change(context: Context, tenant: str, act: Act, wish: Wish) -> Change:
    """Change the look of a tenant's mails, from the next mail on.

    Raises:
        Invalid: `COLOR_INVALID`, `LANGUAGE_UNKNOWN`, `LOGO_INVALID`; or nothing would change.
    """
    now = context.clock.now()
    with context.database.write() as connection:
        # Writers of one tenant queue here, so that each sees what the one before it did.
        audit.hold(connection, tenant)
        before = stored.find(connection, tenant) or PLAIN
        after = _changed(before, wish)
        told: dict[str, Any] = {"before": _told(before), "after": _told(after)}
        if act.reason:
            told["reason"] = act.reason
        audit.append(connection, tenant, act.by, "look.changed", tenant, told, now)
        stored.write(connection, tenant, after, now)
    return Change(before, after)


def _changed(before: Look, wish: Wish) -> Look:
    after = Look(
        before.color if wish.color is None else read_color(wish.color),
        before.language if wish.language is None else read_language(wish.language),
        before.logo if wish.logo is None else _logo(wish.logo),
    )
    if after == before:
        raise Invalid("That is what mails look like already.", code="LOOK_SAME")
    return after


def _logo(png: bytes) -> Logo | None:
    return read_logo(png) if png else None


def _told(look: Look) -> dict[str, str]:
    """A look in the audit: of the logo only what it is recognized by."""
    return {
        "color": look.color,
        "language": look.language,
        "logo": "none" if look.logo is None else f"{look.logo.digest} {look.logo.width}x{look.logo.height}",
    }
