"""The mail server as one URL."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Final, Literal
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from keywright.domain.errors import Misconfigured

_SHAPE: Final = "SMTP_URL must look like smtp://user:password@host:587?starttls=1 or smtps://..., "
_SWITCH: Final = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}


@dataclass(frozen=True, slots=True)
class SmtpServer:
    """Where mails go. The password shows in no representation."""

    host: str
    port: int
    security: Literal["plain", "starttls", "tls"]
    user: str | None
    password: str | None = field(repr=False)

    @property
    def shown(self) -> str:
        """Where mails go, for people; nothing secret."""
        secured = {"plain": "not encrypted", "starttls": "STARTTLS", "tls": "TLS"}[self.security]
        return f"{self.host}:{self.port}, {secured}"


def read_smtp_url(url: str) -> SmtpServer:
    """Read `smtp://user:pass@host:587?starttls=1` or `smtps://user:pass@host:465`.

    Ports default to 25, to 587 with STARTTLS (RFC 6409), and to 465 for `smtps` (RFC 8314).

    Raises:
        Misconfigured: anything unclear, or a password that would cross a network in the clear. Says what to
            do and shows no part of the URL.
    """
    parts = _split(url.strip())
    if parts is None or parts.fragment or parts.path not in ("", "/"):
        raise Misconfigured(_SHAPE + "with / ? # @ : in user and password percent-encoded.")
    if parts.scheme not in ("smtp", "smtps") or not parts.hostname:
        raise Misconfigured(_SHAPE + "with a host.")
    security = _security(parts)
    port = parts.port or {"plain": 25, "starttls": 587, "tls": 465}[security]
    user = unquote(parts.username) if parts.username else None
    password = unquote(parts.password) if parts.password else None
    if (user is None) != (password is None):
        raise Misconfigured(_SHAPE + "with both user and password, or neither.")
    if not f"{user}{password}".isascii():
        raise Misconfigured("The user and the password in SMTP_URL must be ASCII.")
    if user is not None and security == "plain" and not _is_loopback(parts.hostname):
        raise Misconfigured("SMTP_URL would send the password unencrypted: add ?starttls=1, or use smtps://.")
    return SmtpServer(parts.hostname, port, security, user, password)


def _split(url: str) -> SplitResult | None:
    """None instead of an exception, whose message would quote what is behind a colon: the password."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # read here because it is checked when it is read
    except ValueError:
        return None
    return parts


def _security(parts: SplitResult) -> Literal["plain", "starttls", "tls"]:
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    wanted = _SWITCH.get(options.pop("starttls", "0").lower())
    if options or wanted is None:
        raise Misconfigured(_SHAPE + "with no other option.")
    if parts.scheme == "smtps":
        return "tls"
    return "starttls" if wanted else "plain"


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
