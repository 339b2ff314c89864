"""What other processes changed, taken up by this one: who serves or works calls it every few seconds."""

from __future__ import annotations

from typing import Final

from keywright.flows.context import Context

EVERY: Final = 2.0  # seconds: so long may a process go on as before after another one changed something


def keep_up(context: Context) -> None:
    """Rotated signing keys, tenants that were shredded, and keys of a kind not looked for yet."""
    context.signer.refresh()
    context.schemes.learn(context.database)
