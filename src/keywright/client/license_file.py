"""The license file: a signed token between two lines of text, as it is mailed and carried on a stick."""

from __future__ import annotations

BEGIN = "-----BEGIN KEYWRIGHT LICENSE-----"
END = "-----END KEYWRIGHT LICENSE-----"

_LARGEST = 64 * 1024  # a file is 4 KB; the rest is room for a mail around it


def token_in(text: str) -> str | None:
    """The token of a license file, or of a bare token; None when there is none.

    What stands around the two lines does not matter, and neither do the line ends: files travel through mail
    programs.
    """
    if len(text) > _LARGEST:
        return None
    if BEGIN in text:
        _, _, rest = text.partition(BEGIN)
        inside, end, _ = rest.partition(END)
        if not end:
            return None
        text = inside
    token = "".join(text.split())
    return token if token.count(".") == 2 else None
