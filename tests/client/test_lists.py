"""Keys that change and licenses that are revoked, under a pinned root and without one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from keywright.client import Client, Trust
from keywright.client.tokens import TokenRefused
from tests.client.seller import DAY, ISSUER, KEY, MACHINE, Pair, Seller, client_of

KEY_SET, REVOKED = "/.well-known/keywright-keys.jwt", "/.well-known/keywright-revoked.jwt"


def away(*_: Any) -> tuple[int, dict[str, str], bytes]:
    return 503, {}, b""


def rooted(seller: Seller, folder: Path, **more: Any) -> Client:
    seller.documents.setdefault(KEY_SET, seller.key_set(1))
    return client_of(seller, folder, trust=seller.trust(root=True), **more)


def test_a_new_signing_key_is_learned_under_the_root(seller: Seller, tmp_path: Path) -> None:
    client = rooted(seller, tmp_path)
    assert client.activate(KEY).valid
    seller.lease_key = Pair()
    # Signed by a key that no set names: not believed, and the old lease goes on.
    unknown = client.validate()
    assert (unknown.valid, unknown.contact) == (True, "away")
    seller.documents[KEY_SET] = seller.key_set(2)
    assert client.validate().contact == "fine"
    seller.mood = away
    assert client_of(seller, tmp_path, trust=Trust(ISSUER, root=seller.root.x)).check().valid


def test_a_revoked_signing_key_ends_what_it_signed(seller: Seller, tmp_path: Path) -> None:
    client = rooted(seller, tmp_path)
    assert client.activate(KEY).valid
    leaked = seller.lease_key
    seller.lease_key = Pair()
    seller.time.turn(10)
    offline = client.load_lists(seller.key_set(2, revoked=(leaked.kid,)))
    assert (offline.state, offline.reason) == ("unlicensed", "untrusted")
    assert "Connect to the internet" in offline.message
    seller.documents[KEY_SET] = seller.key_set(2, revoked=(leaked.kid,))
    assert client.validate().valid


def test_a_key_set_names_keys_for_one_type_each(seller: Seller, tmp_path: Path) -> None:
    client = rooted(seller, tmp_path)
    seller.lease_key = seller.license_key
    assert client.activate(KEY).valid is False


@pytest.mark.parametrize(
    "change",
    [
        lambda seller: Pair().sign("keys+jwt", {"iss": ISSUER}, kid=seller.root.kid),
        lambda seller: seller.key_set(5, iss="https://evil.example/t/ten_1"),
        lambda seller: seller.key_set(5, keys="none"),
        lambda seller: seller.key_set(5, revoked=[1]),
        lambda seller: seller.key_set(5, seq=True),
        lambda seller: seller.key_set(5, v=2),
        lambda seller: seller.key_set(
            5, keys=[{"kid": seller.lease_key.kid, "x": Pair().x, "typ": "lease+jwt", "state": "active"}]
        ),
        lambda seller: seller.key_set(
            5, keys=[{"kid": "a", "x": "!", "typ": "lease+jwt", "state": "active"}]
        ),
        lambda seller: seller.license_key.sign("keys+jwt", {"iss": ISSUER, "seq": 5}),
        lambda _: "nonsense",
    ],
)
def test_a_false_key_set_is_not_taken(
    seller: Seller, tmp_path: Path, change: Callable[[Seller], str]
) -> None:
    client = rooted(seller, tmp_path)
    assert client.activate(KEY).valid
    before = client._store.read().state.key_set_seq
    assert client.load_lists(change(seller)).valid
    seller.documents[KEY_SET] = change(seller)
    seller.time.turn(3700)
    assert client.check().valid
    assert client._store.read().state.key_set_seq == before


def test_an_older_key_set_does_not_bring_a_revoked_key_back(seller: Seller, tmp_path: Path) -> None:
    client = rooted(seller, tmp_path)
    assert client.activate(KEY).valid
    leaked, old = seller.lease_key, seller.key_set(1)
    seller.lease_key = Pair()
    client.load_lists(seller.key_set(7, revoked=(leaked.kid,)))
    assert client.load_lists(old).reason == "untrusted"
    assert client._store.read().state.key_set_seq == 7
    # Nor does a program with an old set built in.
    shipped = Trust(ISSUER, root=seller.root.x, key_set=old)
    seller.mood = away
    assert client_of(seller, tmp_path, trust=shipped).check().reason == "untrusted"


def test_a_newer_set_that_was_built_in_counts(seller: Seller, tmp_path: Path) -> None:
    client = rooted(seller, tmp_path)
    assert client.activate(KEY).valid
    leaked = seller.lease_key
    seller.lease_key = Pair()
    shipped = Trust(ISSUER, root=seller.root.x, key_set=seller.key_set(9, revoked=(leaked.kid,)))
    seller.mood = away
    assert client_of(seller, tmp_path, trust=shipped).check().reason == "untrusted"


def test_states_and_types_of_tomorrow_are_left_out(seller: Seller) -> None:
    entry = {"kid": seller.lease_key.kid, "x": seller.lease_key.x, "typ": "lease+jwt", "state": "asleep"}
    document = seller.key_set(3, keys=[entry, {**entry, "state": "active", "typ": "new+jwt"}])
    found = Trust(ISSUER, root=seller.root.x).read_key_set(document)
    assert set(found.keys) == {"new+jwt"}


def test_a_revoked_license_ends_online_within_the_hour_and_offline_at_the_next_list(
    seller: Seller, tmp_path: Path
) -> None:
    client = client_of(seller, tmp_path)
    assert client.activate(KEY).valid
    seller.time.turn(60)
    result = client.load_lists(seller.revocations(5, licenses=["lic_0", "lic_1"]))
    assert (result.state, result.reason, result.code) == ("refused", "revoked", "REVOKED")
    # The list's file can be deleted; what it said of this license stays.
    for path in client._store._lists:
        path.unlink()
    seller.mood = away
    assert client_of(seller, tmp_path).check().reason == "revoked"
    # Reinstated by the seller: a yes that is newer than the list.
    seller.mood = lambda *_: None
    seller.time.turn(61)
    assert client_of(seller, tmp_path).check().valid
    assert client_of(seller, tmp_path).load_lists(seller.revocations(4)).valid


def test_a_list_is_fetched_and_honored(seller: Seller, tmp_path: Path) -> None:
    client = client_of(seller, tmp_path)
    assert client.activate(KEY).valid
    file = seller.file(jti="tok_1")
    seller.time.turn(3700)
    seller.documents[REVOKED] = seller.revocations(5, tokens=["tok_1"])
    assert client.check().valid
    assert client._store.read().state.revoked_seq == 5
    assert seller.calls(REVOKED) == 1
    # The license was asked about and stands; the token of an old file does not.
    other = client_of(seller, tmp_path / "other", server=None)
    other.load_lists(seller.documents[REVOKED])
    assert other.load_file(file).reason == "revoked"


def test_a_license_file_of_a_revoked_license(seller: Seller, tmp_path: Path) -> None:
    client = client_of(None, tmp_path, seller.time, trust=seller.trust())
    assert client.load_file(seller.file()).valid
    seller.time.turn(DAY)
    assert client.load_lists(seller.revocations(1, licenses=["lic_1"])).reason == "revoked"
    old = seller.time.now
    seller.time.now = old - DAY
    text = seller.file()
    seller.time.now = old
    assert client.load_file(text).reason == "revoked"
    # A file from after the list: reinstated.
    seller.time.turn(60)
    assert client.load_file(seller.file()).valid


def test_the_number_of_a_list_never_falls(seller: Seller, tmp_path: Path) -> None:
    client = client_of(None, tmp_path, seller.time, trust=seller.trust())
    client.load_file(seller.file())
    old = seller.revocations(3)
    seller.time.turn(60)
    assert client.load_lists(seller.revocations(4, licenses=["lic_1"])).reason == "revoked"
    client.load_lists(old)
    fresh = client_of(None, tmp_path, seller.time, trust=seller.trust())
    fresh.load_lists(old)
    assert fresh._store.read().state.revoked_seq == 4
    assert fresh.check().reason == "revoked"


def test_a_list_under_another_key_is_not_taken(seller: Seller, tmp_path: Path) -> None:
    client = rooted(seller, tmp_path)
    assert client.activate(KEY).valid
    seller.time.turn(60)
    real, seller.list_key = seller.list_key, seller.lease_key
    assert client.load_lists(seller.revocations(9, licenses=["lic_1"])).valid
    seller.list_key = real
    assert client.load_lists(seller.revocations(9, licenses=["lic_1"])).reason == "revoked"


def test_a_key_that_the_list_names(seller: Seller, tmp_path: Path) -> None:
    client = client_of(seller, tmp_path)
    assert client.activate(KEY).valid
    assert client.load_lists(seller.revocations(2, keys=[seller.lease_key.kid])).reason == "untrusted"


def test_a_long_list_does_not_slow_the_program(seller: Seller, tmp_path: Path) -> None:
    client = client_of(seller, tmp_path)
    assert client.activate(KEY).valid
    seller.documents[REVOKED] = seller.revocations(5, licenses=[f"lic_{n:030}" for n in range(50_000)])
    assert len(seller.documents[REVOKED]) > 2_000_000
    client.load_lists(seller.documents[REVOKED])
    assert client.check().valid
    assert client._store._paths[0].stat().st_size < 10_000


def test_a_license_file(seller: Seller, tmp_path: Path) -> None:
    client = client_of(None, tmp_path, seller.time, trust=seller.trust())
    text = seller.file(firm="Acme")
    for mailed in (
        text,
        text.replace("\n", "\r\n"),
        f"Hello,\n\n{text}\nRegards",
        "".join(text.split("\n")[1:-2]),
    ):
        result = client.load_file(mailed)
        assert (result.state, result.source, result.firm) == ("valid", "file", "Acme")
    assert result.limit("projects") == 100
    seller.time.turn(30 * DAY - 1)
    assert client.check().valid
    seller.time.turn(1)
    ended = client.check()
    assert (ended.state, ended.reason) == ("offline", "file_ended")
    assert "14 February 2027" in ended.message


def test_a_file_for_one_machine_and_terms_in_a_file(seller: Seller, tmp_path: Path) -> None:
    from keywright.client.tokens import mid

    client = client_of(None, tmp_path, seller.time, trust=seller.trust())
    now = int(seller.time.now)
    assert client.load_file(seller.file(mid="A" * 22)).reason == "other_machine"
    assert client.check().reason == "no_license"
    bound = seller.file(
        mid=mid("dashcaddy", MACHINE.fingerprint),
        entitled_until=now + DAY,
        grace_until=now + 2 * DAY,
        exp=now + 9 * DAY,
    )
    assert client.load_file(bound).state == "valid"
    seller.time.turn(DAY + 5)
    assert client.check().state == "grace"
    seller.time.turn(9 * DAY)
    assert client.check().state == "expired"


@pytest.mark.parametrize("off", [5 * DAY, 60 * DAY])
def test_the_offline_limit_of_a_file(seller: Seller, tmp_path: Path, off: int) -> None:
    client = client_of(None, tmp_path, seller.time, trust=seller.trust())
    client.load_file(seller.file(off=off))
    seller.time.turn(min(off, 30 * DAY) - 1)
    assert client.check().valid
    seller.time.turn(1)
    assert client.check().state == "offline"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nonsense",
        "-----BEGIN KEYWRIGHT LICENSE-----\na.b.c",
        "a.b.c",
        "x" * 100_000,
        "-----BEGIN KEYWRIGHT LICENSE-----\n\n-----END KEYWRIGHT LICENSE-----",
    ],
)
def test_what_is_no_license_file(seller: Seller, tmp_path: Path, text: str) -> None:
    client = client_of(seller, tmp_path)
    assert client.activate(KEY).valid
    assert client.load_file(text).reason == "file_refused"
    assert client.load_file(seller.lease({"fingerprint": "machine-0001"})).reason == "file_refused"
    assert client.load_file(Pair().sign("lic+jwt", {"iss": ISSUER})).reason == "file_refused"
    assert client.check().valid


def test_a_file_of_another_license_takes_the_place_of_the_key(seller: Seller, tmp_path: Path) -> None:
    client = client_of(seller, tmp_path)
    client.activate(KEY)
    seller.code = "EXPIRED"
    assert client.validate().state == "expired"
    # A file of the expired license from before the refusal does not bring it back.
    text = seller.file()
    assert client.load_file(text).state == "expired"
    assert client.load_file(seller.file(sub="lic_2")).license_id == "lic_2"
    seller.asked.clear()
    seller.time.turn(DAY)
    assert client.check().license_id == "lic_2"
    assert seller.calls("/validate") == 0


def test_a_lease_that_ended_and_a_file_that_did_not(seller: Seller, tmp_path: Path) -> None:
    client = client_of(seller, tmp_path)
    client.activate(KEY)
    client.load_file(seller.file())
    assert client.check().source == "lease"
    seller.mood = away
    seller.time.turn(8 * DAY)
    result = client.check()
    assert (result.state, result.source, result.contact) == ("valid", "file", "away")


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"keys": {}},
        {"keys": {"k": "short"}},
        {"root": "short"},
        {"keys": '{"keys": [{"kty": "RSA"}]}'},
        {"keys": []},
        {"keys": {"k": Pair().x}, "key_set": "a.b.c"},
        {"root": Pair().x, "key_set": "a.b.c"},
    ],
)
def test_trust_in_nothing_is_a_mistake(more: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"key|JSON"):
        Trust(ISSUER, **more)


def test_keys_as_a_jwks(seller: Seller, tmp_path: Path) -> None:
    keys = [
        {"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "kid": k, "x": x} for k, x in seller.jwks().items()
    ]
    trust = Trust(ISSUER, keys=json.dumps({"keys": keys}))
    assert client_of(seller, tmp_path, trust=trust).activate(KEY).valid
    assert not trust.has_root
    with pytest.raises(TokenRefused):
        trust.read_key_set(seller.key_set(1))
