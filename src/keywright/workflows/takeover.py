"""Who is alive, and who goes on with what a dead process left behind. On PostgreSQL, where there are several.

The engine hands unfinished work to the next process of the same name, and to nobody else. Here each process
has a name of its own and a lease on it, and whoever notices first that one has died takes over its work.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import sqlalchemy as sa
import structlog

from keywright.store import executors
from keywright.store.engine import Database

log = structlog.get_logger(__name__)

_LOOK_EVERY: Final = 3.0  # seconds; a lease lasts five times as long
_STRAYS_EVERY: Final = 5  # looks
_PATIENCE: Final = 5.0  # seconds


class Attendance:
    """Keeps a process's lease, and looks after the others.

    `take_over`: goes on with what a process of this name left; safe to call twice. `renamed`: told the new
    name when others have taken this process for dead, and its old one is theirs. `pending`: a query of the
    names that have work under way.
    """

    def __init__(
        self,
        database: Database,
        name: str,
        *,
        take_over: Callable[[str], None],
        new_name: Callable[[], str],
        renamed: Callable[[str], None],
        pending: sa.TextClause,
        every: float = _LOOK_EVERY,
    ) -> None:
        self._database = database
        self._take_over = take_over
        self._new_name = new_name
        self._renamed = renamed
        self._pending = pending
        self._every = every
        self._looks = 0
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self.name = name

    def join(self) -> None:
        """Count as alive, before anything is begun under this name."""
        with self._database.write() as connection:
            executors.join(connection, self.name)

    def start(self) -> None:
        """Keep on renewing, and take over from those who died: also from who ran here before us, at once."""
        self._thread = threading.Thread(target=self._watch, name="attendance", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop looking after others. The lease goes on a while, for what is still under way."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(_PATIENCE)

    def leave(self) -> None:
        """When nothing is under way any more. What was cut off is for others, at once."""
        # A database that is away will find the lease over when it is back.
        with suppress(sa.exc.SQLAlchemyError), self._database.write() as connection:
            executors.leave(connection, self.name)
        self._database.dispose()

    def _watch(self) -> None:
        while True:
            try:
                self.look()
            except Exception as error:  # noqa: BLE001  # without this thread the process would count as dead
                log.warning("executors_not_looked_at", error=type(error).__qualname__)
            if self._stopping.wait(self._every):
                return

    def look(self) -> None:
        """Renew, and take over what is there to be taken over."""
        with self._database.write() as connection:
            steady = executors.renew(connection, self.name)
        if steady is None:
            self._begin_anew()
            return
        with self._database.write() as connection:
            dead = executors.take(connection, self.name, steady=steady)
        for one in dead:
            log.warning("work_taken_over", executor=one)
            self._take_over(one)
        if dead:
            with self._database.write() as connection:
                executors.forget(connection, self.name, dead)
        if steady and self._looks % _STRAYS_EVERY == 0:
            with self._database.read() as connection:
                busy = connection.execute(self._pending).scalars().all()
                left = executors.unknown(connection, busy)
            for one in left:
                log.warning("stray_work_taken_over", executor=one)
                self._take_over(one)
        self._looks += 1 if steady else 0

    def _begin_anew(self) -> None:
        """We were away so long that others have our work. What we begin from now on has another name."""
        before, self.name = self.name, self._new_name()
        self.join()
        self._renamed(self.name)
        log.warning("taken_for_dead", executor=before, now=self.name)
