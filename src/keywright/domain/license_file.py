"""A license file: a license token between two lines of dashes, so that people can mail and paste it."""

from __future__ import annotations

from typing import Final

from keywright.domain.license_token import TokenRefused

MAX_FILE: Final = 4096
"""Bytes. What fits into a mail, a form field and a configuration file."""

_BEGIN: Final = "-----BEGIN KEYWRIGHT LICENSE-----"
_END: Final = "-----END KEYWRIGHT LICENSE-----"
_WIDTH: Final = 64  # as PEM (RFC 7468 section 2) has it


def wrap(token: str) -> str:
    """The file that holds this token.

    Raises:
        ValueError: it would be larger than `MAX_FILE`.
    """
    lines = [token[start : start + _WIDTH] for start in range(0, len(token), _WIDTH)]
    text = "\n".join((_BEGIN, *lines, _END)) + "\n"
    if len(text) > MAX_FILE:
        raise ValueError(f"a license file may have {MAX_FILE} bytes; this one needs {len(text)}")
    return text


def is_file(text: str) -> bool:
    """Whether there is a license file in this text, and not a bare token."""
    return _BEGIN in text


def unwrap(text: str) -> str:
    """The token in a license file. What stands around the two lines, and other line ends, do no harm.

    Raises:
        TokenRefused: `size`, or `shape` when anything but one token stands between the two lines.
    """
    _, _, rest = text.partition(_BEGIN)
    inside, end, _ = rest.partition(_END)
    if len(inside) > MAX_FILE:
        raise TokenRefused("size")
    token = "".join(inside.split())
    if not end or not token.isascii() or "-----" in token or not token:
        raise TokenRefused("shape")
    return token
