"""The client for addresses of others: what it refuses, before and while it connects, and its limits."""

from __future__ import annotations

import itertools
import json
import socket
import ssl
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpcore
import pytest

from keywright.delivery import safe_http
from keywright.delivery.safe_http import Answer, SafeHttp, is_global, is_private, read_url
from keywright.domain.errors import Invalid
from tests.life.receiver import Receiver, certificate_for, receiving

GIVEN: dict[str, Any] = json.loads(
    (Path(__file__).parents[1] / "fixtures" / "crypto" / "ssrf" / "addresses.json").read_text()
)
DENIED = [one["ip"] for one in GIVEN["deny"]]
FLIPS = 200


def names(*answers: Sequence[str]) -> safe_http.Resolve:
    """A resolver that gives these answers in turn, again and again."""
    turn = itertools.cycle(answers)
    return lambda _host: next(turn)


@pytest.fixture
def canary() -> Iterator[Receiver]:
    with receiving() as one:
        yield one


def test_the_lists_are_whole() -> None:
    assert len(DENIED) == 46
    assert len(GIVEN["deny_urls"]) == 26


@pytest.mark.parametrize("address", DENIED)
def test_an_address_that_is_not_public_is_refused(address: str) -> None:
    assert not is_global(address)
    http = SafeHttp(resolve=names([address]), allow_http=True)
    for url in ("https://example.com/", f"https://{f'[{address}]' if ':' in address else address}/"):
        with pytest.raises(Invalid) as refused:
            http.check(url)
        assert refused.value.code == "WEBHOOK_URL_REFUSED"
        assert http.post(url, {}, b"") == Answer(None, "address refused")


@pytest.mark.parametrize("address", GIVEN["allow"])
def test_a_public_address_is_not(address: str) -> None:
    assert is_global(address)
    SafeHttp(resolve=names([address])).check("https://example.com/hook?of=us")


@pytest.mark.parametrize("url", GIVEN["deny_urls"])
def test_a_url_that_could_lead_inside_is_refused(url: str) -> None:
    # Whatever can be resolved at all leads to this machine.
    http = SafeHttp(resolve=names(["127.0.0.1"]), allow_http=True)
    with pytest.raises(Invalid):
        http.check(url)
    assert http.post(url, {}, b"").error == "address refused"


def test_one_private_address_among_public_ones_is_enough() -> None:
    http = SafeHttp(resolve=names(["8.8.8.8", "10.0.0.1"]))
    with pytest.raises(Invalid):
        http.check("https://example.com/")


