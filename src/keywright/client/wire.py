"""HTTP to one server, and what came of it: an answer, or nobody there.

`https` only, except on this machine itself. No redirect is followed: what another address says is not the
server's word.
"""

from __future__ import annotations

import base64
import http.client
import ipaddress
import socket
import ssl
import threading
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

LARGEST = 64 * 1024
LARGEST_LIST = 8 * 1024 * 1024

_LINE = 64 * 1024


class Away(Exception):
    """No answer: the network, the server or something between them is not as it should be."""


@dataclass(frozen=True)
class Answer:
    """`headers` by lower-case name."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Wire:
    """Asks one server.

    Args:
        server: its base URL.
        timeout: seconds for one request as a whole, once the name is resolved.
        context: for a private certificate authority; None for the system's.
        tenant: the seller's slug where the server has several; `site` is where his pages are then. Questions
            about licenses need none: the key tells whose it is.

    Raises:
        ValueError: the URL is not `https`, and not of this machine.
    """

    def __init__(
        self,
        server: str,
        *,
        timeout: float,
        agent: str,
        context: ssl.SSLContext | None = None,
        tenant: str | None = None,
    ) -> None:
        parts = urllib.parse.urlsplit(server)
        host = parts.hostname or ""
        is_near = _is_loopback(host)
        if (
            parts.scheme not in ("http", "https")
            or not host
            or parts.username
            or parts.query
            or parts.fragment
        ):
            raise ValueError("the server is named like https://licenses.acme.example")
        if parts.scheme == "http" and not is_near:
            raise ValueError("the server must be asked through https")
        self._host, self._port = host, parts.port
        self._path = parts.path.rstrip("/")
        self._is_https, self._is_near = parts.scheme == "https", is_near
        self._timeout, self._agent, self._context = timeout, agent, context
        self.site = f"/t/{tenant}" if tenant else ""

    def get(self, path: str, headers: Mapping[str, str] | None = None, *, largest: int = LARGEST) -> Answer:
        """Raises Away."""
        return self._ask("GET", path, None, headers or {}, largest)

    def post(self, path: str, body: bytes, headers: Mapping[str, str] | None = None) -> Answer:
        """Send JSON. Raises Away."""
        return self._ask("POST", path, body, {"Content-Type": "application/json", **(headers or {})}, LARGEST)

    @contextmanager
    def stream(self, path: str, headers: Mapping[str, str], silence: float) -> Iterator[Stream]:
        """Open an answer that is read line by line, with at most `silence` seconds between two. Raises
        Away."""
        connection = self._connection(self._timeout)
        try:
            connection.request("GET", self._path + path, headers={"User-Agent": self._agent, **headers})
            line = connection.sock
            answer = connection.getresponse()
            line.settimeout(silence)
            yield Stream(answer, line)
        except _TROUBLE as error:
            raise Away(_why(error)) from None
        finally:
            connection.close()

    def _ask(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str], largest: int
    ) -> Answer:
        connection = self._connection(self._timeout)
        # A server that only drips would keep every single read within its time.
        late = threading.Event()
        guard = threading.Timer(self._timeout, _cut, [connection, late])
        guard.daemon = True
        try:
            connection.connect()
            guard.start()
            connection.request(
                method, self._path + path, body, {"User-Agent": self._agent, "Connection": "close", **headers}
            )
            answer = connection.getresponse()
            content = answer.read(largest + 1)
        except _TROUBLE as error:
            raise Away(_why(error)) from None
        finally:
            guard.cancel()
            connection.close()
        if len(content) > largest:
            raise Away("the answer is too long")
        # The parser takes the end of the line for the end of the headers, or of the body.
        if answer.length or late.is_set():
            raise Away("the answer was cut off")
        return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, content)

    def _connection(self, timeout: float) -> http.client.HTTPConnection:
        if not self._is_https:
            return http.client.HTTPConnection(self._host, self._port, timeout=timeout)
        context = self._context or ssl.create_default_context()
        proxy = None if self._is_near else _proxy_for(self._host)
        if proxy is None:
            return http.client.HTTPSConnection(self._host, self._port, timeout=timeout, context=context)
        through = http.client.HTTPSConnection(
            proxy.hostname or "", proxy.port or 8080, timeout=timeout, context=context
        )
        through.set_tunnel(self._host, self._port or 443, headers=_proxy_headers(proxy))
        return through


class Stream:
    """An answer that goes on."""

    def __init__(self, answer: http.client.HTTPResponse, line: Any) -> None:
        self.status = answer.status
        self.headers = {name.lower(): value for name, value in answer.getheaders()}
        self._answer = answer
        self._line = line

    def readline(self) -> bytes:
        """The next line with its end; empty when the server has closed. Raises Away."""
        try:
            found = self._answer.readline(_LINE)
        except _TROUBLE as error:
            raise Away(_why(error)) from None
        if len(found) >= _LINE:
            raise Away("a line is too long")
        return found

    def close(self) -> None:
        """End the reading, from any thread."""
        try:
            self._line.shutdown(socket.SHUT_RDWR)
        except OSError:
            return


def seconds_of(value: str | None, now: float) -> int | None:
    """The wait that a `Retry-After` asks for, as a number or a date; None when it asks for none."""
    if value is None:
        return None
    value = value.strip()
    if value.isascii() and value.isdigit():
        return min(int(value[:9]), 86_400)
    try:
        from email.utils import parsedate_to_datetime

        return max(0, min(int(parsedate_to_datetime(value).timestamp() - now), 86_400))
    except (TypeError, ValueError, OverflowError, IndexError):
        return None


# ValueError: what http.client says of a header or an address that it cannot send or read.
_TROUBLE = (OSError, http.client.HTTPException, ValueError)


def _cut(connection: http.client.HTTPConnection, late: threading.Event) -> None:
    late.set()
    line = connection.sock
    if line is not None:
        try:
            line.shutdown(socket.SHUT_RDWR)
        except OSError:
            return


def _why(error: BaseException) -> str:
    """The kind of trouble, without addresses or content."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return "the server's certificate is not trusted"
    if isinstance(error, (socket.timeout, TimeoutError)):
        return "no answer in time"
    if isinstance(error, socket.gaierror):
        return "the server's name is not known here"
    return type(error).__name__


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _proxy_for(host: str) -> urllib.parse.SplitResult | None:
    """The proxy that the system is set to use: many firms let nothing out beside it."""
    named = urllib.request.getproxies().get("https")
    if not named or urllib.request.proxy_bypass(host):
        return None
    return urllib.parse.urlsplit(named if "://" in named else f"http://{named}")


def _proxy_headers(proxy: urllib.parse.SplitResult) -> dict[str, str]:
    if proxy.username is None:
        return {}
    secret = f"{urllib.parse.unquote(proxy.username)}:{urllib.parse.unquote(proxy.password or '')}"
    return {"Proxy-Authorization": "Basic " + base64.b64encode(secret.encode()).decode()}
