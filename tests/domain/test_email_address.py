"""E-mail addresses: one stands alone, or it is none."""

from __future__ import annotations

import pytest

from keywright.domain.email_address import is_email_address


@pytest.mark.parametrize("text", ["ada@example.com", "a.b+c@sub.example.co", "jos\u00e9@b\u00fccher.example"])
def test_addresses_are_taken(text: str) -> None:
    assert is_email_address(text)


@pytest.mark.parametrize(
    "text", ["", "ada", "a@", "@b", "a@b@c", "a@b.c\x7f", "a" * 65 + "@b.c", "a@" + "b" * 188 + ".c"]
)
def test_what_is_none_is_refused(text: str) -> None:
    assert not is_email_address(text)


@pytest.mark.parametrize(
    "text", ["a b@c.de", "a,b@c.de", "a@b.c;d", "a@b.c\nBcc: x", "<a@b.c>", '"a@b"@c.de']
)
def test_what_a_mail_server_could_read_as_more_is_refused(text: str) -> None:
    assert not is_email_address(text)


@pytest.mark.parametrize("text", ["root@localhost", "a@b", "a@.b", "a@b.", "a@b..c", "a@."])
def test_a_domain_has_a_dot_between_names(text: str) -> None:
    assert not is_email_address(text)


@pytest.mark.parametrize("code", [*range(0x202A, 0x202F), *range(0x2066, 0x206A)])
def test_an_address_never_turns_the_direction_it_is_read_in(code: int) -> None:
    assert not is_email_address(f"a{chr(code)}@b.c")
    assert not is_email_address(f"a@b{chr(code)}.c")
