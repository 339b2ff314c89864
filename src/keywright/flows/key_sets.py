"""The key set under an offline root: who pins the root believes no key that it has not signed for.

The root's private half is with its owner, away from the server. It comes here for one signature at a time
and is never stored, so whoever takes the server over cannot make keys that shipped programs believe.
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from datetime import timedelta

from keywright.domain import key_documents, license_token
from keywright.domain.errors import Conflict, Invalid, NotFound
from keywright.domain.key_documents import KeySet, PublishedKey
from keywright.flows.context import Context
from keywright.flows.signing_keys import SignedSet, is_published
from keywright.ports import RootKey
from keywright.store import audit, keys

# Longer than the year after which keys are rotated, so that one export a year is enough.
DAYS = 400
_MOST_DAYS = 3660


def pin_root(context: Context, tenant: str, root: RootKey, *, by: str, replace: bool = False) -> None:
    """Make this the root of the tenant's keys. Only its public half is kept. `by`: who, for the audit.

    Raises Conflict when there is one already, except with `replace`: programs that pin the old one believe
    nothing that the new one signs.
    """
    with context.database.write() as connection:
        keys.begin_key_set(connection, tenant)
        row = keys.find_key_set(connection, tenant, lock=True)
        if row.root_public is not None and not replace:
            detail = "There is a root already, and shipped programs pin it. To begin anew: --replace"
            raise Conflict(detail, code="ROOT_EXISTS")
        keys.set_root(connection, tenant, public_of(root))
        told = {"before": row.root_public}
        audit.append(connection, tenant, by, "root.pinned", root.kid, told, context.clock.now())


def sign_key_set(context: Context, tenant: str, root: RootKey, *, by: str, days: int = DAYS) -> SignedSet:
    """Sign the keys as they are now under the next number, and serve that from now on. `by`: for the audit.

    Raises Invalid; Conflict when this is not the tenant's root.
    """
    if not 1 <= days <= _MOST_DAYS:
        raise Invalid(f"`days` must be 1 to {_MOST_DAYS}.")
    now = context.clock.now().replace(microsecond=0)
    until = now + timedelta(days=days)
    with context.database.write() as connection:
        row = keys.find_key_set(connection, tenant, lock=True)
        if row.root_public is None:
            raise Conflict("There is no root yet. Run: keywright key root create", code="ROOT_MISSING")
        if row.root_public != public_of(root):
            raise Conflict("This is not the root that is pinned here.", code="ROOT_OTHER")
        stored = keys.list_signing_keys(connection, tenant)
        # Of the time where that is more: a database that was put back must not number below what is out.
        seq = max(row.seq + 1, int(now.timestamp()))
        told = KeySet(
            iss=context.issuer(tenant),
            iat=int(now.timestamp()),
            exp=int(until.timestamp()),
            seq=seq,
            keys=tuple(
                PublishedKey(k.kid, k.public, k.token_type, k.state) for k in stored if is_published(k)
            ),
            revoked=tuple(k.kid for k in stored if not is_published(k)),
        )
        document = license_token.encode(
            key_documents.claims_of(told),
            typ=license_token.KEY_SET,
            kid=root.kid,
            sign=root.sign,
            longest=key_documents.LARGEST_KEY_SET,
        )
        keys.keep_document(connection, tenant, seq, document, now, until)
        audit.append(connection, tenant, by, "key_set.signed", root.kid, {"seq": seq, "days": days}, now)
    return SignedSet(row.root_public, seq, now, until)


def get_document(context: Context, tenant: str) -> str:
    """The signed key set. Raises NotFound while there is none."""
    with context.database.read() as connection:
        document = keys.find_key_set(connection, tenant).document
    if document is None:
        raise NotFound("This seller's keys are not under an offline root.", code="KEY_SET_UNSIGNED")
    return document


def public_of(root: RootKey) -> str:
    """The public half as programs pin it: base64url, the member `x` of its JWK."""
    return urlsafe_b64encode(root.public).rstrip(b"=").decode("ascii")
