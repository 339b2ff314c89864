"""How one mail is dressed: as its seller chose, in the language of whom it is for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from keywright.domain.language import is_language
from keywright.domain.look import PLAIN, Look
from keywright.store import looks
from keywright.store.announcements import Announcement
from keywright.store.letters import LetterSource

_LANGUAGE: Final = "language"


def of(connection: sa.Connection, owed: Sequence[Announcement]) -> Mapping[str, Look]:
    """Tenant -> look, for the tenants of these mails."""
    tenants = {one.tenant_id for one in owed}
    return {**dict.fromkeys(tenants, PLAIN), **looks.of(connection, tenants)}


def spoken(look: Look, owed: Announcement, source: LetterSource | None) -> Look:
    """The look in the language of whom the mail is for: the customer's, else what the mail was owed with,
    else the seller's."""
    tag = source.language if source is not None else None
    if tag is None and f'"{_LANGUAGE}"' in owed.detail:
        tag = str(msgspec.json.decode(owed.detail, type=dict[str, Any]).get(_LANGUAGE, ""))
    if tag is None or tag == look.language or not is_language(tag):
        return look
    return msgspec.structs.replace(look, language=tag)


def detail_of(
    connection: sa.Connection, tenant: str, customer_id: str, *, guess: str | None = None, **told: str
) -> str:
    """What a mail to a customer is owed with, as JSON: his language, or the guess when we do not know it."""
    tag = looks.language_of(connection, tenant, customer_id) or guess
    return msgspec.json.encode({_LANGUAGE: tag, **told} if tag else told).decode()