def test_a_name_that_flips_reaches_nobody(canary: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """The name is asked for once, and the connection goes to the answer that was looked at."""
    reached: list[str] = []

    def connect(_self: object, host: str, *_: object, **__: object) -> None:
        reached.append(host)
        raise httpcore.ConnectError("there is no network here")

    monkeypatch.setattr(httpcore.SyncBackend, "connect_tcp", connect)
    http = SafeHttp(resolve=names(["8.8.8.8"], ["127.0.0.1"]))
    told = {http.post("https://example.com/", {}, b"").error for _ in range(FLIPS)}
    assert told == {"no connection", "address refused"}
    assert reached == ["8.8.8.8"] * (FLIPS // 2)
    assert canary.got == []


def test_only_the_ports_of_the_web_and_tls(canary: Receiver) -> None:
    public = names(["8.8.8.8"])
    for url in ("http://example.com/", "https://example.com:8443/", "https://example.com:80/"):
        with pytest.raises(Invalid):
            SafeHttp(resolve=public).check(url)
    SafeHttp(resolve=public, allow_http=True).check("http://example.com/")
    # What opens private networks opens no port of public ones.
    with pytest.raises(Invalid):
        SafeHttp(resolve=public, allow_private=True).check("http://example.com:8080/")
    assert SafeHttp().post(canary.url, {}, b"").error == "address refused"
    assert canary.got == []


def test_private_networks_by_the_operators_word_and_never_link_local() -> None:
    http = SafeHttp(resolve=names(["10.1.2.3"]), allow_private=True)
    for url in ("http://intranet:8080/", "https://10.0.0.1/", "http://127.0.0.1:99/", "https://[fd00::1]/"):
        http.check(url)
    for address in ("169.254.169.254", "100.100.100.200", "fd00:ec2::254", "fe80::1", "::ffff:10.0.0.1"):
        assert not is_private(address)
        with pytest.raises(Invalid):
            SafeHttp(resolve=names([address]), allow_private=True).check("https://intranet/")


def test_a_name_that_leads_nowhere_is_told() -> None:
    def nowhere(_host: str) -> list[str]:
        raise socket.gaierror("unknown")

    http = SafeHttp(resolve=nowhere)
    with pytest.raises(Invalid, match="leads nowhere"):
        http.check("https://example.com/")
    assert http.post("https://example.com/", {}, b"").error == "name not found"


def test_a_resolver_that_does_not_answer_is_not_waited_for() -> None:
    ended, answered = threading.Event(), threading.Event()

    def silent(_host: str) -> list[str]:
        ended.wait(60)
        answered.set()
        return []

    assert SafeHttp(resolve=silent, total=0.2).post("https://example.com/", {}, b"").error == "timed out"
    assert not answered.is_set()
    ended.set()


def test_a_redirect_is_an_answer_and_not_followed(canary: Receiver) -> None:
    with receiving() as other:
        canary.answer(307, Location=other.url)
        assert SafeHttp(allow_private=True).post(canary.url, {}, b"x").status == 307
        assert other.got == []


def test_the_environments_proxy_is_not_used(canary: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    with receiving() as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        assert SafeHttp(allow_private=True).post(canary.url, {"X-One": "1"}, b"hello").status == 204
        assert proxy.got == []
    [got] = canary.got
    assert (got.body, got.headers["x-one"], got.headers["host"]) == (
        b"hello",
        "1",
        f"127.0.0.1:{canary.port}",
    )


def test_retry_after_in_seconds_as_a_date_and_in_nonsense(canary: Receiver) -> None:
    http = SafeHttp(allow_private=True)
    for told, read in (("120", 120), ("Thu, 01 Jan 1970 00:00:00 GMT", 0), ("soon", None), ("-5", None)):
        canary.answer(429, Retry_After=told)
        assert http.post(canary.url, {}, b"").retry_after == read


def test_no_more_than_a_part_of_a_long_answer_is_read(canary: Receiver) -> None:
    canary.answers.append((200, {}, b"x" * (8 << 20)))
    assert SafeHttp(allow_private=True).post(canary.url, {}, b"").status == 200


def test_an_answer_that_drips_ends_in_time() -> None:
    """Each byte is in time for itself; the whole is not, and whoever drips would go on for ever."""
    hung_up = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def drip() -> None:
            peer, _ = listener.accept()
            peer.settimeout(0.02)
            with peer:
                while not hung_up.is_set():
                    try:
                        peer.sendall(b"H")
                        if peer.recv(4096) == b"":
                            hung_up.set()
                    except TimeoutError:
                        continue
                    except OSError:
                        hung_up.set()

        thread = threading.Thread(target=drip, daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        assert SafeHttp(allow_private=True, total=0.4).post(url, {}, b"") == Answer(None, "timed out")
        assert hung_up.wait(30)
        thread.join(30)


def test_an_answer_whose_body_never_ends_is_cut_off() -> None:
    """By its size: nobody waits for the time to be over."""
    hung_up = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def pour() -> None:
            peer, _ = listener.accept()
            with peer:
                peer.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
                with suppress(OSError):
                    while True:
                        peer.sendall(b"1000\r\n" + b"x" * 4096 + b"\r\n")
            hung_up.set()

        thread = threading.Thread(target=pour, daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        assert SafeHttp(allow_private=True, total=90).post(url, {}, b"") == Answer(200)
        assert hung_up.wait(30)
        thread.join(30)


def test_an_answer_without_an_end_of_its_heads_is_none() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def pour() -> None:
            peer, _ = listener.accept()
            with peer, suppress(OSError):
                peer.sendall(b"HTTP/1.1 200 OK\r\n")
                while True:
                    peer.sendall(b"X-More: " + b"x" * 4096 + b"\r\n")

        thread = threading.Thread(target=pour, daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        assert SafeHttp(allow_private=True, total=90).post(url, {}, b"").status is None
        thread.join(30)
        assert not thread.is_alive()


def test_the_name_goes_into_host_and_certificate_check(tmp_path: Path) -> None:
    certificate = certificate_for("receiver.example", tmp_path)
    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    served.load_cert_chain(certificate)
    asked: list[str | None] = []
    served.sni_callback = lambda _socket, name, _context: asked.append(name)
    trust = ssl.create_default_context(cafile=str(certificate))
    with receiving(served) as one:
        http = SafeHttp(allow_private=True, resolve=names(["127.0.0.1"]), trust=trust)
        assert http.post(f"https://receiver.example:{one.port}/a?b=c", {}, b"x").status == 204
        [got] = one.got
        assert (got.path, got.headers["host"]) == ("/a?b=c", f"receiver.example:{one.port}")
        assert asked == ["receiver.example"]
        assert http.post(f"https://other.example:{one.port}/", {}, b"x") == Answer(None, "TLS refused")


def test_a_url_is_read_in_one_way() -> None:
    target = read_url("https://Hooks.Example.com?x=1")
    assert (target.host, target.port, target.path, target.authority) == (
        *("hooks.example.com", 443, "/?x=1"),
        "hooks.example.com",
    )
    assert read_url("https://[2606:4700:4700::1111]:443/").authority == "[2606:4700:4700::1111]"
