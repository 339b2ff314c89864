"""A client for addresses that somebody else chose: it reaches the public internet and nothing else.

The name is resolved once, every address it leads to is looked at, and the connection is made to one of those
that were looked at; so a name that answers differently the next moment leads nowhere else. No redirect is
followed, no proxy of the environment is used, and everything together has a time and a size.
"""

from __future__ import annotations

import ipaddress
import queue
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from email.utils import parsedate_to_datetime
from functools import cache
from typing import Any, Final

import certifi
import httpcore
import msgspec

from keywright.domain.errors import Invalid

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = Callable[[str], Sequence[str]]

TOTAL_SECONDS: Final = 15.0
LARGEST_ANSWER: Final = 64 << 10
_LONGEST_URL: Final = 2000
_URL = re.compile(r"(https?)://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)(?::([0-9]{1,5}))?(/[^#]*|\?[^#]*)?")
_LABEL = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_PORTS: Final = {"https": 443, "http": 80}
_SPECIAL_NAMES: Final = ("localhost", "local", "internal", "home.arpa", "onion", "invalid")

# Own lists, because `is_global` of the standard library calls multicast, NAT64 and others global in some
# releases. From the IANA special-purpose registries (RFC 6890); translated addresses are refused whole.
_REFUSED_4: Final = tuple(
    map(
        ipaddress.IPv4Network,
        (
            *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
            *("192.0.0.0/24", "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24"),
            *("192.168.0.0/16", "192.175.48.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24"),
            *("224.0.0.0/4", "240.0.0.0/4"),
        ),
    )
)
_GLOBAL_6: Final = ipaddress.IPv6Network("2000::/3")
_REFUSED_6: Final = tuple(
    map(ipaddress.IPv6Network, ("2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20"))
)
# What an operator may open: the machine itself and networks of one's own. Not link-local, where clouds answer
# with credentials, and not their other addresses for the same.
_PRIVATE: Final[tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]] = (
    *map(
        ipaddress.IPv4Network,
        ("10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"),
    ),
    *map(ipaddress.IPv6Network, ("::1/128", "fc00::/7")),
)
_METADATA: Final = frozenset(map(ipaddress.ip_address, ("100.100.100.200", "fd00:ec2::254")))


class Answer(msgspec.Struct, frozen=True):
    """What came back: a status, or in a few words why none did. `retry_after` in seconds."""

    status: int | None
    error: str | None = None
    retry_after: int | None = None


class Target(msgspec.Struct, frozen=True):
    """A URL in its parts. `host` is a name, or an address without brackets."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def literal(self) -> bool:
        return ":" in self.host or bool(_NUMBER.fullmatch(self.host.rpartition(".")[2]))

    @property
    def authority(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"


class AddressRefused(Exception):
    """The address may not be asked. The text says why, and never what a name leads to."""


def is_global(text: str) -> bool:
    """Whether this address is on the public internet, and no other one in disguise."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in network for network in _REFUSED_4)
    return (
        address.scope_id is None
        and address in _GLOBAL_6
        and not any(address in network for network in _REFUSED_6)
    )


def is_private(text: str) -> bool:
    """Whether this is the machine itself or of a network that an operator may open."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    if address in _METADATA or getattr(address, "scope_id", None) is not None:
        return False
    return any(address.version == network.version and address in network for network in _PRIVATE)


def read_url(url: str) -> Target:
    """The parts of a URL. Raises AddressRefused for all that could be read in two ways."""
    if len(url) > _LONGEST_URL or not url.isascii() or not url.isprintable() or {" ", "\\"} & set(url):
        raise AddressRefused("it must be an ordinary web address, in ASCII, without blanks")
    found = _URL.fullmatch(url)
    if found is None:
        raise AddressRefused("it must be https://name/path, without a user or a fragment")
    scheme, host, port, path = found[1], found[2].lower(), found[3], found[4] or "/"
    target = Target(
        scheme,
        host.strip("[]"),
        int(port) if port else _PORTS[scheme],
        path if path.startswith("/") else f"/{path}",
    )
    if not 0 < target.port < 1 << 16:
        raise AddressRefused("there is no such port")
    if target.literal:
        try:
            ipaddress.ip_address(target.host)
        except ValueError:
            raise AddressRefused("its address is written in an unusual way") from None
    elif len(host) > 253 or not all(map(_LABEL.fullmatch, host.split("."))):
        raise AddressRefused("its name is none")
    return target


def resolve(host: str) -> Sequence[str]:
    """Every address of a name, as the system's resolver says."""
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


