"""Keys as Acme has always made them: `ACME/7F3K9-2MPQR-8TVWX-4CDEF-1`.

Twenty characters out of 28, which is 96 random bits, and a check digit: the sum of the characters' places,
modulo ten. People typed them in small letters and without the dashes, and Acme's program took them like that.
"""

from __future__ import annotations

_LETTERS = "23456789ABCDEFGHJKMNPQRSTVWX"  # none that look alike
_LENGTH = 20


class AcmeKeys:
    """What Keywright asks of a key scheme: make one, and say what a typed text is looked up by."""

    def make(self, random: bytes) -> str:
        """A new key from 32 random bytes."""
        number, body = int.from_bytes(random, "big"), ""
        for _ in range(_LENGTH):
            number, place = divmod(number, len(_LETTERS))
            body += _LETTERS[place]
        groups = [body[start : start + 5] for start in range(0, _LENGTH, 5)]
        return f"ACME/{'-'.join(groups)}-{_check_digit(body)}"

    def canonical(self, text: str) -> str | None:
        """The twenty characters and the digit, in capitals; None when this is no key of Acme's."""
        bare = text.upper().removeprefix("ACME/").replace("-", "").replace(" ", "")
        body, digit = bare[:-1], bare[-1:]
        if len(body) != _LENGTH or any(letter not in _LETTERS for letter in body):
            return None
        return bare if digit == _check_digit(body) else None


def _check_digit(body: str) -> str:
    return str(sum(_LETTERS.index(letter) for letter in body) % 10)
