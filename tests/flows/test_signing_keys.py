"""Signing keys through their states, on both databases: who signs, whose tokens count, what is left to do."""

from __future__ import annotations

from base64 import urlsafe_b64decode
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from keywright import bootstrap
from keywright.domain import key_documents, license_token
from keywright.domain.errors import Conflict, Invalid, NotFound
from keywright.domain.license_token import TokenRefused
from keywright.flows import key_sets, signing_keys
from keywright.flows.context import Context
from keywright.flows.signing_keys import KeyAct, KeyRow, SignedSet
from keywright.ports import TokenType
from keywright.signing import ed25519
from keywright.store import audit, keys
from keywright.store.tables import signing_keys as key_table
from tests.conftest import Prepared, TurnableClock, test_settings

ACT = KeyAct("test", "why")
TYPES: tuple[TokenType, ...] = signing_keys.TYPES


def listed(context: Context) -> list[KeyRow]:
    return signing_keys.show(context, context.master.id).items


def states(context: Context) -> Counter[tuple[str, str]]:
    return Counter((key.type, key.state) for key in listed(context))


def one(context: Context, kind: str, state: str) -> KeyRow:
    (found,) = [key for key in listed(context) if (key.type, key.state) == (kind, state)]
    return found


def token(context: Context, kind: TokenType) -> str:
    return context.signer.sign(context.master.id, kind, {"iss": "i", "iat": 1})


def counts(context: Context, text: str, kind: TokenType) -> bool:
    try:
        license_token.open_signed(text, typ=kind, keys=context.signer.verifiers(context.master.id, kind))
    except TokenRefused as refusal:
        if refusal.reason == "kid":
            return False
        raise
    return True


def test_a_new_seller_has_a_key_that_signs_and_one_that_will(context: Context) -> None:
    wanted = Counter({(kind, state): 1 for kind in TYPES for state in ("active", "next")})
    assert states(context) == wanted
    jwks = context.signer.key_set(context.master.id)["keys"]
    assert {(k["kid"], k["typ"]) for k in jwks} == {(k.kid, k.type) for k in listed(context)}
    assert all(set(k) == {"kty", "crv", "x", "kid", "alg", "use", "typ"} for k in jwks)


def test_rotation_lets_the_next_key_sign_and_the_old_one_count(context: Context) -> None:
    for number, kind in enumerate(TYPES):
        check_rotation(context, kind)
        # The others are as they were.
        untouched = {state for (other, state) in states(context) if other in TYPES[number + 1 :]}
        assert untouched <= {"active", "next"}


def check_rotation(context: Context, kind: TokenType) -> None:
    before, coming = one(context, kind, "active"), one(context, kind, "next")
    old = token(context, kind)
    done = signing_keys.rotate(context, context.master.id, ACT, token_type=kind)
    after, fresh = one(context, kind, "active"), one(context, kind, "next")
    assert (after.kid, after.activated_at) == (coming.kid, context.clock.now())
    assert fresh.kid not in {before.kid, coming.kid}
    retired = one(context, kind, "verify-only")
    assert (retired.kid, retired.changed_by, retired.reason) == (before.kid, "test", "why")
    assert {key.kid for key in done.items} >= {before.kid, coming.kid, fresh.kid}
    new = token(context, kind)
    assert license_token.key_id(new) == coming.kid
    assert counts(context, old, kind)
    assert counts(context, new, kind)


def test_rotation_of_all_and_the_note_for_programs_that_never_fetch(
    context: Context, clock: TurnableClock
) -> None:
    clock.turn(days=29)
    assert len(signing_keys.rotate(context, context.master.id, ACT).notes) == 3
    clock.turn(days=31)
    assert signing_keys.rotate(context, context.master.id, ACT).notes == []
    assert states(context)[("lic+jwt", "verify-only")] == 2
    with pytest.raises(Invalid):
        signing_keys.rotate(context, context.master.id, ACT, token_type="JWT")


def test_no_token_of_a_revoked_key_counts(context: Context) -> None:
    signing_keys.rotate(context, context.master.id, ACT)
    for state in ("verify-only", "next", "active"):
        check_revocation(context, state)
    with pytest.raises(NotFound):
        signing_keys.revoke(context, context.master.id, "nobody", ACT)


