"""The list of what was revoked, for programs that run on a file or a lease and seldom ask.

It is derived from the rows whenever it is asked for, so nothing has to be told to it, and it is signed anew,
under a higher number, when what it says has changed, or once a day.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta

import msgspec
import sqlalchemy as sa

from keywright.domain import key_documents
from keywright.domain.key_documents import Revocations
from keywright.domain.license_token import REVOKED
from keywright.flows.context import Context
from keywright.store import keys, revocations
from keywright.store.revocations import RevokedLicense, SignedList

LIFE = timedelta(days=30)
_SIGNED_ANEW_AFTER = timedelta(days=1)
# A machine is noted as seen every fifteen minutes at most, and its clock may be behind.
_MARGIN = timedelta(days=1)
_NEVER = datetime(1970, 1, 1, tzinfo=UTC)
_encode = msgspec.json.Encoder().encode


def get_list(context: Context, tenant: str) -> str:
    """The signed list as it has to be now."""
    context.signer.refresh()
    now = context.clock.now()
    with context.database.read() as connection:
        told = _told(connection, tenant, now)
        known = revocations.find_list(connection, tenant)
    digest = _digest(context, tenant, told)
    if known is not None and _holds(known, digest, now):
        return known.document
    return _sign(context, tenant, now)


def _sign(context: Context, tenant: str, now: datetime) -> str:
    with context.database.write() as connection:
        known = revocations.lock_list(connection, tenant, now)
        told = _told(connection, tenant, now)
        digest = _digest(context, tenant, told)
        if _holds(known, digest, now):  # another process was first
            return known.document
        second = int(now.timestamp())
        # Of the time where that is more: a database that was put back must not number below what is out.
        seq = max(known.seq + 1, second)
        end = int((now + LIFE).timestamp())
        listed = Revocations(context.issuer(tenant), second, end, seq, **told)
        document = context.signer.sign(tenant, "crl+jwt", key_documents.claims_of(listed))
        revocations.keep_list(connection, SignedList(tenant, seq, digest, document, now))
        return document


def _told(connection: sa.Connection, tenant: str, now: datetime) -> dict[str, tuple[str, ...]]:
    """What the list says: ids only, sorted, each as long as a token of it may be out."""
    gone = (one.id for one in revocations.list_licenses(connection, tenant, now) if now < _last_token(one))
    return {
        "licenses": tuple(sorted(gone)),
        "tokens": tuple(revocations.list_files(connection, tenant, now)),
        "keys": tuple(
            sorted(k.kid for k in keys.list_signing_keys(connection, tenant) if k.state == "revoked")
        ),
    }


def _last_token(one: RevokedLicense) -> datetime:
    """When the last token of a revoked license ends, at the latest; long past when there never was one."""
    ends = [end for end in (one.file_until, one.lease_until) if end is not None]
    if one.seen_at is not None:
        ends.append(one.seen_at + timedelta(seconds=one.terms.offline))
    return max(ends) + _MARGIN if ends else _NEVER


def _digest(context: Context, tenant: str, told: dict[str, tuple[str, ...]]) -> str:
    """Who signs belongs to it: a list under a key that was rotated away is signed anew."""
    kid = context.signer.active_key(tenant, REVOKED)
    return hashlib.sha256(_encode([context.issuer(tenant), kid, told])).hexdigest()


def _holds(known: SignedList, digest: str, now: datetime) -> bool:
    return known.digest == digest and timedelta(0) <= now - known.made_at < _SIGNED_ANEW_AFTER
