"""Mails over SMTP, spoken with a real server."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.message import Message
from email.policy import default
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from keywright.delivery.email import SmtpMailer
from keywright.delivery.smtp_url import read_smtp_url
from keywright.domain.errors import MailDelayed, MailRefused, Misconfigured
from keywright.ports import Mail

PASSWORD = "s3cret/+pass word"
IN_URL = "s3cret%2F%2Bpass%20word"
SENDER = "Acme <licenses@acme.example>"
MAIL = Mail(
    to="ada@example.com",
    subject="Your key, Ada",
    text="Your key:\n\n    DC-0A1B2\n.\n..\nGrüße\n",
    html="<p>DC-0A1B2</p>",
    message_id="<ann_01h@licenses.example.com>",
)


class Post:
    """What the server took, and the answers it was told to give instead of taking."""

    def __init__(self, **answers: str) -> None:
        self.answers = answers
        self.taken: list[Envelope] = []
        self.peers: list[Any] = []
        self.encrypted: list[bool] = []

    async def handle_MAIL(  # noqa: N802  # the name is the library's
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if "mail" in self.answers:
            return self.answers["mail"]
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 OK"

    async def handle_RCPT(  # noqa: N802  # as above
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        if "rcpt" in self.answers:
            return self.answers["rcpt"]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802  # as above
        if "data" in self.answers:
            return self.answers["data"]
        self.taken.append(envelope)
        self.peers.append(session.peer)
        self.encrypted.append(session.ssl is not None)
        return "250 2.0.0 taken"

    @property
    def messages(self) -> list[Message]:
        return [message_from_bytes(e.original_content or b"", policy=default) for e in self.taken]


@contextmanager
def server(post: Post, **options: Any) -> Iterator[int]:
    controller = Controller(post, hostname="127.0.0.1", port=free_port(), **options)
    controller.start()
    try:
        yield controller.port
    finally:
        controller.stop()


@contextmanager
def mailer(url: str, **options: Any) -> Iterator[SmtpMailer]:
    made = SmtpMailer(url, SENDER, timeout=options.pop("timeout", 5.0), **options)
    try:
        yield made
    finally:
        made.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def authenticate(
    server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: LoginPassword
) -> AuthResult:
    good = (data.login, data.password) == (b"acme@x", PASSWORD.encode())
    return AuthResult(success=good, handled=False)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 that vouches for itself, with its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return path


def serving(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


def trusting(certificate: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(certificate))


def test_plain() -> None:
    post = Post()
    with server(post) as port, mailer(f"smtp://127.0.0.1:{port}") as sender:
        sender.send(MAIL)
    [envelope] = post.taken
    assert envelope.mail_from == "licenses@acme.example"
    assert envelope.rcpt_tos == ["ada@example.com"]
    [message] = post.messages
    assert message["Message-ID"] == MAIL.message_id
    assert message["Auto-Submitted"] == "auto-generated"
    text = message.get_payload(0)
    assert isinstance(text, Message)
    assert text.get_payload(decode=True).decode().replace("\r\n", "\n") == MAIL.text  # type: ignore[union-attr]  # bytes, as it is decoded


def test_a_batch_uses_one_connection_and_outlives_its_end() -> None:
    post = Post()
    port = free_port()
    with mailer(f"smtp://127.0.0.1:{port}") as sender:
        for _ in range(2):
            controller = Controller(post, hostname="127.0.0.1", port=port)
            controller.start()
            for _ in range(3):
                sender.send(MAIL)
            controller.stop()
    assert len(post.taken) == 6
    assert len(set(post.peers)) == 2


def test_threads_do_not_mix_their_mails() -> None:
    post = Post()
    with server(post) as port, mailer(f"smtp://127.0.0.1:{port}") as sender:
        mails = [msgspec.structs.replace(MAIL, to=f"ada{n}@example.com") for n in range(20)]
        threads = [threading.Thread(target=sender.send, args=(mail,)) for mail in mails]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(e.rcpt_tos[0] for e in post.taken) == sorted(m.to for m in mails)
    assert all(str(m["To"]) == e.rcpt_tos[0] for e, m in zip(post.taken, post.messages, strict=True))


def test_starttls_with_log_in(certificate: Path) -> None:
    post = Post()
    options = {"tls_context": serving(certificate), "require_starttls": True, "auth_required": True}
    with (
        server(post, authenticator=authenticate, **options) as port,
        mailer(f"smtp://acme%40x:{IN_URL}@127.0.0.1:{port}?starttls=1", tls=trusting(certificate)) as sender,
    ):
        sender.send(MAIL)
    assert post.encrypted == [True]


def test_tls_from_the_start(certificate: Path) -> None:
    post = Post()
    with (
        server(post, ssl_context=serving(certificate)) as port,
        mailer(f"smtps://127.0.0.1:{port}", tls=trusting(certificate)) as sender,
    ):
        sender.send(MAIL)
    assert len(post.taken) == 1


@pytest.mark.parametrize("url", ["smtp://127.0.0.1:{}?starttls=1", "smtps://127.0.0.1:{}"])
def test_a_certificate_nobody_vouches_for_is_not_trusted(certificate: Path, url: str) -> None:
    post = Post()
    implicit = url.startswith("smtps")
    options = {"ssl_context" if implicit else "tls_context": serving(certificate)}
    with (
        server(post, **options) as port,
        mailer(url.format(port)) as sender,
        pytest.raises(MailDelayed, match="certificate verify failed"),
    ):
        sender.send(MAIL)
    assert post.taken == []


def test_starttls_that_is_not_offered_sends_nothing_in_the_clear() -> None:
    post = Post()
    with (
        server(post, authenticator=authenticate, auth_require_tls=False) as port,
        mailer(f"smtp://acme%40x:{IN_URL}@127.0.0.1:{port}?starttls=1") as sender,
        pytest.raises(MailDelayed, match="does not offer"),
    ):
        sender.send(MAIL)
    assert post.taken == []


def test_a_wrong_password_delays_and_is_not_told() -> None:
    post = Post()
    with (
        server(post, authenticator=authenticate, auth_require_tls=False) as port,
        mailer(f"smtp://acme%40x:wr0ngpass@127.0.0.1:{port}") as sender,
        pytest.raises(MailDelayed, match="535") as delayed,
    ):
        sender.send(MAIL)
    assert "wr0ngpass" not in repr(delayed.value) + str(delayed.value) + repr(sender)
    assert delayed.value.__context__ is None
    assert delayed.value.__cause__ is None


@pytest.mark.parametrize(
    ("answers", "kind", "told"),
    [
        ({"rcpt": "550 5.1.1 <ada@example.com> unknown"}, MailRefused, "550 5.1.1"),
        ({"data": "554 5.7.1 ada@example.com wants none"}, MailRefused, "554 5.7.1"),
        ({"rcpt": "450 4.7.1 ada@example.com greylisted"}, MailDelayed, "450 4.7.1"),
        ({"data": "451 try later"}, MailDelayed, "451"),
        ({"mail": "452 4.3.1 full"}, MailDelayed, "452 4.3.1"),
        ({"mail": "553 5.7.1 licenses@acme.example is not yours"}, MailDelayed, "553 5.7.1"),
        ({"rcpt": "421 4.3.2 closing"}, MailDelayed, "421 4.3.2"),
    ],
)
def test_refusals(answers: dict[str, str], kind: type[Exception], told: str) -> None:
    post = Post(**answers)
    with server(post) as port, mailer(f"smtp://127.0.0.1:{port}") as sender:
        with pytest.raises(kind, match=told) as raised:
            sender.send(MAIL)
        assert "@" not in str(raised.value)
        post.answers.clear()
        sender.send(MAIL)
    assert len(post.taken) == 1


def test_nobody_listens() -> None:
    with mailer(f"smtp://127.0.0.1:{free_port()}") as sender, pytest.raises(MailDelayed, match="refused"):
        sender.send(MAIL)


def test_a_silent_server_does_not_hold_us() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with mailer(f"smtp://127.0.0.1:{port}", timeout=0.2) as sender, pytest.raises(MailDelayed):
            sender.send(MAIL)


def test_a_server_that_hangs_up_after_the_mail() -> None:
    class Gone(Post):
        async def handle_DATA(self, server: SMTP, _session: Session, _envelope: Envelope) -> str:  # noqa: N802  # as above
            assert isinstance(server.transport, asyncio.Transport)
            server.transport.abort()
            return "250 too late"

    with (
        server(Gone()) as port,
        mailer(f"smtp://127.0.0.1:{port}") as sender,
        pytest.raises(MailDelayed, match="did not answer"),
    ):
        sender.send(MAIL)


@pytest.mark.parametrize(
    ("url", "security", "port"),
    [
        ("smtp://mail.example", "plain", 25),
        ("smtp://mail.example?starttls=0", "plain", 25),
        ("smtp://mail.example?starttls=1", "starttls", 587),
        ("smtp://mail.example:2525/?starttls=true", "starttls", 2525),
        ("smtps://mail.example", "tls", 465),
        ("smtp://[::1]:1025", "plain", 1025),
    ],
)
def test_urls(url: str, security: str, port: int) -> None:
    read = read_smtp_url(url)
    assert (read.security, read.port, read.user) == (security, port, None)


def test_user_and_password_are_decoded_and_not_shown() -> None:
    read = read_smtp_url(f"smtps://acme%40x:{IN_URL}@mail.example")
    assert (read.user, read.password) == ("acme@x", PASSWORD)
    assert "s3cret" not in repr(read)
    assert "s3cret" not in repr(SmtpMailer(f"smtps://acme:{IN_URL}@mail.example", SENDER))


@pytest.mark.parametrize(
    "url",
    [
        "",
        "mail.example",
        "http://u:s3cret@mail.example",
        "smtp://u:s3cret@",
        "smtp://u:s3cret/x@mail.example",
        "smtp://u:s3cret#x@mail.example",
        "smtp://u:s3cret?x@mail.example",
        "smtp://mail.example:s3cret",
        "smtp://u:s3cret@[bad",
        "smtp://u@mail.example?starttls=1",
        "smtp://u:s3cret@mail.example",
        "smtp://u:s3cretä@mail.example?starttls=1",
        "smtps://u:s3cret@mail.example?tls=s3cret",
        "smtps://u:s3cret@mail.example?starttls=maybe",
        "smtp://u:s3cret@mail.example:99999",
    ],
)
def test_unusable_urls_are_refused_without_showing_them(url: str) -> None:
    with pytest.raises(Misconfigured, match="SMTP_URL") as refused:
        SmtpMailer(url, SENDER)
    assert "s3cret" not in str(refused.value)
    assert refused.value.__context__ is None
