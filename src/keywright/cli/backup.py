"""`backup`, `restore` and `migrate --from`: a copy of everything, and back, into either database."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from keywright.cli.session import AsJson, missing_file, print_json

if TYPE_CHECKING:
    from keywright.flows.backups import Report, Tell
    from keywright.settings import Settings
    from keywright.store.engine import Database

_STAMP: Final = "last-backup"


def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Must not be there.", show_default=False)],
    json: AsJson = False,
) -> None:
    """Write all data into FILE, beside a running server too. The master key is not in it."""
    from keywright import bootstrap
    from keywright.domain.errors import Misconfigured
    from keywright.flows import backups
    from keywright.store import migrate

    settings = bootstrap.read_settings()
    bootstrap.configure_logging(settings)
    if (missing := missing_file(settings)) is not None:
        raise Misconfigured(f"There is no database {missing}.")
    database = bootstrap.open_database(settings)
    try:
        if not migrate.is_current(database):
            raise Misconfigured("This database is not of this release: back it up with the release it is of.")
        with _progress() as tell:
            report = backups.make(database, file.absolute(), datetime.now(UTC), tell)
    finally:
        database.dispose()
    (settings.data_dir / _STAMP).write_text(report.made_at.isoformat() + "\n", encoding="ascii")
    if json:
        print_json({"file": str(file), "bytes": file.stat().st_size, "master_key": False, **_members(report)})
        return
    print(f"{file}: {report.rows} rows, {file.stat().st_size / 1e6:.1f} MB, as of {_shown(report.made_at)}")
    where = "KEYWRIGHT_MASTER_KEY" if settings.keywright_master_key else settings.data_dir / "master.key"
    print(
        f"The master key is not in it, and without it nothing is restored: keep a copy of {where} elsewhere."
    )


def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `backup` wrote.", show_default=False)],
    json: AsJson = False,
) -> None:
    """Bring back what `backup` wrote, from either database, into the empty one of DATABASE_URL."""
    from keywright import bootstrap
    from keywright.flows import backups

    settings = bootstrap.read_settings()
    bootstrap.configure_logging(settings)
    opens = bootstrap.key_check(settings)
    # Before the database is opened, which would make it.
    if not file.is_file():
        raise typer.BadParameter(f"There is no file {file}.")
    with _alone(settings) as database, _progress() as tell:
        report = backups.restore(database, file, opens, tell)
        bootstrap.prepare(settings, database)
    if json:
        print_json(_members(report))
        return
    print(f"{report.rows} rows brought back, as of {_shown(report.made_at)}; the master key opens them.")
    print("Then: keywright integrity, and start the server. Missing since then: keywright reconcile --fix")


def move(source_url: str) -> None:
    """`migrate --from`: copy everything from the database of this URL into the empty one of DATABASE_URL."""
    from keywright import bootstrap
    from keywright.domain.errors import Misconfigured
    from keywright.flows import announce, backups
    from keywright.store import migrate

    settings = bootstrap.read_settings()
    bootstrap.configure_logging(settings)
    opens = bootstrap.key_check(settings)
    given = bootstrap.read_settings(database_url=source_url)
    if (missing := missing_file(given)) is not None:
        raise Misconfigured(f"There is no database {missing}.")
    with _alone(given) as source, _alone(settings) as target, _progress() as tell:
        if not migrate.is_current(source):
            raise Misconfigured("The old database is not of this release: first run keywright migrate on it.")
        report = backups.move(source, target, datetime.now(UTC), opens, tell)
        bootstrap.prepare(settings, target)
        announce.take_up(bootstrap.build(settings, target))
    counted = [(name, rows) for name, rows in report.tables.items() if rows]
    for name, rows in counted:
        print(f"{name}: {rows}")
    print(
        f"{report.rows} rows copied and compared. Start the server on the new database, not on the old one."
    )


def last_backup(settings: Settings) -> datetime | None:
    """When `backup` was last run from this data folder."""
    try:
        return datetime.fromisoformat((settings.data_dir / _STAMP).read_text(encoding="ascii").strip())
    except (OSError, ValueError):
        return None


@contextmanager
def _alone(settings: Settings) -> Iterator[Database]:
    """The database, with no server on it. Raises Misconfigured while one runs."""
    from keywright import bootstrap
    from keywright.domain.errors import Misconfigured
    from keywright.store.executors import are_at_work

    with ExitStack() as stack:
        database = bootstrap.open_database(settings)
        stack.callback(database.dispose)
        if database.file is not None:
            stack.enter_context(bootstrap.only_server(database.file))
        elif are_at_work(database):
            raise Misconfigured(f"A server works on the database {database.url.database}: stop it first.")
        yield database


def _members(report: Report) -> dict[str, Any]:
    return {
        "made_at": report.made_at,
        "schema": report.schema,
        "rows": report.rows,
        "tables": report.tables,
    }


def _shown(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%SZ}"


@contextmanager
def _progress() -> Iterator[Tell]:
    """A bar for each table on a terminal; nothing where the output is kept or piped."""
    if not sys.stderr.isatty():
        yield lambda _table, _done, _total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    shown = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*shown, console=Console(stderr=True), transient=True) as bars:
        tasks: dict[str, Any] = {}

        def tell(table: str, done: int, total: int) -> None:
            if table not in tasks:
                tasks[table] = bars.add_task(table)
            bars.update(tasks[table], completed=done, total=total)

        yield tell
