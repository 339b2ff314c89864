"""A signing key's way: next -> active -> verify-only -> revoked.

A key is published while it is `next`, long before it signs, so that programs which carry the key set along
know it by then. `verify-only` signs no more, and its tokens count. The tokens of a `revoked` one do not.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final, Literal, get_args

KeyState = Literal["next", "active", "verify-only", "revoked"]

KEY_STATES: Final[tuple[KeyState, ...]] = get_args(KeyState)

PUBLISHED: Final[frozenset[KeyState]] = frozenset({"next", "active", "verify-only"})
"""The states in which a key's tokens count."""

PUBLISHED_AHEAD: Final = timedelta(days=30)
"""How long a key should be published before it signs, for programs that carry the key set along."""
