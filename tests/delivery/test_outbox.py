"""Mails as files, and what no mail may do."""

from __future__ import annotations

import email
import email.policy
import stat
from datetime import UTC, datetime
from email.message import EmailMessage
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keywright.delivery.email import OutboxMailer
from keywright.domain.errors import MailDelayed, MailRefused, Misconfigured
from keywright.ports import Mail

MAIL = Mail(
    to="ada@example.com",
    subject="Your DashCaddy license key",
    text="Your key:\n\n    DC-0A1B2\n.\nGrüße\n",
    html="<p>Your key: <b>DC-0A1B2</b>, Grüße</p>" + " long" * 300,
    message_id="<ann_01h@licenses.example.com>",
)
NOW = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)


def outbox(folder: Path, mail_from: str = "Acme, Inc. <licenses@acme.example>") -> OutboxMailer:
    return OutboxMailer(folder, mail_from, now=lambda: NOW)


def read(folder: Path) -> list[EmailMessage]:
    return [
        email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
        for path in sorted(folder.glob("*.eml"))
    ]


def test_a_mail_becomes_a_file(tmp_path: Path) -> None:
    outbox(tmp_path / "outbox").send(MAIL)
    path = tmp_path / "outbox" / "ann_01h@licenses.example.com.eml"
    raw = path.read_bytes()
    assert raw.isascii()
    assert max(map(len, raw.split(b"\r\n"))) <= 78
    assert b"\n" not in raw.replace(b"\r\n", b"")
    [message] = read(tmp_path / "outbox")
    assert message["To"] == "ada@example.com"
    assert message["From"] == '"Acme, Inc." <licenses@acme.example>'
    assert message["Subject"] == MAIL.subject
    assert message["Message-ID"] == MAIL.message_id
    assert message["Date"].datetime == NOW
    assert message["Auto-Submitted"] == "auto-generated"
    assert message.get_content_type() == "multipart/alternative"
    text, html = message.iter_parts()
    assert isinstance(text, EmailMessage)
    assert isinstance(html, EmailMessage)
    assert text.get_content().replace("\r\n", "\n") == MAIL.text
    assert html.get_content().strip() == MAIL.html


def test_only_the_owner_can_read_the_outbox(tmp_path: Path) -> None:
    outbox(tmp_path / "outbox").send(MAIL)
    assert stat.S_IMODE((tmp_path / "outbox").stat().st_mode) == 0o700
    [path] = (tmp_path / "outbox").iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_repeated_send_replaces_the_file(tmp_path: Path) -> None:
    mailer = outbox(tmp_path)
    mailer.send(MAIL)
    mailer.send(msgspec.structs.replace(MAIL, text="again\n"))
    [path] = tmp_path.iterdir()
    assert b"again" in path.read_bytes()


def test_a_long_host_name_does_not_break_the_message_id(tmp_path: Path) -> None:
    long = f"<ann_{'0' * 24}@{'licenses.' * 12}example.com>"
    outbox(tmp_path).send(msgspec.structs.replace(MAIL, message_id=long))
    [message] = read(tmp_path)
    assert message["Message-ID"].strip() == long
    [path] = tmp_path.iterdir()
    assert b"=?" not in path.read_bytes()


def test_a_folder_that_takes_no_file_delays_the_mail(tmp_path: Path) -> None:
    (tmp_path / "outbox").write_text("not a folder")
    with pytest.raises(MailDelayed, match="outbox folder"):
        outbox(tmp_path / "outbox").send(MAIL)


@pytest.mark.parametrize(
    "changes",
    [
        {"subject": "a\r\nBcc: eve@example.com"},
        {"subject": "a\nBcc: eve@example.com"},
        {"subject": "a\u2028b"},
        {"subject": "a\0b"},
        {"subject": "lone \ud800"},
        {"text": "lone \ud800"},
        {"to": "ada@example.com\r\nBcc: eve@example.com"},
        {"to": "ada@example.com, eve@example.com"},
        {"to": "Ada <ada@example.com>"},
        {"to": "<ada@example.com>"},
        {"to": "ada@example.com> RCPT TO:<eve@example.com"},
        {"to": "ada"},
        {"to": "@example.com"},
        {"to": "ada@"},
        {"to": ""},
        {"to": "a" * 250 + "@example.com"},
        {"to": "ada@" + "b" * 70 + ".example"},
        {"message_id": "<../../etc/passwd@x>"},
        {"message_id": "<.x@y>"},
        {"message_id": "<a@b>\r\nBcc: eve@example.com"},
        {"message_id": "no brackets@x"},
    ],
)
def test_what_could_add_a_header_or_an_address_is_refused(tmp_path: Path, changes: dict[str, str]) -> None:
    with pytest.raises(MailRefused) as refused:
        outbox(tmp_path / "outbox").send(msgspec.structs.replace(MAIL, **changes))
    assert "@" not in str(refused.value)
    assert refused.value.__context__ is None
    assert not (tmp_path / "outbox").exists()


@given(to=st.text(max_size=40), subject=st.text(max_size=120), name=st.text(max_size=20))
def test_no_text_adds_a_header(tmp_path: Path, to: str, subject: str, name: str) -> None:
    folder = tmp_path / "any"
    for old in folder.glob("*.eml"):
        old.unlink()
    plain = msgspec.structs.replace(MAIL, to=f"{to}@example.com", subject=subject, text=f"{name}\n")
    try:
        outbox(folder).send(plain)
    except MailRefused:
        assert not list(folder.glob("*.eml"))
        return
    [message] = read(folder)
    names = [header.lower() for header in message.keys()]  # noqa: SIM118  # keys() tells doubled headers too
    assert sorted(names) == sorted(set(names))
    assert set(names) == {
        *("from", "to", "subject", "date", "message-id", "auto-submitted", "mime-version", "content-type")
    }
    assert len(message["To"].addresses) == 1
    assert message["To"].addresses[0].domain == "example.com"


def test_a_domain_outside_ascii_travels_as_dns_writes_it(tmp_path: Path) -> None:
    outbox(tmp_path).send(msgspec.structs.replace(MAIL, to="ada@bücher.example"))
    [message] = read(tmp_path)
    assert message["To"] == "ada@xn--bcher-kva.example"


@pytest.mark.parametrize("mail_from", ["", "nobody", "a@b\r\nBcc: c@d", "ädä@example.com", "A <>"])
def test_an_unusable_sender_is_refused_at_start(tmp_path: Path, mail_from: str) -> None:
    with pytest.raises(Misconfigured, match="MAIL_FROM"):
        OutboxMailer(tmp_path, mail_from)
