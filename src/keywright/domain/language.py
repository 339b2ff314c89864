"""Languages that customers are written to in, and which of them somebody reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

LANGUAGES: Final[Mapping[str, str]] = {"en": "English", "de": "Deutsch"}
"""By tag (RFC 5646), with the name that its readers call it by. The first is the one that is always there."""

USUAL: Final = "en"

_LONGEST: Final = 500  # of the header; browsers send far less


def is_language(tag: str) -> bool:
    return tag in LANGUAGES


def preferred(accept_language: str) -> str | None:
    """The language of ours that somebody likes best, by an Accept-Language header (RFC 9110, 12.5.4).

    A regional tag counts as its language: `de-AT` is `de`. None when the header names none of ours: then the
    seller's own language is a better guess than English.
    """
    best, liked = None, 0.0
    for part in accept_language[:_LONGEST].split(","):
        tag, _, rest = part.partition(";")
        language = tag.strip().partition("-")[0].lower()
        weight = _weight(rest)
        if is_language(language) and weight > liked:
            best, liked = language, weight
    return best


def _weight(parameters: str) -> float:
    """How much it is liked, 0 to 1. What cannot be read is not liked at all."""
    name, _, value = parameters.partition("=")
    if not name.strip():
        return 1.0
    try:
        weight = float(value) if name.strip().lower() == "q" else 0.0
    except ValueError:
        return 0.0
    return weight if 0.0 <= weight <= 1.0 else 0.0
