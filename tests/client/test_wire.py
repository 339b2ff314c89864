"""The line to the server: nothing hangs, nothing is followed elsewhere, nothing is too long."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from keywright.client.wire import Away, Wire, seconds_of

TALK = Callable[[socket.socket], None]


@contextmanager
def talking(talk: TALK) -> Iterator[str]:
    """A server that says what it likes; its URL."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            try:
                line, _ = listening.accept()
            except OSError:
                return
            with line:
                try:
                    line.recv(65536)
                    talk(line)
                except OSError:
                    return

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            listening.close()
            thread.join(10)


def wire(url: str, timeout: float = 0.5) -> Wire:
    return Wire(url, timeout=timeout, agent="test")


def drip(line: socket.socket) -> None:
    for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b"x" * 1000:
        line.sendall(bytes([byte]))
        time.sleep(0.02)


def test_a_server_that_drips_does_not_hold_the_program() -> None:
    began = time.monotonic()
    with talking(drip) as url, pytest.raises(Away):
        wire(url).get("/")
    assert time.monotonic() - began < 3


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200,
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n" + b"x" * 80_000,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
        b"SSH-2.0-OpenSSH_9.9\r\n",
    ],
)
def test_what_is_no_answer_is_nobody_there(said: bytes) -> None:
    with talking(lambda line: line.sendall(said)) as url, pytest.raises(Away):
        wire(url).get("/")


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    with pytest.raises(Away):
        wire(f"http://127.0.0.1:{port}").post("/", b"{}")


def test_a_certificate_that_is_not_trusted_is_nobody_there() -> None:
    with talking(lambda line: line.sendall(b"HTTP/1.1 200 OK\r\n\r\n")) as url, pytest.raises(Away):
        wire(url.replace("http:", "https:")).get("/")


def test_headers_that_no_request_can_carry() -> None:
    with talking(lambda _: None) as url, pytest.raises(Away):
        wire(url).get("/", {"Authorization": "License a\r\nX: b"})


def test_a_proxy_is_used_for_https_and_never_for_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[bytes] = []

    def proxy(line: socket.socket) -> None:
        heard.append(b"connected")
        line.sendall(b"HTTP/1.1 403 Forbidden\r\n\r\n")

    with talking(proxy) as url:
        monkeypatch.setenv("https_proxy", url.replace("http://", "http://user:p%40ss@"))
        monkeypatch.setenv("no_proxy", "")
        made = wire("https://licenses.acme.example")._connection(1.0)
        assert made._tunnel_host == "licenses.acme.example"  # type: ignore[attr-defined]  # a private name of http.client
        assert made._tunnel_headers == {"Proxy-Authorization": "Basic dXNlcjpwQHNz"}  # type: ignore[attr-defined]  # the same
        near = wire("https://127.0.0.1:9")._connection(1.0)
        assert near._tunnel_host is None  # type: ignore[attr-defined]  # the same
        with pytest.raises(Away):
            wire("https://licenses.acme.example", 2.0).get("/")
    assert heard == [b"connected"]


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("90", 90),
        (" 5 ", 5),
        ("999999999999", 86_400),
        ("Wed, 21 Oct 2015 07:28:30 GMT", 30),
        ("Wed, 21 Oct 2015 07:00:00 GMT", 0),
        ("soon", None),
        ("-1", None),
        ("1.5", None),
        ("\u0663", None),
    ],
)
def test_retry_after(value: str | None, seconds: int | None) -> None:
    assert seconds_of(value, 1_445_412_480) == seconds
