"""E-mail addresses: one stands alone, or it is none."""

from __future__ import annotations

import pytest

from keywright.domain.email_address import is_email_address


@pytest.mark.parametrize("text", ["ada@example.com", "a.b+c@sub.example.co", "jos\u00e9@b\u00fccher.example"])
def test_addresses_are_taken(text: str) -> None:
    assert is_email_address(text)


@pytest.mark.parametrize("text", ["", "ada", "a@", "@b", "a@b@c", "a@b.c\x7f", "a" * 65 + "@b.c"])
def test_what_is_none_is_refused(text: str) -> None:
    assert not is_email_address(text)


@pytest.mark.parametrize(
    "text", ["a b@c.de", "a,b@c.de", "a@b.c;d", "a@b.c\nBcc: x", "<a@b.c>", '"a@b"@c.de']
)
def test_what_a_mail_server_could_read_as_more_is_refused(text: str) -> None:
    assert not is_email_address(text)