def check_revocation(context: Context, state: str) -> None:
    tenant = context.master.id
    before = token(context, "lic+jwt")
    gone = one(context, "lic+jwt", state)
    signing_keys.revoke(context, tenant, gone.kid, KeyAct("test", "stolen"))
    found = next(key for key in listed(context) if key.kid == gone.kid)
    assert (found.state, found.reason, found.revoked_at) == ("revoked", "stolen", context.clock.now())
    assert gone.kid not in {key["kid"] for key in context.signer.key_set(tenant)["keys"]}
    assert counts(context, before, "lic+jwt") is (state != "active")
    assert counts(context, token(context, "lic+jwt"), "lic+jwt")
    # There is always one that signs, and one after it.
    assert states(context)[("lic+jwt", "active")] == states(context)[("lic+jwt", "next")] == 1
    # A second time is no other.
    signing_keys.revoke(context, tenant, gone.kid, ACT)
    assert [key.reason for key in listed(context) if key.kid == gone.kid] == ["stolen"]


def test_what_signs_no_more_is_erased(context: Context) -> None:
    before = one(context, "lease+jwt", "active")
    signing_keys.rotate(context, context.master.id, ACT)
    with context.database.read() as connection:
        held = {k.kid: k.private_sealed for k in keys.list_signing_keys(connection, context.master.id)}
    assert held.pop(before.kid) == ""
    assert sum(text == "" for text in held.values()) == 2


def test_each_change_is_in_the_audit(context: Context) -> None:
    before = one(context, "lic+jwt", "active")
    signing_keys.rotate(context, context.master.id, ACT, token_type="lic+jwt")
    signing_keys.revoke(context, context.master.id, before.kid, ACT)
    with context.database.read() as connection:
        found = audit.list_page(connection, context.master.id, filters={"act": "key"}, before=None, limit=10)
        assert audit.first_break(connection, context.master.id) is None
    told = [(entry.actor, entry.act, entry.subject, entry.detail) for entry in found]
    assert told == [
        ("test", act, before.kid, '{"type":"lic+jwt","why":"why"}') for act in ("key.revoked", "key.rotated")
    ]


def test_the_database_holds_no_two_of_them(context: Context) -> None:
    for state, others in (("active", "next"), ("next", "active")):
        other = one(context, "lic+jwt", others)
        change = sa.update(key_table).where(key_table.c.kid == other.kid).values(state=state)
        with pytest.raises(sa.exc.IntegrityError), context.database.write() as connection:
            connection.execute(change)


def test_another_process_takes_up_what_changed(context: Context, prepared: Prepared) -> None:
    made = test_settings(prepared.url, prepared.folder)
    database = bootstrap.open_database(made)
    try:
        other = replace(bootstrap.build(made, database), clock=context.clock)
        before = other.signer.active_key(other.master.id, "lease+jwt")
        other.signer.refresh()
        assert other.signer.active_key(other.master.id, "lease+jwt") == before
        signing_keys.rotate(context, context.master.id, ACT)
        assert other.signer.active_key(other.master.id, "lease+jwt") == before
        other.signer.refresh()
        assert other.signer.active_key(other.master.id, "lease+jwt") != before
        assert counts(other, token(context, "lease+jwt"), "lease+jwt")
        signing_keys.revoke(other, other.master.id, before, ACT)
        assert before in context.signer.verifiers(context.master.id, "lease+jwt")
        context.signer.refresh()
        assert before not in context.signer.verifiers(context.master.id, "lease+jwt")
    finally:
        database.dispose()


def test_a_database_of_the_release_before_gets_the_keys_it_lacks(
    context: Context, prepared: Prepared
) -> None:
    with context.database.write() as connection:
        lost = sa.or_(key_table.c.state == "next", key_table.c.token_type == "crl+jwt")
        connection.execute(sa.delete(key_table).where(lost))
    before = {key.kid for key in listed(context)}
    assert len(before) == 2
    bootstrap.prepare(test_settings(prepared.url, prepared.folder), context.database)
    assert before < {key.kid for key in listed(context)}
    assert states(context) == Counter({(kind, s): 1 for kind in TYPES for s in ("active", "next")})


