"""Importing: what a seller has at a provider already becomes customers, purchases and licenses here.

Subscriptions in every status, and what is paid, are listed page by page and taken in like webhooks: facts in,
under names that depend on their content alone. So pages may come twice, a run that was killed goes on where
it was, and a second run finds nothing new. A page is one transaction with the place the run has come to.

Webhooks about a subscription that is not here yet wait for the page that brings it; everything else about it
commutes with the import, because facts do. At its end the run compares what happened meanwhile.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
import sqlalchemy as sa
import structlog

from keywright.domain.errors import (
    Conflict as AlreadyRunning,
)
from keywright.domain.errors import (
    Invalid,
    Misconfigured,
    NotFound,
    ProviderUnavailable,
    Unsupported,
)
from keywright.flows import import_pages, intake, reconcile, replay
from keywright.flows.context import Channel, Context
from keywright.flows.import_file import ImportFile, Line
from keywright.flows.import_pages import Counts, Page, Taken
from keywright.flows.key_file import Bad, count
from keywright.flows.own_changes import OwnChanges
from keywright.flows.pacing import Pace
from keywright.import_ports import Existing, ImportApi
from keywright.ports import ChangePage
from keywright.store import catalog_rows, imports
from keywright.store.imports import Conflict, Import, SealedLine

log = structlog.get_logger(__name__)

SEALED_AS: Final = "import-line"
_LINES_AT_ONCE: Final = 500
# An hour or so, with the pauses that double: then somebody should look, and the run goes on when told to.
_PATIENCE: Final = 60
_OVERLAP: Final = timedelta(minutes=1)  # clocks differ
_WAITING_AT_ONCE: Final = 64
_LISTED_AT_ONCE: Final = 20
_UNUSED_SHOWN: Final = 10_000
_TROUBLE: Final = (ProviderUnavailable, Misconfigured, Invalid, Unsupported, NotFound)

_T = TypeVar("_T")
Progress = Callable[[Counts, int | None], None]


class Wish(msgspec.Struct, frozen=True, omit_defaults=True):
    """What to import. `announce`: write to those whose licenses run. `file`: the digest of the seller's file.

    `a_second`: requests a second, in place of the provider's usual pace.
    """

    provider: str
    by: str
    why: str | None = None
    dry_run: bool = False
    announce: bool = False
    file: str | None = None
    a_second: float | None = None

    def is_of(self, other: Wish) -> bool:
        """Whether both mean the same run: who asks, and how fast, does not matter."""
        return _meaning(self) == _meaning(other)


def _meaning(wish: Wish) -> tuple[object, ...]:
    return (wish.provider, wish.dry_run, wish.announce, wish.file)


class Begun(msgspec.Struct, frozen=True):
    """A run that is to be worked on. `resumed`: one that had not come to its end goes on."""

    id: str
    resumed: bool


def begin(context: Context, wish: Wish, file: Path | bytes | None = None) -> Begun:
    """Have a run to work on: the one that had not come to its end, if it was the same, else a new one.

    From now on webhooks about subscriptions that are not here wait for it.

    Raises NotFound for a provider that is not set up, Unsupported for one that only listens; Invalid,
    TooLarge for a file that cannot be read.
    """
    channel, _ = channel_of(context, wish.provider)
    if file is None:
        return _open(context, channel, wish)
    with ImportFile(file) as lines:
        now = context.clock.now()
        # Read to its end first: a file that breaks off in a cell must not be half here.
        with closing(lines.lines(now)) as told:
            count(told)
        begun = _open(context, channel, msgspec.structs.replace(wish, file=lines.digest()))
        with closing(lines.lines(now)) as told:
            _keep_lines(context, channel.account.tenant_id, begun, list(told))
    return begun


def enqueue(context: Context, wish: Wish, file: Path | bytes | None = None) -> tuple[str, str]:
    """Have it done in the background. Returns the run and the id of the work. Raises as `begin`."""
    begun = begin(context, wish, file)
    with context.database.write() as connection:
        # A run that goes on is work of its own: the first one may have ended without coming to its end.
        suffix = f".{context.new_id('bat')}" if begun.resumed else ""
        tenant = context.tenant.id
        return begun.id, context.followups.bring(connection, begun.id + suffix, tenant, begun.id)


def channel_of(context: Context, provider: str) -> tuple[Channel, ImportApi]:
    """The account to import from. Raises NotFound, Unsupported."""
    channel = context.channels.get(provider)
    if channel is None:
        raise NotFound(f"The provider {provider} is not set up here.", code="PROVIDER_UNKNOWN")
    if channel.api is None or not isinstance(channel.api, ImportApi):
        raise Unsupported(f"There is no API key to ask {provider} with.")
    return channel, channel.api


def _open(context: Context, channel: Channel, wish: Wish) -> Begun:
    account, now = channel.account, context.clock.now()
    with context.database.write() as connection:
        catalog_rows.lock_tenant(connection, account.tenant_id)
        known = imports.newest_open(connection, account.tenant_id, account.id)
        if known is not None and wish.is_of(msgspec.json.decode(known.wish, type=Wish)):
            return Begun(known.id, resumed=True)
        if known is not None and _is_at_work(known, now):
            detail = f"Another import from {wish.provider} is running: {known.id}. Wait for its end."
            raise AlreadyRunning(detail, code="IMPORT_RUNNING")
        if known is not None:
            imports.give_up(connection, known.id, now)
        run = Import(
            id=context.new_id("imp"),
            tenant_id=account.tenant_id,
            provider_account_id=account.id,
            status="running",
            wish=msgspec.json.encode(wish).decode(),
            started_at=now,
            touched_at=now,
        )
        imports.insert(connection, run)
    return Begun(run.id, resumed=False)


def _is_at_work(run: Import, now: datetime) -> bool:
    return run.status in ("running", "ending") and run.touched_at > now - imports.ABANDONED_AFTER


def _keep_lines(context: Context, tenant: str, begun: Begun, lines: Sequence[Line | Bad]) -> None:
    """Seal the lines into the database, so that the run needs no file; and tell of those that are refused."""
    good = [one for one in lines if isinstance(one, Line)]
    refused = [
        Conflict("line-refused", f"line {one.number}", one.reason) for one in lines if isinstance(one, Bad)
    ]
    places: dict[tuple[str, str | None, int], int] = {}
    keys: dict[str, int] = {}
    fresh = []
    for line in good:
        same = places.setdefault((line.subscription, line.product, line.unit), line.number)
        twin = keys.setdefault(line.key, line.number) if line.key is not None else line.number
        if same != line.number:
            told = f"it is about the same license as line {same}"
        elif twin != line.number:
            # Whichever was listed first would have it.
            told = f"it has the same key as line {twin}"
        else:
            fresh.append(line)
            continue
        refused.append(Conflict("line-refused", f"line {line.number}", told))
    for first in range(0, len(fresh), _LINES_AT_ONCE):
        several = fresh[first : first + _LINES_AT_ONCE]
        sealed = [
            SealedLine(one.number, one.subscription, _sealed(context, tenant, begun.id, one))
            for one in several
        ]
        with context.database.write() as connection:
            imports.insert_lines(connection, tenant, begun.id, sealed)
    with context.database.write() as connection:
        imports.note(connection, tenant, begun.id, refused)


def _sealed(context: Context, tenant: str, run: str, line: Line) -> str:
    return context.vault.seal(tenant, SEALED_AS, run, msgspec.json.encode(line).decode())


def run(
    context: Context,
    id_: str,
    *,
    progress: Progress | None = None,
    pace: Pace | None = None,
) -> Import:
    """Work on a run until its end. Safe to call again after a kill: it goes on where it was.

    Trouble with the provider that does not pass ends it as failed; calling again goes on.

    Raises:
        NotFound: there is no such run, or its provider is not set up.
        AlreadyRunning: another process has taken it over.
    """
    return _Run(context, id_, progress, pace).work()


def work(context: Context, tenant: str, id_: str) -> None:
    """In the background: work on a run of a tenant. One that another process has taken over is left to it."""
    try:
        run(context.of(tenant), id_)
    except AlreadyRunning as elsewhere:
        log.info("import_taken_over", run=id_, code=elsewhere.code)


class _Run:
    """One run in this process. Use once."""

    def __init__(self, context: Context, id_: str, progress: Progress | None, pace: Pace | None) -> None:
        with context.database.read() as connection:
            found = imports.find(connection, context.tenant.id, id_)
        if found is None:
            raise NotFound("There is no import of this id.")
        self.context = context
        self.run = found
        self.wish = msgspec.json.decode(found.wish, type=Wish)
        self.channel, api = channel_of(context, self.wish.provider)
        self.counts = msgspec.json.decode(found.counts, type=Counts)
        self.pace = pace or Pace(self.wish.a_second or api.a_second)
        self.existing: Existing = api.existing(self.pace.turn)
        self._own = OwnChanges(context, self.channel)
        self._holder = os.urandom(12).hex()
        self._progress = progress
        self._asked_prices: set[str] = set()
        self._tally = import_pages.Tally()
        self._requests = self._refusals = 0

    # -- from here to the end -----------------------------------------------------------------------

    def work(self) -> Import:
        now = self.context.clock.now()
        with self.context.database.write() as connection:
            if not imports.take_over(connection, self.run.tenant_id, self.run.id, self._holder, now):
                return self.run
        try:
            if self.run.status != "ending":
                self._list_all()
            self._end()
        except sa.exc.OperationalError:
            raise  # the database is away: there is nothing to go on with
        except AlreadyRunning:
            raise
        except _TROUBLE as trouble:
            self._fail(trouble.detail)
        except Exception as error:
            self._fail(intake.name_of(error))
            raise
        with self.context.database.read() as connection:
            return imports.find(connection, self.run.tenant_id, self.run.id) or self.run

    def _list_all(self) -> None:
        cursor = self.run.cursor
        if cursor != import_pages.LISTED:
            try:
                while True:
                    page = self._ask(partial(self.existing.page, cursor))
                    cursor = page.next
                    self._take(page, cursor or import_pages.LISTED)
                    if cursor is None:
                        break
            except Unsupported:
                if self.wish.file is None:
                    raise
        self._ask_for_named()
        self._move_on(status="ending")

    def _ask_for_named(self) -> None:
        """Subscriptions that the file names and no list did: asked for one by one."""
        if self.wish.file is None:
            return
        asked: set[int] = set()
        while True:
            with self.context.database.read() as connection:
                unused = imports.unused_lines(connection, self.run.id, _UNUSED_SHOWN)
            left = [one for one in unused if one.number not in asked][:_LISTED_AT_ONCE]
            if not left:
                return
            asked |= {one.number for one in left}
            for name in sorted({one.subscription for one in left}):
                try:
                    page = self._ask(partial(self.existing.find, name))
                except (NotFound, Invalid):
                    continue
                self._take(page, import_pages.LISTED)

    def _end(self) -> None:
        """What waited is applied, what happened meanwhile compared; then the run is over."""
        if not self.wish.dry_run:
            self._release()
            since = self.run.started_at - _OVERLAP
            reconcile.reconcile(self.context, reconcile.Wish(self.wish.provider, since, fix=True))
        with self.context.database.write() as connection:
            unused = imports.unused_lines(connection, self.run.id, _UNUSED_SHOWN)
            reason, fix = f"{self.wish.provider} lists no subscription ", "Is it another account's?"
            left = [
                Conflict("line-unmatched", f"line {one.number}", reason + one.subscription, fix)
                for one in unused
            ]
            imports.note(connection, self.run.tenant_id, self.run.id, left)
            imports.drop_lines(connection, self.run.id)
            self._write(connection, status="done", finished_at=self.context.clock.now())
        log.info("imported", provider=self.wish.provider, **msgspec.structs.asdict(self.counts))

    def _release(self) -> None:
        """Apply the webhooks that waited for a page which did not bring what they are about."""
        account = self.channel.account
        waiting: list[str] = []
        while True:
            try:
                with self.context.database.write() as connection:
                    waiting = imports.waiting_events(connection, account.id, _WAITING_AT_ONCE)
                    if not waiting:
                        return
                    intake.retry(self.context, connection, account, waiting, self.context.clock.now())
            except (sa.exc.OperationalError, NotFound):
                raise
            except Exception:  # noqa: BLE001  # one of them, or somebody met the same purchase: each by itself
                for one in waiting:
                    replay.attempt(self.context, one)

    def _fail(self, reason: str) -> None:
        log.error("import_failed", provider=self.wish.provider, reason=reason)
        self._move_on(status="failed", error=reason[:500])

    # -- one page -----------------------------------------------------------------------------------

    def _ask(self, question: Callable[[], _T]) -> _T:
        """The answer, however often the provider has to be asked. Raises what does not pass by itself."""
        for last in (*(False for _ in range(_PATIENCE)), True):
            try:
                return question()
            except ProviderUnavailable as trouble:
                if last:
                    raise
                pause = self.pace.refused(trouble.retry_after)
                log.warning("provider_pauses_import", provider=self.wish.provider, seconds=round(pause, 1))
                self._move_on()
        raise ProviderUnavailable(f"{self.wish.provider} does not answer.")

    def _take(self, page: ChangePage, cursor: str) -> None:
        """Write a page, and that the run has come behind it."""
        page = self._own.of(page)
        with self.context.database.read() as connection:
            read = import_pages.read(connection, self.channel, page, self.context.clock.now())
        prices = self._told_of_prices(read)
        self._write_page(read, cursor, prices)
        if page.total is not None:
            self.run = msgspec.structs.replace(self.run, total=page.total)
        if self._progress is not None:
            self._progress(self.counts, self.run.total)

    def _told_of_prices(self, page: Page) -> list[Conflict]:
        new = sorted(page.unmapped - self._asked_prices)
        self._asked_prices |= set(new)
        if not new:
            return []
        told = self._ask(partial(self.existing.prices, new))
        return import_pages.price_conflicts(self.context, self.channel, new, told)

    def _write_page(self, page: Page, cursor: str | None, more: Sequence[Conflict]) -> None:
        """In one transaction; on an error halved, down to the subscription that causes it."""
        for last in (False, False, True):
            try:
                self._commit(page, cursor, more)
            except sa.exc.IntegrityError:
                if last:
                    raise  # somebody else met one of these first, and again
            except sa.exc.OperationalError as error:
                if last or not intake.is_conflict(error):
                    raise
            except AlreadyRunning:
                raise
            except Exception as error:  # noqa: BLE001  # one bad subscription must not end the import
                self._halve(page, cursor, more, error)
                return
            else:
                return

    def _halve(self, page: Page, cursor: str | None, more: Sequence[Conflict], error: Exception) -> None:
        groups = page.groups()
        if len(groups) <= 1:
            told = Conflict("failed", page.name, f"It could not be taken in: {intake.name_of(error)}")
            self._commit(import_pages.NOTHING, cursor, [*more, told])
            return
        middle = len(groups) // 2
        self._write_page(page.of(groups[:middle]), None, more)
        self._write_page(page.of(groups[middle:]), cursor, ())

    def _commit(self, page: Page, cursor: str | None, more: Sequence[Conflict]) -> None:
        with self.context.database.write() as connection:
            taken = self._apply(connection, page)
            if not self.wish.dry_run:
                self._keep(connection, taken, cursor, more)
            else:
                # Everything was really done, and looked at; now it never happened.
                connection.rollback()
                taken = msgspec.structs.replace(taken, counts=self._tally.count(taken))
        if self.wish.dry_run:
            with self.context.database.write() as connection:
                self._keep(connection, taken, cursor, more)
        self.counts = import_pages.added(self.counts, taken.counts)
        if taken.schemes:
            self.context.schemes.learn(self.context.database)

    def _apply(self, connection: sa.Connection, page: Page) -> Taken:
        sealed = imports.lines_for(connection, self.run.id, page.subscriptions) if self.wish.file else []
        lines = [self._unsealed(one) for one in sealed]
        return import_pages.take(
            self.context,
            connection,
            self.channel,
            page,
            run=self.run.id,
            lines=lines,
            announce=self.wish.announce,
            now=self.context.clock.now(),
        )

    def _unsealed(self, one: SealedLine) -> Line:
        told = self.context.vault.unseal(self.run.tenant_id, SEALED_AS, self.run.id, one.sealed)
        return msgspec.json.decode(told, type=Line)

    def _keep(
        self, connection: sa.Connection, taken: Taken, cursor: str | None, more: Sequence[Conflict]
    ) -> None:
        imports.note(connection, self.run.tenant_id, self.run.id, [*taken.conflicts, *more])
        imports.use_lines(connection, self.run.id, taken.lines)
        moved = {} if cursor is None else {"cursor": cursor}
        self._write(connection, import_pages.added(self.counts, taken.counts), **moved)

    def _move_on(self, **changes: Any) -> None:
        with self.context.database.write() as connection:
            self._write(connection, **changes)

    def _write(self, connection: sa.Connection, counts: Counts | None = None, **changes: Any) -> None:
        """Write how far the run has come. Raises AlreadyRunning."""
        asked = self.pace.requests - self._requests, self.pace.refusals - self._refusals
        self._requests, self._refusals = self.pace.requests, self.pace.refusals
        told = import_pages.added(counts or self.counts, Counts(requests=asked[0], refusals=asked[1]))
        self.counts = import_pages.added(self.counts, Counts(requests=asked[0], refusals=asked[1]))
        written = {
            "counts": msgspec.json.encode(told).decode(),
            "touched_at": self.context.clock.now(),
            "total": self.run.total,
            **changes,
        }
        if not imports.move_on(connection, self.run.id, self._holder, written):
            raise AlreadyRunning("Another process works on this import now.", code="IMPORT_TAKEN_OVER")