class SafeHttp:
    """`allow_private`: also to the machine itself and to private networks, at any port, without TLS as well.
    `allow_http`: to port 80, too."""

    def __init__(
        self,
        *,
        allow_private: bool = False,
        allow_http: bool = False,
        resolve: Resolve = resolve,
        total: float = TOTAL_SECONDS,
        trust: ssl.SSLContext | None = None,
    ) -> None:
        self._allow_private = allow_private
        self._allow_http = allow_http
        self._resolve = resolve
        self._total = total
        self._trust = trust

    def check(self, url: str) -> None:
        """Raises Invalid for an address that would not be asked."""
        try:
            self._addresses(read_url(url), time.monotonic() + self._total)
        except (AddressRefused, OSError) as error:
            reason = str(error) if isinstance(error, AddressRefused) else "its name leads nowhere"
            raise Invalid(f"This address cannot be used: {reason}.", code="WEBHOOK_URL_REFUSED") from None

    def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Send it once. Whatever goes wrong is in the answer."""
        deadline = time.monotonic() + self._total
        try:
            target = read_url(url)
            addresses = self._addresses(target, deadline)
            return self._ask(target, addresses, headers, body, deadline)
        except AddressRefused:
            return Answer(None, "address refused")
        except (TimeoutError, httpcore.TimeoutException):
            return Answer(None, "timed out")
        except httpcore.ConnectError as error:
            # The library wraps what TLS said, in words.
            refused = isinstance(error.__context__ or error.__cause__, ssl.SSLError)
            return Answer(None, "TLS refused" if refused else "no connection")
        except socket.gaierror:
            return Answer(None, "name not found")
        except (httpcore.NetworkError, OSError):
            return Answer(None, "connection lost")
        except httpcore.ProtocolError:
            return Answer(None, "no HTTP answer")

    def _addresses(self, target: Target, deadline: float) -> Sequence[str]:
        """The addresses that may be connected to: all that the name has, or none."""
        last = target.host.split(".")
        if (
            not target.literal
            and not self._allow_private
            and (len(last) == 1 or any(f".{target.host}".endswith(f".{name}") for name in _SPECIAL_NAMES))
        ):
            raise AddressRefused("its name is not one of the internet")
        if target.literal:
            found: Sequence[str] = [target.host]
        else:
            found = _within(deadline, lambda: self._resolve(target.host))
        if not found:
            raise socket.gaierror("no address")
        if self._allow_private and all(map(is_private, found)):
            return found
        if not all(map(is_global, found)):
            raise AddressRefused("it does not lead to the public internet alone")
        if target.scheme == "http" and not self._allow_http:
            raise AddressRefused("it must begin with https://")
        if target.port != _PORTS[target.scheme]:
            raise AddressRefused("its port must be 443")
        return found

    def _ask(
        self,
        target: Target,
        addresses: Sequence[str],
        headers: Mapping[str, str],
        body: bytes,
        deadline: float,
    ) -> Answer:
        if self._trust is None:
            self._trust = _trusted()
        sent = {"Host": target.authority, "Content-Length": str(len(body)), "Connection": "close", **headers}
        with httpcore.ConnectionPool(
            ssl_context=self._trust,
            max_keepalive_connections=0,
            network_backend=_Checked(addresses, deadline),
        ) as pool:
            request = httpcore.URL(
                scheme=target.scheme.encode(),
                host=target.host.encode(),
                port=target.port,
                target=target.path.encode(),
            )
            with pool.stream("POST", request, headers=list(sent.items()), content=body) as response:
                answer = Answer(response.status, None, _retry_after(response.headers))
                size = 0
                for part in response.iter_stream():
                    size += len(part)
                    if size >= LARGEST_ANSWER:
                        break
                return answer


@cache  # one for all: reading the authorities takes 50 ms, and nothing changes it afterwards
def _trusted() -> ssl.SSLContext:
    """The system's authorities, where an operator's own may be, and the usual ones."""
    made = ssl.create_default_context()
    made.load_verify_locations(certifi.where())
    return made


def _retry_after(headers: Iterable[tuple[bytes, bytes]]) -> int | None:
    """Seconds, or a date (RFC 9110 section 10.2.3)."""
    told = next((value for name, value in headers if name.lower() == b"retry-after"), b"").decode("latin-1")
    if re.fullmatch(r"[0-9]{1,9}", told):
        return int(told)
    try:
        return max(0, round(parsedate_to_datetime(told).timestamp() - time.time()))
    except (TypeError, ValueError, OverflowError):
        return None


def _within(deadline: float, work: Callable[[], Sequence[str]]) -> Sequence[str]:
    """What `work` returns, if it does in time: the system's resolver knows no time limit."""
    done: queue.SimpleQueue[Sequence[str] | Exception] = queue.SimpleQueue()

    def run() -> None:
        try:
            done.put(work())
        except (OSError, UnicodeError) as error:
            done.put(error if isinstance(error, OSError) else socket.gaierror("no such name"))

    threading.Thread(target=run, name="resolve", daemon=True).start()
    try:
        found = done.get(timeout=max(0.0, deadline - time.monotonic()))
    except queue.Empty:
        raise TimeoutError from None
    if isinstance(found, Exception):
        raise found
    return found


class _Checked(httpcore.NetworkBackend):
    """Connects to addresses that were looked at, whatever name it is given, and keeps to one deadline."""

    def __init__(self, addresses: Sequence[str], deadline: float) -> None:
        self._addresses = addresses
        self._deadline = deadline
        self._plain = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,  # noqa: ARG002  # the name was resolved before, once
        port: int,
        timeout: float | None = None,  # noqa: ARG002  # the deadline is for all
        local_address: str | None = None,  # noqa: ARG002  # as the base class has it
        socket_options: Iterable[Any] | None = None,  # noqa: ARG002  # as the base class has it
    ) -> httpcore.NetworkStream:
        refused: Exception | None = None
        for place, address in enumerate(self._addresses):
            # A share of what is left for each, so that one that is silent does not use it up.
            share = _left(self._deadline) / (len(self._addresses) - place)
            try:
                return _Timed(self._plain.connect_tcp(address, port, timeout=share), self._deadline)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                refused = error
        raise refused or httpcore.ConnectError("no address")


class _Timed(httpcore.NetworkStream):
    """A connection on which every step has what is left of the time of all."""

    def __init__(self, stream: httpcore.NetworkStream, deadline: float) -> None:
        self._stream = stream
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002  # as above
        return self._stream.read(max_bytes, timeout=_left(self._deadline))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002  # as above
        self._stream.write(buffer, timeout=_left(self._deadline))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ARG002  # as above
    ) -> httpcore.NetworkStream:
        left = _left(self._deadline)
        return _Timed(self._stream.start_tls(ssl_context, server_hostname, timeout=left), self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise httpcore.ReadTimeout("the time is over")
    return left