# -- under an offline root ------------------------------------------------------------------------------


@pytest.fixture
def root() -> ed25519.Signer:
    return ed25519.Signer(ed25519.generate()[0])


def read(context: Context, root: ed25519.Signer, **more: Any) -> key_documents.KeySet:
    pinned = {root.kid: ed25519.verifier(root.public)}
    text = key_sets.get_document(context, context.master.id)
    return key_documents.read_key_set(text, root=pinned, now=int(context.clock.now().timestamp()), **more)


def number_of(signed: SignedSet) -> int:
    assert signed.seq is not None
    return signed.seq


def test_the_root_signs_the_keys_as_they_are(context: Context, root: ed25519.Signer) -> None:
    tenant = context.master.id
    with pytest.raises(NotFound):
        key_sets.get_document(context, tenant)
    with pytest.raises(Conflict) as none:
        key_sets.sign_key_set(context, tenant, root, by="test")
    assert none.value.code == "ROOT_MISSING"
    key_sets.pin_root(context, tenant, root, by="test")
    gone = one(context, "lic+jwt", "active").kid
    signing_keys.revoke(context, tenant, gone, ACT)
    signed = key_sets.sign_key_set(context, tenant, root, by="test", days=30)
    assert signed.signed_until == context.clock.now() + timedelta(days=30)
    told = read(context, root, iss=context.issuer(tenant))
    number = number_of(signed)
    assert (told.seq, told.revoked) == (number, (gone,))
    wanted = {(k.kid, k.public, k.type, k.state) for k in listed(context) if k.state != "revoked"}
    assert {(k.kid, k.x, k.typ, k.state) for k in told.keys} == wanted
    assert all(urlsafe_b64decode(k.x + "=") == k.public for k in told.keys)
    # Again: a higher number, whatever the clock says.
    assert key_sets.sign_key_set(context, tenant, root, by="test").seq == number + 1
    with pytest.raises(TokenRefused) as older:
        read(context, root, oldest=number + 2)
    assert older.value.reason == "older"


def test_another_root_signs_nothing(context: Context, root: ed25519.Signer) -> None:
    tenant, other = context.master.id, ed25519.Signer(ed25519.generate()[0])
    key_sets.pin_root(context, tenant, root, by="test")
    for call, code in (
        (lambda: key_sets.sign_key_set(context, tenant, other, by="test"), "ROOT_OTHER"),
        (lambda: key_sets.pin_root(context, tenant, other, by="test"), "ROOT_EXISTS"),
    ):
        with pytest.raises(Conflict) as refused:
            call()
        assert refused.value.code == code
    first = number_of(key_sets.sign_key_set(context, tenant, root, by="test"))
    key_sets.pin_root(context, tenant, other, by="test", replace=True)
    with pytest.raises(NotFound):  # what the old one signed is not served under the new one
        key_sets.get_document(context, tenant)
    assert number_of(key_sets.sign_key_set(context, tenant, other, by="test")) > first
    with pytest.raises(TokenRefused):
        read(context, root)


def test_no_key_begins_to_sign_that_the_root_has_not_signed_for(
    context: Context, root: ed25519.Signer, clock: TurnableClock
) -> None:
    tenant = context.master.id
    key_sets.pin_root(context, tenant, root, by="test")

    def refused() -> bool:
        try:
            signing_keys.rotate(context, tenant, ACT)
        except Conflict as error:
            return error.code == "KEY_NOT_COVERED"
        return False

    before = listed(context)
    assert refused()
    assert listed(context) == before
    key_sets.sign_key_set(context, tenant, root, by="test", days=10)
    assert all(key.in_signed_set for key in listed(context))
    assert not refused()
    # The next ones are new again, and every key that signs is one that the root told of.
    assert {key.in_signed_set for key in listed(context) if key.state == "active"} == {True}
    assert {key.in_signed_set for key in listed(context) if key.state == "next"} == {False}
    assert refused()
    signing_keys.rotate(context, tenant, ACT, force=True)
    key_sets.sign_key_set(context, tenant, root, by="test", days=10)
    clock.turn(days=10)
    assert refused(), "a set that has ended tells of nothing"
