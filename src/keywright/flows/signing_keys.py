"""Signing keys through their states: next -> active -> verify-only -> revoked. One transaction an act.

Running servers notice by the key set's version (`Signer.refresh`), so no act needs a restart. The key that
begins to sign was published all the while, so its first token meets no program that was told of no such key.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import get_args

import msgspec
import sqlalchemy as sa

from keywright.domain import key_documents
from keywright.domain.card_numbers import redact
from keywright.domain.errors import Conflict, Invalid, NotFound
from keywright.domain.license_token import TokenRefused
from keywright.domain.signing_key import PUBLISHED, PUBLISHED_AHEAD, KeyState
from keywright.flows.context import Context
from keywright.ports import TokenType
from keywright.store import audit, keys
from keywright.store.keys import KeySetRow, SigningKey

TYPES: tuple[TokenType, ...] = get_args(TokenType)
_LONGEST_REASON = 500


class KeyRow(msgspec.Struct, frozen=True):
    """A signing key as it is shown: no private half.

    `in_signed_set`: whether the key set that the offline root has signed tells of it; None without a root.
    """

    kid: str
    type: str
    state: KeyState
    public: str
    created_at: datetime
    activated_at: datetime | None
    retired_at: datetime | None
    revoked_at: datetime | None
    changed_by: str | None
    reason: str | None
    in_signed_set: bool | None


class SignedSet(msgspec.Struct, frozen=True):
    """The key set under the offline root. `seq` None: there is a root, and it has signed none yet."""

    root: str
    seq: int | None
    signed_at: datetime | None
    signed_until: datetime | None


class KeysShown(msgspec.Struct, frozen=True):
    items: list[KeyRow]
    next_cursor: str | None
    signed_set: SignedSet | None


class Changed(msgspec.Struct, frozen=True):
    """The keys that an act changed or made, as they are now, and what is left to do."""

    items: list[KeyRow]
    notes: list[str]


class KeyAct(msgspec.Struct, frozen=True):
    """Who changes keys, and why. No personal data: both stay with the key."""

    by: str
    reason: str | None = None


def show(context: Context, tenant: str) -> KeysShown:
    """Every key of the tenant, the oldest first, and the signed key set."""
    with context.database.read() as connection:
        stored = keys.list_signing_keys(connection, tenant)
        row = keys.find_key_set(connection, tenant)
    return KeysShown(_rows(stored, row), None, _signed_set(row))


def rotate(
    context: Context, tenant: str, act: KeyAct, *, token_type: str | None = None, force: bool = False
) -> Changed:
    """Let the next key sign, keep the active one for checking, and publish another next.

    For one type of token, or for all. Raises Invalid for an unknown type; Conflict when the offline root has
    not signed for the next key yet, except with `force`: programs that pin the root would refuse its tokens.
    """
    types = _types(token_type)
    now = context.clock.now()
    with context.database.write() as connection:
        stored, row = _begin(connection, tenant)
        if not force:
            _demand_cover([k for k in stored if k.state == "next" and k.token_type in types], row, now)
        touched: list[str] = []
        for one in types:
            touched += _advance(context, connection, stored, one, now, act, "verify-only")
        done = _finish(connection, tenant, touched, now)
        for one, kid in zip(types, touched[::2], strict=True):
            _audit(connection, tenant, "key.rotated", kid, one, act, now)
    context.signer.refresh()
    return done


def revoke(context: Context, tenant: str, kid: str, act: KeyAct) -> Changed:
    """Let no token of a key count any longer. For an active one the next key signs at once.

    Raises NotFound.
    """
    now = context.clock.now()
    with context.database.write() as connection:
        stored, _ = _begin(connection, tenant)
        found = next((one for one in stored if one.kid == kid), None)
        if found is None:
            raise NotFound("There is no such signing key.", code="KEY_UNKNOWN")
        if found.state == "revoked":
            return Changed(_rows([found], keys.find_key_set(connection, tenant)), [])
        (token_type,) = _types(found.token_type)
        if found.state == "active":
            touched = _advance(context, connection, stored, token_type, now, act, "revoked")
        else:
            keys.update_signing_key(connection, _ended(found, "revoked", now, act))
            touched = [kid]
            if found.state == "next":
                context.signer.publish_next(connection, tenant, token_type, now)
        done = _finish(connection, tenant, touched, now)
        _audit(connection, tenant, "key.revoked", kid, token_type, act, now)
    context.signer.refresh()
    return done


def _begin(connection: sa.Connection, tenant: str) -> tuple[list[SigningKey], KeySetRow]:
    keys.begin_key_set(connection, tenant)
    keys.changed(connection, tenant)  # first: on PostgreSQL it lets one change of keys at a time through
    return keys.list_signing_keys(connection, tenant), keys.find_key_set(connection, tenant)


def _advance(
    context: Context,
    connection: sa.Connection,
    stored: Sequence[SigningKey],
    token_type: TokenType,
    now: datetime,
    act: KeyAct,
    end: KeyState,
) -> list[str]:
    """The next key signs, the active one ends as said, and another next is published. Their ids."""
    of_type = {one.state: one for one in stored if one.token_type == token_type}
    ending, beginning = of_type.get("active"), of_type.get("next")
    if ending is None or beginning is None:
        raise Conflict("There is no next key yet. Run: keywright migrate", code="KEY_MISSING")
    # In this order: two keys of a type are never active at once, not even for a moment.
    keys.update_signing_key(connection, _ended(ending, end, now, act))
    begun = msgspec.structs.replace(beginning, state="active", activated_at=now, changed_by=act.by)
    keys.update_signing_key(connection, begun)
    context.signer.publish_next(connection, ending.tenant_id, token_type, now)
    return [ending.kid, beginning.kid]


def _ended(key: SigningKey, end: KeyState, now: datetime, act: KeyAct) -> SigningKey:
    """A key that signs no more. Its private half is erased: what is not there cannot leak."""
    return msgspec.structs.replace(
        key,
        state=end,
        private_sealed="",
        retired_at=key.retired_at or now,
        revoked_at=now if end == "revoked" else None,
        changed_by=act.by,
        reason=_reason(act.reason),
    )


def _finish(connection: sa.Connection, tenant: str, touched: Sequence[str], now: datetime) -> Changed:
    stored = keys.list_signing_keys(connection, tenant)
    row = keys.find_key_set(connection, tenant)
    changed = [one for one in stored if one.kid in touched or one.created_at == now]
    return Changed(_rows(changed, row), list(_notes(changed, row, now)))


def _audit(
    connection: sa.Connection,
    tenant: str,
    what: str,
    kid: str,
    token_type: str,
    act: KeyAct,
    now: datetime,
) -> None:
    reason = _reason(act.reason)
    told = {"type": token_type, **({"why": reason} if reason is not None else {})}
    audit.append(connection, tenant, act.by, what, kid, told, now)


def _notes(changed: Iterable[SigningKey], row: KeySetRow, now: datetime) -> Iterable[str]:
    """What the operator should know after a change of keys."""
    for key in changed:
        if key.state == "active" and key.activated_at == now and now - key.created_at < PUBLISHED_AHEAD:
            yield (
                f"The key that signs {key.token_type} now was published on {key.created_at:%Y-%m-%d}: "
                "programs that carry the key set along, and never fetch it, must be built since then."
            )
    if row.root_public is not None:
        yield "The signed key set is out of date. Run: keywright key export --root FILE"


def _demand_cover(beginning: Sequence[SigningKey], row: KeySetRow, now: datetime) -> None:
    if row.root_public is None:
        return
    told = covered(row, now)
    if any(key.kid not in told for key in beginning):
        detail = (
            "The offline root has not signed for the next key yet, so programs that pin it would refuse its "
            "tokens. Run: keywright key export --root FILE"
        )
        raise Conflict(detail, code="KEY_NOT_COVERED")


def covered(row: KeySetRow, now: datetime | None = None) -> frozenset[str]:
    """The ids of the keys that the signed key set tells of as good; none once it has ended by `now`."""
    if row.document is None or (now is not None and row.signed_until is not None and row.signed_until <= now):
        return frozenset()
    try:
        return frozenset(key.kid for key in key_documents.told_in(row.document).keys)
    except TokenRefused:  # altered by hand: then it tells of nothing
        return frozenset()


def _rows(stored: Iterable[SigningKey], row: KeySetRow) -> list[KeyRow]:
    told = covered(row)
    return [
        KeyRow(
            kid=one.kid,
            type=one.token_type,
            state=one.state,
            public=one.public,
            created_at=one.created_at,
            activated_at=one.activated_at,
            retired_at=one.retired_at,
            revoked_at=one.revoked_at,
            changed_by=one.changed_by,
            reason=one.reason,
            in_signed_set=None if row.root_public is None else one.kid in told,
        )
        for one in stored
    ]


def _signed_set(row: KeySetRow) -> SignedSet | None:
    if row.root_public is None:
        return None
    seq = row.seq if row.document is not None else None
    return SignedSet(row.root_public, seq, row.signed_at, row.signed_until)


def _types(named: str | None) -> tuple[TokenType, ...]:
    if named is None:
        return TYPES
    found = tuple(one for one in TYPES if named == one)
    if not found:
        raise Invalid(f"`type` must be one of {', '.join(TYPES)}.")
    return found


def _reason(text: str | None) -> str | None:
    if text is None or not text.strip():
        return None
    if len(text) > _LONGEST_REASON or not text.isprintable():
        raise Invalid(f"`reason` must be at most {_LONGEST_REASON} printable characters.")
    return redact(text.strip())


def is_published(key: SigningKey) -> bool:
    """Whether a key's tokens count."""
    return key.state in PUBLISHED
