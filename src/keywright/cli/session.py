"""What every command shares: the context it works on, and how it speaks."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

if TYPE_CHECKING:
    from keywright.flows.context import Context
    from keywright.settings import Settings
    from keywright.store.tenants import Tenant

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
TenantSlug = Annotated[
    str | None, typer.Option("--tenant", metavar="SLUG", help="Default: the master tenant.")
]


@contextmanager
def opened() -> Iterator[Context]:
    """The context of this process, beside a running server or without one. Launches nothing.

    Raises Misconfigured when there is no database, or it was never prepared, or is of another release.
    """
    # Here and not above: bootstrap brings SQLAlchemy, DBOS and the Stripe SDK, two seconds that `--help` and
    # wrong usage need not wait for. Commands import their flows inside for the same reason.
    from keywright import bootstrap
    from keywright.domain.errors import Misconfigured
    from keywright.store import migrate

    settings = bootstrap.read_settings()
    bootstrap.configure_logging(settings)
    if (missing := missing_file(settings)) is not None:
        # Opening it would make it, and a mistyped DATA_DIR would look like an empty installation.
        raise Misconfigured(f"There is no database {missing}. To make it, run: keywright migrate")
    database = bootstrap.open_database(settings)
    try:
        if not migrate.is_current(database):
            raise Misconfigured("This database is not prepared for this release. Run: keywright migrate")
        yield bootstrap.build(settings, database)
    finally:
        database.dispose()


def missing_file(settings: Settings) -> Path | None:
    """The SQLite file that the settings name, when it is not there yet."""
    scheme, _, path = settings.url.partition(":///")
    if scheme != "sqlite" or not path or path.startswith((":", "file:")):
        return None
    file = Path(path.partition("?")[0])
    return None if file.exists() else file


def tenant_of(context: Context, slug: str | None) -> Tenant:
    """The tenant a command works for. Raises NotFound."""
    from keywright.domain.errors import NotFound
    from keywright.store import tenants

    if slug is None:
        return context.master
    with context.database.read() as connection:
        found = tenants.find(connection, slug)
    if found is None:
        raise NotFound(f"There is no tenant {slug}.", code="TENANT_UNKNOWN")
    return found


def tell_if_unattended(context: Context, what: str = "the mail goes out") -> None:
    """Say so when no server is there to do what a command has just left to it, as to send the mail."""
    from keywright import bootstrap
    from keywright.domain.errors import Misconfigured
    from keywright.store.executors import are_at_work

    if context.database.file is not None:
        try:
            with bootstrap.only_server(context.database.file):
                attended = False
        except Misconfigured:
            attended = True
    else:
        attended = are_at_work(context.database)
    if not attended:
        print(f"No server is running: {what} when one does.", file=sys.stderr)


def actor() -> str:
    """Who acts, as the timeline will show it: whoever reaches this shell is the operator."""
    return "command line"


def print_json(value: object) -> None:
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n")


def print_table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Columns as wide as they need to be: nothing is cut, so the output can be searched and piped."""
    cells = [[_cell(value) for value in row] for row in rows]
    widths = [max(len(row[i]) for row in [list(heads), *cells]) for i in range(len(heads))]
    for row in [[head.upper() for head in heads], *cells]:
        print("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())


def print_members(members: Sequence[tuple[str, object]]) -> None:
    """One value a line, names aligned."""
    width = max(len(name) for name, _ in members)
    for name, value in members:
        print(f"{name.ljust(width)}  {_cell(value)}")


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if hasattr(value, "strftime"):
        return str(value.strftime("%Y-%m-%d %H:%M:%SZ"))
    return str(value)
