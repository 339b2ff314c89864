"""What providers send and what becomes of it, and what is written on timelines and into the audit."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

import keywright
from keywright.domain import rule
from keywright.providers.paypal import shapes as paypal_shapes
from keywright.providers.paystack.reduce import PICKS
from keywright.providers.stripe import shapes as stripe_shapes
from tools.reference.happening_words import AUDIT, BY_REASON, PAYPAL, PAYSTACK, STRIPE
from tools.reference.tables import code
from tools.reference.tables import table as make

_SOURCE: Final = Path(keywright.__file__).resolve().parent
_KIND: Final = re.compile(r'"([a-z_]+\.[a-z_]+)"')
_FILE: Final = (".html", ".toml", "_secret")  # files, and what the vault calls secrets
_READ, _ASKED, _KEPT = "read", "asks", "kept"


def stripe() -> str:
    """What is read, then what is kept and never read."""
    treated = dict.fromkeys(stripe_shapes.READ, _READ) | dict.fromkeys(stripe_shapes.LATER, _KEPT)
    return _events(treated, STRIPE)


def paystack() -> str:
    return _events({name: _ASKED for name in PICKS if not name.startswith("fetched.")}, PAYSTACK)


def paypal() -> str:
    return _events(dict.fromkeys(paypal_shapes.EVENT_TYPES, _ASKED), PAYPAL)


def _events(treated: Mapping[str, str], words: Mapping[str, str]) -> str:
    told = _described(treated, words)
    in_order = sorted(treated, key=lambda name: (treated[name] == _KEPT, name))
    return make(["event", "treatment", "what it means"], ([code(n), treated[n], told[n]] for n in in_order))


def _described(names: Iterable[str], words: Mapping[str, str]) -> dict[str, str]:
    """Each name with its words. Raises LookupError with all that nobody has described."""
    missing = sorted(set(names) - set(words))
    if missing:
        raise LookupError(f"describe in tools/reference/happening_words.py: {', '.join(missing)}")
    return {name: words[name] for name in names}


def timeline() -> str:
    """Every kind of entry, with its rule."""
    told = ([code(kind), rule.of_change(kind) or BY_REASON[kind]] for kind in kinds())
    return make(["entry", "the rule behind it"], told)


def kinds() -> list[str]:
    """The kinds of timeline entries: they have a rule, or a reason that tells it."""
    return sorted(
        kind for kind in _named(_SOURCE.glob("**/*.py")) if rule.of_change(kind) or kind in BY_REASON
    )


def acts() -> list[str]:
    """What the modules that write the audit write into it."""
    writers = [
        path
        for path in _SOURCE.glob("**/*.py")
        if "audit.append(" in path.read_text(encoding="utf-8") and "client" not in path.parts
    ]
    return sorted(_named(writers) - set(kinds()))


def audit() -> str:
    """Every act, in words."""
    return make(
        ["entry", "what was done"], ([code(a), words] for a, words in _described(acts(), AUDIT).items())
    )


def _named(paths: Iterable[Path]) -> set[str]:
    """Every text `word.word` in these files that is no file's name. By pattern: trees take seconds."""
    found = (name for path in paths for name in _KIND.findall(path.read_text(encoding="utf-8")))
    return {name for name in found if not name.endswith(_FILE)}
