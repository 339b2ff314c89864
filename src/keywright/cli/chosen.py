"""How a license is named on the command line, and who acts on it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from keywright.cli.session import actor, opened, tenant_of

if TYPE_CHECKING:
    from keywright.flows.context import Context
    from keywright.flows.operate import Act

Which = Annotated[str, typer.Argument(metavar="LICENSE", help="Id, key or e-mail.", show_default=False)]
Until = Annotated[str | None, typer.Option(metavar="DATE", help="2027-01-31, or with a time and its zone.")]
Reason = Annotated[str | None, typer.Option(help="Why; shown on the timeline.")]


@contextmanager
def found(which: str, tenant: str | None) -> Iterator[tuple[Context, str, str]]:
    """Context, tenant id and license id."""
    from keywright.flows import license_views

    with opened() as context:
        seller = tenant_of(context, tenant).id
        yield context, seller, license_views.resolve(context, seller, which)


def act(reason: str | None) -> Act:
    """An act of whoever reached this shell."""
    from keywright.flows.operate import Act

    return Act(actor(), reason)


def moment(text: str | None) -> datetime | None:
    """The moment that was written; a day means its first moment, UTC."""
    if text is None:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter("--until must be a date such as 2027-01-31.") from None
    if at.tzinfo is None:
        if len(text) > len("2027-01-31"):
            raise typer.BadParameter("--until has a time, so it needs a zone: 2027-01-31T12:00:00Z.")
        at = at.replace(tzinfo=UTC)
    return at.astimezone(UTC)
