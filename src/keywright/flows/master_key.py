"""The master key: which ones there were, and a new one in its place. What is done stands in the audit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from keywright.flows.context import Context
from keywright.flows.signing_keys import KeyAct
from keywright.key_ports import MasterKeys, MasterKeyUse
from keywright.store import audit


def show(context: Context) -> list[MasterKeyUse]:
    """The newest first. Never a key."""
    return context.vault.list_master_keys()


def rotate(
    context: Context,
    act: KeyAct,
    *,
    prepare: bool = False,
    keep: Path | None = None,
    tell: Callable[[int], None] = lambda _count: None,
) -> MasterKeys:
    """Put every tenant's data key under a new master key while the servers run, or finish that.

    See `Vault.rotate_master_key` for the arguments and what is raised.
    """
    done = context.vault.rotate_master_key(context.clock.now(), prepare=prepare, keep=keep, tell=tell)
    told = {"generation": done.generation, "rewrapped": done.rewrapped, "left_out": list(done.left_out)}
    if act.reason:
        told["why"] = act.reason
    with context.database.write() as connection:
        name = "master_key.prepared" if prepare else "master_key.rotated"
        audit.append(connection, context.master.id, act.by, name, done.id, told, context.clock.now())
    return done
