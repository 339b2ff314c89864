"""Mails on their way out: into files, or to a mail server."""

from __future__ import annotations

import hashlib
import os
import re
import smtplib
import ssl
import threading
import time
from base64 import encodebytes
from binascii import b2a_qp
from collections.abc import Callable
from datetime import UTC, datetime
from email.errors import MessageError
from email.header import Header
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from functools import lru_cache
from pathlib import Path
from tempfile import mkstemp
from typing import Final

from keywright.delivery.smtp_url import SmtpServer, read_smtp_url
from keywright.domain.errors import MailDelayed, MailRefused, Misconfigured
from keywright.domain.logo import Logo
from keywright.ports import Mail

TIMEOUT: Final = 20.0
"""Seconds a mail server may be silent before the mail is tried again later."""

_KEEP_OPEN: Final = 30.0  # seconds; servers drop idle clients after a minute or more
_ADDRESS_MAX: Final = 254  # RFC 5321 4.5.3.1.3: a path is 256 octets with its angle brackets
_MESSAGE_ID: Final = re.compile(r"<[A-Za-z0-9_+-][A-Za-z0-9._+-]{0,79}@[A-Za-z0-9.:\[\]-]{1,160}>")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_NAMED: Final = re.compile(r"([^<>]*)<([^<>\s]+)>")
_ENHANCED: Final = re.compile(rb"([245]\.\d{1,3}\.\d{1,3})\b")
# Addresses and subjects that need no folding and no encoding, which are nearly all.
_LONGEST_PLAIN: Final = 64
_PLAIN: Final = re.compile(
    r"[A-Za-z0-9_+-]+(?:\.[A-Za-z0-9_+-]+)*@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z]{2,63}"
)
# Seven bits on the wire: every server takes it, whatever extensions it has.
_POLICY: Final = SMTP.clone(cte_type="7bit")


def _utc_now() -> datetime:
    return datetime.now(UTC)


class OutboxMailer:
    """Writes each mail as a file. A mail that is sent again replaces its file, so nothing doubles.

    The files hold license keys: folder and files are for their owner alone.
    """

    def __init__(self, folder: Path, mail_from: str, *, now: Callable[[], datetime] = _utc_now) -> None:
        """`mail_from` is an address, or `Name <address>`. Raises Misconfigured when it is neither."""
        self._folder = folder
        self._sender = _sender(mail_from)
        self._now = now

    def send(self, mail: Mail) -> None:
        """Durable when this returns. Raises MailRefused, or MailDelayed when the folder takes no file."""
        _, raw = compose(mail, self._sender, self._now())
        problem = _put(self._folder, f"{mail.message_id[1:-1]}.eml", raw)
        if problem is not None:
            raise MailDelayed(f"the outbox folder cannot be written: {problem}")


