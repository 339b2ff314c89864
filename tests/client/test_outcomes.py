"""A server that is away, one that throttles and one that says no: three things, and only the last ends a
license."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from keywright.client import Client, Machine
from tests.client.seller import DAY, KEY, MACHINE, PRODUCT, Answer, Pair, Seller, client_of


def activated(seller: Seller, folder: Path, **more: Any) -> Client:
    client = client_of(seller, folder, **more)
    assert client.activate(KEY).valid
    seller.asked.clear()
    return client


def away(path: str, asked: dict[str, Any]) -> Answer:
    return 503, {}, b"<html>maintenance</html>"


def test_activate_asks_with_all_that_is_known_and_nothing_raw(seller: Seller, tmp_path: Path) -> None:
    client = client_of(seller, tmp_path, version="1.2.3")
    before = client.check()
    assert (before.state, before.reason, before.contact) == ("unlicensed", "no_license", "none")
    result = client.activate(f"  {KEY}\n")
    assert (result.state, result.reason, result.source, result.contact) == (
        "valid",
        "licensed",
        "lease",
        "fine",
    )
    assert result.valid
    assert result
    assert (result.plan, result.seats, result.license_id, result.code) == ("pro", 5, "lic_1", "VALID")
    path, asked = seller.asked[0]
    assert path == "/api/license/activate"
    assert asked == {
        "key": KEY,
        "fingerprint": "machine-0001",
        "signals": dict(MACHINE.signals),
        "product": PRODUCT,
        "name": "ann-laptop",
        "nonce": asked["nonce"],
        "version": "1.2.3",
    }
    assert len(asked["nonce"]) >= 22
    assert "authorization" not in seller.headers[0]


def test_limits_and_entitlements_with_and_without_a_license(seller: Seller, tmp_path: Path) -> None:
    client = client_of(seller, tmp_path)
    without = client.check()
    assert (without.limit("projects"), without.limit("users")) == (3, 0)
    assert without.allows("export.txt")
    assert not without.allows("export.pdf")
    licensed = client.activate(KEY)
    assert (licensed.limit("projects"), licensed.limit("users")) == (100, None)
    assert licensed.allows("export.pdf")
    assert not licensed.allows("export.txt")


def test_nothing_is_asked_while_nothing_is_due(seller: Seller, tmp_path: Path) -> None:
    client = activated(seller, tmp_path)
    for _ in range(100):
        assert client.check().valid
    assert client_of(seller, tmp_path).check().valid
    seller.time.turn(40 * 60)
    assert client.check().valid
    assert seller.calls() == 0
    seller.time.turn(25 * 60)
    assert client.check().valid
    assert seller.calls("/validate") == 1


def test_questions_of_many_programs_are_spread(seller: Seller, tmp_path: Path) -> None:
    first = set()
    for number in range(12):
        client = activated(seller, tmp_path / str(number), machine=Machine(f"machine-{number:04}"))
        seller.machines.clear()
        first.add(client._store.read().state.ask_at - int(seller.time.now))
    assert len(first) > 4
    assert min(first) >= 2880
    assert max(first) <= 3600


def test_server_down_for_three_days_is_not_noticed_and_explained_after_the_lease(
    seller: Seller, tmp_path: Path
) -> None:
    client = activated(seller, tmp_path)
    seller.mood = away
    asked = 0
    for _ in range(3 * 24):
        seller.time.turn(3600)
        result = client.check()
        assert (result.state, result.reason) == ("valid", "licensed")
        assert result.allows("export.pdf")
        asked = seller.calls("/validate")
    assert (result.contact, result.stale) == ("away", True)
    assert 60 <= asked <= 3 * 24
    seller.time.turn(4 * DAY)
    ended = client.check()
    assert (ended.state, ended.reason, ended.contact) == ("offline", "offline_too_long", "away")
    assert ended.message == (
        "The license server has not been reached since 15 January 2027, and your license allows to work"
        " without it until 22 January 2027. Connect to the internet to go on."
    )
    assert ended.limit("projects") == 3
    seller.mood = lambda *_: None
    seller.time.turn(61)
    healed = client.check()
    assert (healed.state, healed.contact, healed.stale) == ("valid", "fine", False)


def test_waits_grow_while_the_server_is_away(seller: Seller, tmp_path: Path) -> None:
    client = activated(seller, tmp_path)
    seller.mood = away
    waits = []
    for _ in range(12):
        client.validate()
        state = client._store.read().state
        waits.append(state.ask_at - int(seller.time.now))
    assert waits[0] <= 16
    assert all(1800 <= wait <= 3601 for wait in waits[9:])


@pytest.mark.parametrize(
    ("status", "headers", "body"),
    [
        (200, {"Content-Type": "text/html"}, b"<html>Welcome to the hotel. Accept our terms.</html>"),
        (200, {}, b'{"valid": false, "code": "REVOKED", "nonce": "of somebody else"}'),
        (200, {}, b'{"valid": false}'),
        (200, {}, b'{"valid": false, "valid": true, "code": "REVOKED"}'),
        (200, {}, b""),
        (302, {"Location": "http://127.0.0.1:9/api/license/validate"}, b""),
        (307, {"Location": "/elsewhere"}, b'{"valid": false, "code": "REVOKED"}'),
        (401, {}, b"proxy says no"),
        (403, {}, b'{"error": "blocked by your organisation"}'),
        (404, {}, b"<html>not found</html>"),
        (500, {}, b'{"code": "INTERNAL"}'),
        (502, {}, b""),
        (503, {"Retry-After": "120"}, b'{"code": "UNAVAILABLE", "status": 503}'),
    ],
)
def test_what_is_no_verdict_is_no_refusal(
    seller: Seller, tmp_path: Path, status: int, headers: dict[str, str], body: bytes
) -> None:
    client = activated(seller, tmp_path)
    seller.mood = lambda *_: (status, headers, body)
    result = client.validate()
    assert (result.state, result.contact, result.stale) == ("valid", "away", True)
    assert seller.calls("/elsewhere") == 0


def test_retry_after_of_a_503_is_honored(seller: Seller, tmp_path: Path) -> None:
    client = activated(seller, tmp_path)
    seller.mood = lambda *_: (503, {"Retry-After": "7000"}, b"{}")
    client.validate()
    assert client._store.read().state.ask_at - int(seller.time.now) >= 3500


def test_throttled_is_no_error_and_the_pause_is_kept(seller: Seller, tmp_path: Path) -> None:
    client = activated(seller, tmp_path)
    seller.mood = lambda *_: (429, {"Retry-After": "90"}, b'{"code": "TOO_MANY", "status": 429}')
    result = client.validate()
    assert (result.state, result.contact, result.stale) == ("valid", "throttled", False)
    assert result.retry_at is not None
    assert result.retry_at.timestamp() >= seller.time.now + 90
    assert seller.calls() == 1
    for _ in range(20):
        assert client.validate().contact == "throttled"
        assert client.check().valid
    assert client_of(seller, tmp_path).validate().contact == "throttled"
    assert client.activate(KEY).contact == "throttled"
    assert seller.calls() == 1
    seller.mood = lambda *_: None
    seller.time.turn(121)
    assert client.validate().contact == "fine"
    assert seller.calls("/validate") == 2


@pytest.mark.parametrize("wait", ["soon", "-5", "99999999999999999999", "Thu, 01 Jan 1970 00:00:00 GMT", ""])
def test_a_strange_retry_after_stops_nothing(seller: Seller, tmp_path: Path, wait: str) -> None:
    client = activated(seller, tmp_path)
    seller.mood = lambda *_: (429, {"Retry-After": wait}, b"")
    assert client.validate().contact == "throttled"
    seller.mood = lambda *_: None
    seller.time.turn(DAY + 60)
    assert client.check().contact == "fine"


@pytest.mark.parametrize(
    ("code", "state", "reason"),
    [
        ("REVOKED", "refused", "revoked"),
        ("SUSPENDED", "refused", "suspended"),
        ("EXPIRED", "expired", "expired"),
        ("TAMPERED", "refused", "tampered"),
        ("PENDING", "pending", "pending"),
        ("NOT_ACTIVATED", "unlicensed", "not_activated"),
        ("A_CODE_OF_TOMORROW", "refused", "refused"),
    ],
)
def test_refused_holds_at_once_though_the_lease_is_fresh(
    seller: Seller, tmp_path: Path, code: str, state: str, reason: str
) -> None:
    client = activated(seller, tmp_path)
    seller.code = code
    assert client.check().valid
    seller.time.turn(3700)
    result = client.check()
    assert (result.state, result.reason, result.code, result.contact) == (state, reason, code, "refused")
    assert not result.valid
    assert result.message.endswith(".")
    assert result.limit("projects") == 3
    # It stays so when the server then goes away, and in a program that is started again.
    seller.mood = away
    seller.time.turn(3700)
    again = client_of(seller, tmp_path).check()
    assert (again.state, again.reason, again.contact) == (state, reason, "away")
    # And ends when the server says so.
    seller.mood, seller.code = lambda *_: None, "VALID"
    seller.time.turn(61)
    assert client.check().valid


def test_a_program_that_may_not_run_asks_again_soon_but_not_always(seller: Seller, tmp_path: Path) -> None:
    client = activated(seller, tmp_path)
    seller.code = "SUSPENDED"
    client.validate()
    seller.asked.clear()
    for _ in range(50):
        seller.time.turn(10)
        assert not client.check().valid
    assert 6 <= seller.calls("/validate") <= 9


def test_grace_is_valid_and_says_so(seller: Seller, tmp_path: Path) -> None:
    client = activated(seller, tmp_path)
    seller.code, seller.grace_until = "GRACE", int(seller.time.now) + 3 * DAY
    seller.entitled_until = int(seller.time.now) - 5
    result = client.validate()
    assert (result.state, result.valid, result.code, result.next_action) == ("grace", True, "GRACE", "renew")
    assert "18 January 2027" in result.message
    assert result.limit("projects") == 100


def test_paid_time_that_ends_offline(seller: Seller, tmp_path: Path) -> None:
    now = int(seller.time.now)
    seller.entitled_until, seller.grace_until = now + DAY, now + 3 * DAY
    seller.lease_claims = {"lexp": now + 3 * DAY}
    client = activated(seller, tmp_path)
    seller.mood = away
    assert client.check().state == "valid"
    seller.time.turn(DAY + 1)
    assert client.check().state == "grace"
    seller.time.turn(2 * DAY)
    ended = client.check()
    assert (ended.state, ended.reason, ended.next_action) == ("expired", "expired", "renew")
    assert "18 January 2027" in ended.message


def test_a_failed_activation_leaves_what_was_there(seller: Seller, tmp_path: Path) -> None:
    client = activated(seller, tmp_path)
    wrong = client.activate("DC-WRONG")
    assert (wrong.state, wrong.reason, wrong.contact) == ("refused", "not_found", "refused")
    assert client.check().valid
    seller.mood = away
    unreached = client.activate("DC-OTHER")
    assert (unreached.state, unreached.contact) == ("valid", "away")
    assert unreached.message == "The license server could not be reached. Please try again."
    assert client._store.read().state.key == KEY


def test_too_many_machines(seller: Seller, tmp_path: Path) -> None:
    seller.most = 0
    client = client_of(seller, tmp_path)
    full = client.activate(KEY)
    assert (full.state, full.reason, full.code) == ("refused", "too_many_machines", "TOO_MANY_ACTIVATIONS")
    assert client.check().reason == "no_license"


@pytest.mark.parametrize("key", ["", "  ", "x" * 600, "DC-\0", "DC\x1b[31m"])
def test_what_is_no_key_is_not_sent(seller: Seller, tmp_path: Path, key: str) -> None:
    assert client_of(seller, tmp_path).activate(key).reason == "no_license"
    assert seller.calls() == 0


def test_deactivate_frees_the_seat_and_forgets_the_key(seller: Seller, tmp_path: Path) -> None:
    client = activated(seller, tmp_path)
    mark = client._store.read().state.mark
    freed = client.deactivate()
    assert (freed.state, freed.reason) == ("unlicensed", "freed")
    assert seller.machines == set()
    assert client.check().reason == "no_license"
    state = client._store.read().state
    assert (state.key, state.lease, state.mark) == ("", "", mark)
    assert KEY not in (tmp_path / "first").joinpath(client._store._paths[0].name).read_text()


def test_deactivate_while_the_server_is_away_changes_nothing(seller: Seller, tmp_path: Path) -> None:
    client = activated(seller, tmp_path)
    seller.mood = away
    result = client.deactivate()
    assert (result.state, result.contact) == ("valid", "away")
    assert result.message == "The license server could not be reached. Please try again."
    assert client.check().valid


def test_deactivate_that_is_refused(seller: Seller, tmp_path: Path) -> None:
    client = activated(seller, tmp_path)

    def moved_too_often(path: str, asked: dict[str, Any]) -> Answer:
        told = {"valid": False, "code": "MOVES_EXHAUSTED", "nonce": asked["nonce"]}
        return 409, {}, json.dumps(told).encode()

    seller.mood = moved_too_often
    assert client.deactivate().reason == "moves_exhausted"
    seller.mood = lambda *_: None
    assert client.check().valid


def lying(change: Callable[[Seller, dict[str, Any]], str]) -> Any:
    """A server that says VALID with another lease."""

    def build(seller: Seller) -> Callable[[str, dict[str, Any]], Answer | None]:
        def mood(path: str, asked: dict[str, Any]) -> Answer | None:
            if not path.startswith("/api/license/"):
                return None
            told = {
                "valid": True,
                "code": "VALID",
                "nonce": asked.get("nonce"),
                "lease": change(seller, asked),
            }
            return 200, {}, json.dumps(told).encode()

        return mood

    return build


@pytest.mark.parametrize(
    "mood",
    [
        lying(lambda *_: ""),
        lying(lambda *_: "a.b.c"),
        lying(lambda seller, asked: seller.lease(asked, nonce="another")),
        lying(lambda seller, asked: seller.lease(asked, nonce=None)),
        lying(lambda seller, asked: seller.lease({**asked, "fingerprint": "another-machine"})),
        lying(lambda seller, asked: seller.lease(asked, aud="other")),
        lying(lambda seller, asked: seller.lease(asked, iss="https://evil.example/t/ten_1")),
        lying(lambda _, asked: Pair().sign("lease+jwt", {"nonce": asked["nonce"]})),
        lying(lambda seller, _: Pair().sign("lease+jwt", {}, kid=seller.lease_key.kid)),
    ],
)
def test_a_false_server_cannot_say_valid(seller: Seller, tmp_path: Path, mood: Any) -> None:
    seller.mood = mood(seller)
    client = client_of(seller, tmp_path)
    result = client.activate(KEY)
    assert (result.valid, result.contact) == (False, "away")
    assert "UNTRUSTED" in result.message
    assert client.check().state == "unlicensed"


def test_a_server_that_drips_or_hangs_is_away_in_time(seller: Seller, tmp_path: Path) -> None:
    client = activated(seller, tmp_path, timeout=0.4)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        hanging = client_of(
            None, tmp_path, seller.time, server=f"http://127.0.0.1:{port}", trust=seller.trust()
        )
        hanging._exchange.wire._timeout = 0.3  # type: ignore[union-attr]  # the fixture's is longer
        assert hanging.validate().contact == "away"
    assert client.check().valid


@pytest.mark.parametrize(
    "server",
    [
        "http://licenses.acme.example",
        "ftp://licenses.acme.example",
        "licenses.acme.example",
        "https://",
        "https://user:pass@licenses.acme.example",
        "https://licenses.acme.example/?x=1",
        "http://127.0.0.1.evil.example",
    ],
)
def test_only_https_or_this_machine(seller: Seller, tmp_path: Path, server: str) -> None:
    with pytest.raises(ValueError, match="server"):
        client_of(seller, tmp_path, server=server)


@pytest.mark.parametrize(
    "server", ["https://licenses.acme.example", "http://localhost:8000", "http://[::1]:8000/keys"]
)
def test_servers_that_may_be_named(seller: Seller, tmp_path: Path, server: str) -> None:
    assert client_of(seller, tmp_path, server=server).check().state == "unlicensed"


def test_in_the_background_nobody_waits(seller: Seller, tmp_path: Path) -> None:
    client = activated(seller, tmp_path, background=True)
    seller.time.turn(3700)
    seller.code = "REVOKED"
    assert client.check().valid
    for _ in range(500):
        if not client.check().valid:
            break
        with client._exchange.turn:
            pass
    assert client.check().reason == "revoked"
    assert seller.calls("/validate") == 1


def test_the_baseline_is_learned_where_the_program_has_none(seller: Seller, tmp_path: Path) -> None:
    plans = {"products": [{"slug": "other"}, {"slug": PRODUCT, "baseline": {"limits": {"projects": 7}}}]}
    seller.documents["/api/public/plans"] = json.dumps(plans).encode().decode()
    client = client_of(seller, tmp_path, baseline=None)
    assert client.check().limit("projects") == 7
    asked = seller.calls()
    for _ in range(10):
        assert client_of(seller, tmp_path, baseline=None).check().limit("projects") == 7
    assert seller.calls() == asked
    assert client_of(seller, tmp_path).check().limit("projects") == 3


def test_without_a_server_nothing_is_asked(seller: Seller, tmp_path: Path) -> None:
    client = client_of(None, tmp_path, seller.time, trust=seller.trust())
    assert client.check().state == "unlicensed"
    assert client.validate().contact == "none"
    assert client.activate(KEY).message == "The license server could not be reached. Please try again."
    assert client.load_file(seller.file()).valid
