"""The key schemes of sellers: small packages of theirs, found by their entry points."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from importlib import metadata
from typing import Final, cast

from keywright.domain.errors import Misconfigured
from keywright.ports import KeyScheme

GROUP: Final = "keywright.key_schemes"
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_TAKEN: Final = ("exact", "keywright")


def installed() -> Mapping[str, KeyScheme]:
    """Every installed scheme, by the name of its entry point.

    An entry point leads to an object with the two methods of `KeyScheme`, or to a class of such objects that
    is made without arguments (packaging.python.org, "Entry points specification").

    Raises:
        Misconfigured: for a name that is none or is there twice, and what cannot be loaded or is no scheme.
    """
    return collect(metadata.entry_points(group=GROUP))


def collect(found: Iterable[metadata.EntryPoint]) -> Mapping[str, KeyScheme]:
    """The schemes that these entry points lead to. Raises as `installed`."""
    schemes: dict[str, KeyScheme] = {}
    # The same one twice is one: a package may be on the path in two places.
    for point in sorted(set(found), key=lambda one: (one.name, one.value)):
        if _NAME.fullmatch(point.name) is None or point.name in _TAKEN:
            wanted = f"1 to 63 of a-z, 0-9 and -, and not {' or '.join(_TAKEN)}"
            raise Misconfigured(f"A key scheme's name is {wanted}; a package has {point.name!r}.")
        if point.name in schemes:
            raise Misconfigured(f"Two packages offer the key scheme {point.name}: remove one.")
        schemes[point.name] = _load(point)
    return schemes


def _load(point: metadata.EntryPoint) -> KeyScheme:
    try:
        loaded = point.load()
        scheme = loaded() if isinstance(loaded, type) else loaded
    except Exception as error:
        named = f"The key scheme {point.name} ({point.value})"
        raise Misconfigured(f"{named} cannot be loaded: {type(error).__name__}: {error}") from error
    if not (callable(getattr(scheme, "make", None)) and callable(getattr(scheme, "canonical", None))):
        raise Misconfigured(f"The key scheme {point.name} ({point.value}) has no `make` and `canonical`.")
    return cast("KeyScheme", scheme)
