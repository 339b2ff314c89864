"""What a typed key may be: one of ours, one of a seller's own scheme, or one that was taken over as it is.

A key of ours is told by its check character alone. Any other text is looked for only under the schemes of
which keys are held, so where there are none it never reaches the database.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final

import msgspec
import structlog

from keywright.domain import license_key
from keywright.domain.errors import Misconfigured
from keywright.domain.plan import Terms
from keywright.ports import KeyScheme
from keywright.store import key_schemes, wall
from keywright.store.engine import Database

log = structlog.get_logger(__name__)

EXACT: Final = "exact"
"""The scheme of keys that are taken over as they are and belong to no installed scheme."""

SHORTEST, LONGEST = 4, 256
_RANDOM_BYTES: Final = 32
_LONGEST_TYPED: Final = 1024
# What copying out of a mail or a page leaves around a key, and no eye sees.
_AROUND: Final = "\u200b\u2060\ufeff"
# Begins what the vault keeps of a key that stands there as it is printed: no key of ours has this character.
_AS_PRINTED: Final = "="
# Between a scheme's name and what it reads: in neither there is one, so forms of two schemes never meet.
_OF: Final = "\n"
_SHOWN: Final = 5


class Key(msgspec.Struct, frozen=True):
    """`form`: what a key is looked up by. `kept`: what the vault holds. `last5`: what staff see."""

    form: str
    kept: str
    last5: str

    @property
    def is_foreign(self) -> bool:
        """Whether it is looked up under a scheme, and not as a key of ours."""
        return _OF in self.form

    def __repr__(self) -> str:  # keys never reach a log
        return "Key(...)"


class Schemes:
    """The installed schemes of sellers, and those under which keys are held. One per process."""

    def __init__(self, installed: Mapping[str, KeyScheme] | None = None) -> None:
        self.installed: Mapping[str, KeyScheme] = installed or {}
        self._in_use: tuple[str, ...] = ()

    def learn(self, database: Database) -> None:
        """Read which schemes are in use. Another process may have brought one in a moment ago."""
        # Of all tenants: a program says its key, and not whose it is.
        with wall.lifted(), database.read() as connection:
            self._in_use = tuple(key_schemes.list_used(connection))

    def missing(self) -> list[str]:
        """Schemes in use that no installed package offers: their keys are not found."""
        return [name for name in self._in_use if name != EXACT and name not in self.installed]

    def forms(self, text: str) -> tuple[str, ...]:
        """What a text that is no key of ours may be looked up by; mostly nothing."""
        found = (self.form(name, text) for name in self._in_use)
        return tuple(form for form in found if form is not None)

    def form(self, name: str, text: str) -> str | None:
        """What the text is looked up by under one scheme; None when it is no key of it."""
        typed = trimmed(text)
        if typed is None:
            return None
        read = typed if name == EXACT else self._read(name, typed)
        return None if read is None else f"{name}{_OF}{read}"

    def _read(self, name: str, typed: str) -> str | None:
        scheme = self.installed.get(name)
        if scheme is None:
            return None
        try:
            read = scheme.canonical(typed)
        except Exception as error:  # noqa: BLE001  # a seller's code must not end the call of a program
            log.warning("key_scheme_failed", scheme=name, error=type(error).__qualname__)
            return None
        return read if isinstance(read, str) and 0 < len(read) <= LONGEST and read.isprintable() else None


def trimmed(text: str) -> str | None:
    """The text without what is around it; None when it is not 4 to 256 printable characters."""
    if len(text) > _LONGEST_TYPED:
        return None
    typed = text.strip().strip(_AROUND).strip()
    return typed if SHORTEST <= len(typed) <= LONGEST and typed.isprintable() else None


def forms(schemes: Schemes, text: str) -> tuple[str, ...]:
    """What a typed text may be looked up by, most likely first. Empty: no such key can exist."""
    ours = license_key.canonical(text)
    return (ours,) if ours is not None else schemes.forms(text)


def fresh(schemes: Schemes, terms: Terms) -> Key:
    """A new key for a license of a plan: of the product's own scheme where it has one, else of ours.

    Raises Misconfigured when the scheme is not installed, or makes what it does not take for its own.
    """
    if terms.key_scheme is None:
        return of_ours(license_key.fresh(os.urandom(license_key.RANDOM_BYTES)))
    scheme = schemes.installed.get(terms.key_scheme)
    if scheme is None:
        raise Misconfigured(f"The key scheme {terms.key_scheme} is not installed here.")
    made = brought(schemes, terms.key_scheme, scheme.make(os.urandom(_RANDOM_BYTES)))
    if made is None:
        raise Misconfigured(f"The key scheme {terms.key_scheme} does not know a key that it made itself.")
    return made


def of_ours(canonical: str) -> Key:
    """A key of our own kind, from its canonical form."""
    return Key(canonical, canonical, license_key.last5(canonical))


def brought(schemes: Schemes, scheme: str, text: str) -> Key | None:
    """A key that others made, kept as it is printed. None when it is none of that scheme.

    A text that happens to be one of ours is one of ours: so is it read when somebody types it.
    """
    ours = license_key.canonical(text)
    form = ours if ours is not None else schemes.form(scheme, text)
    printed = trimmed(text)
    if form is None or printed is None:
        return None
    # Of a short key five characters would be most of it.
    return Key(form, _AS_PRINTED + printed, printed[-min(_SHOWN, len(printed) // 3) :])


def unfit(scheme: str) -> str:
    """Why no license gets a key of this text: it is none of the scheme, or another tenant has it.

    Which of the two is not told: a seller could find out by his own files which keys others have given out.
    """
    if scheme == EXACT:
        return f"key must be {SHORTEST} to {LONGEST} printable characters that can be a key here"
    return f"key is none of the scheme {scheme} that can be a key here"


def printed(prefix: str, kept: str) -> str:
    """The key as people have it, from what the vault holds and the product's prefix."""
    return kept[1:] if kept.startswith(_AS_PRINTED) else license_key.display(prefix, kept)
