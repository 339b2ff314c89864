"""What staff have done to the inbox and to reconciliation, written into the audit whoever asked: a page, the
API or a command. Licenses that change by it say so on their timelines, but not who asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from keywright.store import audit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from keywright.flows.context import Context
    from keywright.flows.importing import Wish as ImportWish
    from keywright.flows.reconcile import Wish
    from keywright.flows.replay import Difference

_MOST_NAMED = 200


def note_replay(context: Context, tenant: str, by: str, made: Difference, *, refetch: bool = False) -> None:
    """One event was replayed. `by`: who asked, as the audit names actors."""
    told: dict[str, Any] = {"event": made.event, "outcome": made.outcome, "changed": made.changed}
    if refetch:
        told["asked_again"] = True
    _note(context, tenant, by, "event.replayed", made.id, told)


def note_replays(
    context: Context,
    tenant: str,
    by: str,
    filters: Mapping[str, str],
    made: Sequence[Difference],
    *,
    refetch: bool = False,
) -> None:
    """All events that fit were replayed, or a page of them."""
    told: dict[str, Any] = {"filters": dict(filters), "events": [one.event for one in made][:_MOST_NAMED]}
    if len(made) > _MOST_NAMED:
        told["count"] = len(made)
    if refetch:
        told["asked_again"] = True
    _note(context, tenant, by, "event.replayed", "several", told)


def note_reconciliation(
    context: Context, tenant: str, by: str, wish: Wish, *, why: str = "", work: str = ""
) -> None:
    """A comparison was asked for, or a repair. `work`: the id of what does it in the background."""
    told: dict[str, Any] = {"provider": wish.provider or "all", "fix": wish.fix}
    if work:
        told["work"] = work
    if wish.only is not None:
        told["only"] = wish.only
    if wish.since is not None:
        told["since"] = f"{wish.since:%Y-%m-%d}"
    if why:
        told["why"] = why
    _note(context, tenant, by, "reconcile.asked", wish.provider or "all providers", told)


def note_import(context: Context, by: str, wish: ImportWish, run: str, *, work: str = "") -> None:
    """An import was asked for, or told to go on. `work`: the id of what does it in the background."""
    told: dict[str, Any] = {"provider": wish.provider, "dry_run": wish.dry_run, "announce": wish.announce}
    if work:
        told["work"] = work
    if wish.file is not None:
        told["file"] = wish.file
    if wish.why:
        told["why"] = wish.why
    _note(context, context.tenant.id, by, "import.asked", run, told)


def _note(context: Context, tenant: str, by: str, act: str, subject: str, told: Mapping[str, Any]) -> None:
    with context.database.write() as connection:
        audit.append(connection, tenant, by, act, subject, told, context.clock.now())
