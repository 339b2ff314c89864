"""API tokens: `kw_` and 256 random bits with a checksum. Stored as SHA-256 only; shown once."""

from __future__ import annotations

import hashlib
import os
import zlib
from typing import Final, Literal, get_args

from keywright.domain.errors import Invalid, NotFound
from keywright.flows.context import Context
from keywright.store import audit, tenants, token_rows
from keywright.store.tenants import Tenant, Token
from keywright.store.token_rows import TokenSeen

Scope = Literal["read", "checkout", "write", "admin"]
SCOPES: Final[tuple[Scope, ...]] = get_args(Scope)

# What a scope may do. `checkout` stands aside: it opens checkouts and reads nothing.
_INCLUDES: Final[dict[str, frozenset[str]]] = {
    "read": frozenset({"read"}),
    "write": frozenset({"read", "write"}),
    "admin": frozenset({"read", "write", "admin", "checkout"}),
    "checkout": frozenset({"checkout"}),
}
_PREFIX: Final = "kw_"
_ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"
_BODY: Final = 52  # 256 bits in base32
_CHECK: Final = 7  # 32 bits in base32
_LONGEST_NAME: Final = 100


def check(name: str, scope: str) -> None:
    """Raises Invalid when the name or the scope is none."""
    if scope not in SCOPES:
        raise Invalid(f"`scope` must be one of {', '.join(SCOPES)}.")
    if not name.strip() or len(name) > _LONGEST_NAME or not name.isprintable():
        raise Invalid("`name` must be 1 to 100 printable characters.")


def create(
    context: Context, tenant: Tenant, name: str, scope: str, *, by: str = "command line"
) -> tuple[Token, str]:
    """`issue`, for a tenant at hand."""
    return issue(context, tenant.id, name, scope, by=by)


def issue(
    context: Context, tenant: str, name: str, scope: str, *, by: str, why: str | None = None
) -> tuple[Token, str]:
    """Make a token. Returns its row and the token itself, which nobody can show again.

    `by`, `why`: for the audit. Raises Invalid when the name or the scope is none.
    """
    check(name, scope)
    text = make(os.urandom(32))
    made = Token(context.new_id("tok"), tenant, name.strip(), scope)
    with context.database.write() as connection:
        now = context.clock.now()
        tenants.insert_token(connection, made, _hash(text), now)
        # Not its name: tokens are named after people.
        told = {"scope": scope, **({"why": why} if why else {})}
        audit.append(connection, tenant, by, "token.created", made.id, told, now)
    return made, text


def find(context: Context, text: str) -> Token | None:
    """The token that was given, or None. One with a wrong checksum never reaches the database."""
    body = text.removeprefix(_PREFIX)
    if not text.startswith(_PREFIX) or len(body) != _BODY + _CHECK or not text.isascii():
        return None
    if _checksum(body[:_BODY]) != body[_BODY:]:
        return None
    with context.database.read() as connection:
        return tenants.find_token(connection, _hash(text))


def list_all(context: Context, tenant: str) -> list[Token]:
    """The tenant's good tokens, oldest first. A token itself is never shown again."""
    with context.database.read() as connection:
        return token_rows.list_tokens(connection, tenant)


def list_seen(context: Context, tenant: str) -> list[TokenSeen]:
    """The tenant's good tokens for people, oldest first."""
    with context.database.read() as connection:
        return token_rows.list_seen(connection, tenant)


def revoke(
    context: Context, tenant: str, token_id: str, *, by: str = "command line", why: str | None = None
) -> None:
    """End a token. `by`, `why`: for the audit. Raises NotFound."""
    now = context.clock.now()
    with context.database.write() as connection:
        if not token_rows.revoke(connection, tenant, token_id, now):
            raise NotFound("There is no such token.", code="TOKEN_UNKNOWN")
        audit.append(connection, tenant, by, "token.revoked", token_id, {"why": why} if why else {}, now)


def may(token: Token, scope: Scope) -> bool:
    return scope in _INCLUDES.get(token.scope, frozenset())


def make(random: bytes) -> str:
    """The text of a token out of 32 random bytes. The checksum lets scanners of secrets be sure."""
    body = _base32(int.from_bytes(random, "big"), _BODY)
    return f"{_PREFIX}{body}{_checksum(body)}"


def _checksum(body: str) -> str:
    return _base32(zlib.crc32(body.encode()), _CHECK)


def _base32(number: int, length: int) -> str:
    return "".join(_ALPHABET[(number >> 5 * place) & 31] for place in reversed(range(length)))


def _hash(text: str) -> str:
    # A plain hash is enough: 256 random bits cannot be guessed.
    return hashlib.sha256(text.encode()).hexdigest()