def _put(folder: Path, name: str, content: bytes) -> str | None:
    """Write a whole file or none. Returns what was wrong.

    File and folder are synchronized: the mail is marked as sent afterwards, and must outlast a power cut.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, draft = mkstemp(dir=folder, prefix=".", suffix=".part")
        try:
            with os.fdopen(handle, "wb") as out:
                out.write(content)
                out.flush()
                os.fsync(out.fileno())
            os.replace(draft, folder / name)
        except BaseException:
            Path(draft).unlink(missing_ok=True)
            raise
        opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)
    except OSError as error:
        return error.strerror or type(error).__name__
    return None


class SmtpMailer:
    """Hands mails to a mail server. Safe to share between threads; an open connection is used again.

    Exceptions of smtplib end here, even as context: they may quote addresses, and errors of encoding quote
    the password.
    """

    def __init__(
        self,
        url: str,
        mail_from: str,
        *,
        timeout: float = TIMEOUT,
        tls: ssl.SSLContext | None = None,
        now: Callable[[], datetime] = _utc_now,
    ) -> None:
        """Read the settings; nothing is connected yet.

        Args:
            url: `smtp://user:pass@host:587?starttls=1` or `smtps://...`; see `read_smtp_url`.
            mail_from: an address, or `Name <address>`.
            timeout: seconds that each answer of the server may take.
            tls: trust settings; by default the system's certificate authorities.

        Raises:
            Misconfigured: the URL or the sender is not usable. Never shows the URL.
        """
        self._server = read_smtp_url(url)
        self._sender = _sender(mail_from)
        self._timeout = timeout
        self._tls = tls or ssl.create_default_context()
        self._now = now
        self._mutex = threading.Lock()
        self._idle: list[tuple[smtplib.SMTP, float]] = []

    def __repr__(self) -> str:
        return f"SmtpMailer({self._server.host}:{self._server.port})"

    def send(self, mail: Mail) -> None:
        """Hand one mail over.

        Raises:
            MailRefused: the server will never take this mail for this address (RFC 5321 4.2.1, 5xx).
            MailDelayed: anything else. A refused log-in or sender is a setting that can be corrected; the
                customer's mail must not be lost over it.
        """
        to, raw = compose(mail, self._sender, self._now())
        connection = self._take()
        problem = self._hand_over(connection, to, raw)
        if problem is not None:
            connection.close()
            raise problem
        with self._mutex:
            self._idle.append((connection, time.monotonic()))

    def close(self) -> None:
        """Close idle connections."""
        with self._mutex:
            idle, self._idle = self._idle, []
        for connection, _ in idle:
            connection.close()

    def _take(self) -> smtplib.SMTP:
        while True:
            with self._mutex:
                if not self._idle:
                    break
                connection, since = self._idle.pop()
            if time.monotonic() - since < _KEEP_OPEN and _is_answering(connection):
                return connection
            connection.close()
        opened = self._open()
        if isinstance(opened, str):
            raise MailDelayed(opened)
        return opened

    def _open(self) -> smtplib.SMTP | str:
        """A connection ready to take mail, or what was wrong."""
        server, client = self._server, None
        try:
            client = self._connect(server)
            if server.security == "starttls":
                client.starttls(context=self._tls)
            if server.user is not None:
                client.login(server.user, server.password or "")
        except (OSError, ValueError) as error:
            if client is not None:
                client.close()
            return f"the mail server cannot be used: {_reason(error)}"
        return client

    def _connect(self, server: SmtpServer) -> smtplib.SMTP:
        # Named by the sender's domain: the default asks DNS for our own name, which can take a minute.
        name = self._sender.domain or "localhost"
        if server.security == "tls":
            return smtplib.SMTP_SSL(
                server.host, server.port, local_hostname=name, timeout=self._timeout, context=self._tls
            )
        return smtplib.SMTP(server.host, server.port, local_hostname=name, timeout=self._timeout)

    def _hand_over(self, client: smtplib.SMTP, to: str, raw: bytes) -> MailRefused | MailDelayed | None:
        try:
            # The envelope is given by us: read back from headers, an odd address might become two.
            client.sendmail(self._sender.addr_spec, [to], raw)
        except (smtplib.SMTPRecipientsRefused, smtplib.SMTPDataError) as error:
            code, words = _answer(error)
            # A recipient may be refused for now, which is how greylisting works.
            kind = MailRefused if 500 <= code < 600 else MailDelayed
            return kind(f"the mail server refused the mail: {_status(code, words)}")
        except (OSError, ValueError) as error:
            return MailDelayed(f"the mail was not taken: {_reason(error)}")
        return None


def _is_answering(client: smtplib.SMTP) -> bool:
    try:
        return client.noop()[0] == 250
    except OSError:
        return False


def _answer(error: smtplib.SMTPRecipientsRefused | smtplib.SMTPDataError) -> tuple[int, bytes | str]:
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        code, words = next(iter(error.recipients.values()))
        return code, words
    return error.smtp_code, error.smtp_error


def _reason(error: Exception) -> str:
    """What may be told of an error: codes and the system's words. The server's words quote addresses."""
    if isinstance(error, smtplib.SMTPResponseException):
        return _status(error.smtp_code, error.smtp_error)
    if isinstance(error, smtplib.SMTPServerDisconnected):
        return "it did not answer"
    if isinstance(error, smtplib.SMTPNotSupportedError):
        return "it does not offer what SMTP_URL asks for"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return type(error).__name__


def _status(code: int, words: bytes | str) -> str:
    """The reply code, with the enhanced one (RFC 3463) where the server sent it."""
    raw = words if isinstance(words, bytes) else words.encode("utf-8", "replace")
    enhanced = _ENHANCED.match(raw)
    return f"{code} {enhanced[1].decode()}" if enhanced else str(code)


def compose(mail: Mail, sender: Address, now: datetime) -> tuple[str, bytes]:
    """The address as it travels, and the message, text and HTML (RFC 5322, 2046).

    Nothing in a mail can add a header.

    Raises:
        MailRefused: the address, the subject or the message id cannot be put into a header.
    """
    try:
        return _compose(mail, sender, now)
    except (ValueError, IndexError, MessageError):
        # IndexError: what the address parser of Python answers to some broken addresses.
        pass
    raise MailRefused("the address or the subject cannot be put into a mail")


def _compose(mail: Mail, sender: Address, now: datetime) -> tuple[str, bytes]:
    if _CONTROL.search(mail.subject) or not _MESSAGE_ID.fullmatch(mail.message_id):
        raise ValueError("a header of its own making")
    to = mail.to if len(mail.to) <= _LONGEST_PLAIN and _PLAIN.fullmatch(mail.to) else None
    if to is None:
        address = _address(mail.to)
        to, to_line = address.addr_spec, _header("To", str(address))
    else:
        to_line = f"To: {to}\r\n"
    # Neither quoted-printable nor base64 can have `=_`, so no part ends early.
    boundary = f"=_{hashlib.sha256(mail.message_id.encode()).hexdigest()[:32]}"
    head = (
        _header("From", str(sender))
        + to_line
        + _subject(mail.subject)
        + f"Date: {format_datetime(now)}\r\n"
        + f"Message-ID: {mail.message_id}\r\n"
        # RFC 3834: no vacation notices in return.
        + "Auto-Submitted: auto-generated\r\nMIME-Version: 1.0\r\n"
        + f'Content-Type: multipart/alternative;\r\n boundary="{boundary}"\r\n\r\n'
    )
    text, html = _part("plain", mail.text), _part("html", mail.html)
    if mail.logo is not None:
        html = _related(html, mail.logo, f"{boundary}r")
    edge = f"--{boundary}".encode()
    return to, b"".join((head.encode("ascii"), edge, b"\r\n", text, edge, b"\r\n", html, edge, b"--\r\n"))


def _part(subtype: str, content: str) -> bytes:
    kind = f'Content-Type: text/{subtype}; charset="utf-8"\r\n'
    head = f"{kind}Content-Transfer-Encoding: quoted-printable\r\n\r\n"
    return head.encode() + _quoted(content) + b"\r\n"  # this line end is the boundary's


def _related(html: bytes, logo: Logo, boundary: str) -> bytes:
    """The HTML with the picture it shows (RFC 2387): nothing is fetched when the mail is opened."""
    edge = f"--{boundary}"
    head = f'Content-Type: multipart/related; type="text/html";\r\n boundary="{boundary}"\r\n\r\n{edge}\r\n'
    return head.encode() + html + f"{edge}\r\n".encode() + _picture(logo) + f"{edge}--\r\n\r\n".encode()


@lru_cache(maxsize=16)
def _picture(logo: Logo) -> bytes:
    head = (
        "Content-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n"
        f'Content-ID: <{logo.digest}@logo>\r\nContent-Disposition: inline; filename="logo.png"\r\n\r\n'
    )
    return head.encode() + encodebytes(logo.png).replace(b"\n", b"\r\n") + b"\r\n"


def _quoted(content: str) -> bytes:
    """Quoted-printable (RFC 2045 6.7): seven bits and short lines for every server, readable in a file."""
    lines = content.replace("\r\n", "\n").rstrip("\n") + "\n"
    quoted = b2a_qp(lines.encode(), istext=True, header=False)
    return quoted.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def _subject(subject: str) -> str:
    if subject.isascii() and len(subject) <= _LONGEST_PLAIN and "=?" not in subject:
        return f"Subject: {subject}\r\n"
    if "=?" in subject:
        # The library leaves what looks encoded as it is (RFC 2047): readers would see what it decodes to.
        encoded = Header(subject, "utf-8", header_name="Subject").encode(linesep="\r\n")
        return f"Subject: {encoded}\r\n"
    return _header("Subject", subject)


@lru_cache(maxsize=256)
def _header(name: str, value: str) -> str:
    """One header by the library, folded and encoded. Most of the cost of a mail, hence the cache."""
    message = EmailMessage(policy=_POLICY)
    message[name] = value
    return message.as_bytes().decode("ascii").removesuffix("\r\n")


def _address(text: str, name: str = "") -> Address:
    """One address, its domain as DNS writes it, before the @ ASCII: RFC 6531 is spoken by too few servers.

    Raises ValueError, IndexError or MessageError for anything else.
    """
    local, at, domain = text.rpartition("@")
    if not at or not local or not domain or len(text) > _ADDRESS_MAX or _CONTROL.search(text + name):
        raise ValueError("not an address")
    return Address(display_name=name, addr_spec=f"{local}@{domain.encode('idna').decode()}")


def _sender(mail_from: str) -> Address:
    # Not parseaddr: it takes the comma of an unquoted `Acme, Inc. <...>` for the end of an address.
    named = _NAMED.fullmatch(mail_from.strip())
    name, address = (named[1].strip('" '), named[2]) if named else ("", mail_from.strip())
    try:
        sender = _address(address, name)
    except (ValueError, IndexError, MessageError):
        raise Misconfigured("MAIL_FROM must be an address, or a name and an address in <>.") from None
    return sender
