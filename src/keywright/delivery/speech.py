"""One language of our mails: its words from a catalog beside this module, its plurals, dates and money."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator, Mapping
from datetime import date, datetime
from functools import lru_cache
from importlib.resources import files
from typing import Any, Final

from keywright.domain.language import LANGUAGES, USUAL
from keywright.domain.money import iso_exponent

_PLURALS: Final[Mapping[str, Callable[[int], str]]] = {
    # CLDR's cardinal rules for whole numbers.
    "en": lambda count: "one" if count == 1 else "other",
    "de": lambda count: "one" if count == 1 else "other",
}


class Speech:
    """Safe to share between threads. Words come out as plain text: what goes into HTML is escaped there."""

    def __init__(self, tag: str, words: Mapping[str, str]) -> None:
        """`words`: by dotted key; a plural has a key of its own for each of its forms."""
        self.tag = tag
        self._words = words
        self._plural = _PLURALS[tag]
        self._months = words["form.months"].split()
        self._marks = str.maketrans({",": words["form.group"], ".": words["form.decimal"]})

    def __contains__(self, key: str) -> bool:
        return key in self._words

    def say(self, key: str, /, **names: Any) -> str:
        """The words of a key. What is filled in is never read for names again, whatever stands in it."""
        words = self._words[key]
        return words.format_map(names) if names else words

    def count(self, key: str, count: int, /, **names: Any) -> str:
        """The words of a key for so many."""
        return self.say(f"{key}.{self._plural(count)}", count=count, **names)

    def day(self, moment: date) -> str:
        """`3 May 2027`. Not strftime: the names of months would follow the server's locale."""
        month = self._months[moment.month - 1]
        return self.say("form.day", day=moment.day, month=month, year=moment.year)

    def moment(self, moment: datetime) -> str:
        """`3 May 2027, 14:05 UTC`, of a moment in UTC."""
        return self.say("form.moment", day=self.day(moment), time=f"{moment:%H:%M}")

    def money(self, amount: int, currency: str) -> str:
        """`1,234.50 EUR`, of minor units, with the decimals that the currency has (ISO 4217)."""
        places = iso_exponent(currency)
        digits = f"{amount / 10**places:,.{places}f}".translate(self._marks)
        return self.say("form.money", amount=digits, currency=currency)


@lru_cache(maxsize=len(LANGUAGES))
def catalog(tag: str) -> Mapping[str, str]:
    """The words of a language, by dotted key."""
    text = files("keywright.delivery").joinpath("words", f"{tag}.toml").read_text("utf-8")
    return dict(_flat("", tomllib.loads(text)))


@lru_cache(maxsize=len(LANGUAGES))
def speech(tag: str) -> Speech:
    """A language; English for one that we do not write."""
    known = tag if tag in LANGUAGES else USUAL
    return Speech(known, catalog(known))


def _flat(before: str, table: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in table.items():
        if isinstance(value, str):
            yield f"{before}{name}", value
        else:
            yield from _flat(f"{before}{name}.", value)
