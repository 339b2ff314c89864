"""What stands in a server for the engine when others do the background work."""

from __future__ import annotations

import threading
from typing import Final

import sqlalchemy as sa

from keywright.store import executors
from keywright.store.engine import Database

_LOOK_EVERY: Final = 5.0  # seconds


class Elsewhere:
    """Launches nothing. Alive is, here, that some process does the work; looked at every few seconds."""

    def __init__(self, database: Database, *, every: float = _LOOK_EVERY) -> None:
        self._database = database
        self._every = every
        self._somebody = False
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def launch(self) -> None:
        self._thread = threading.Thread(target=self._watch, name="elsewhere", daemon=True)
        self._thread.start()

    def is_alive(self) -> bool:
        return self._somebody

    def stop(self) -> None:
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(self._every)

    def _watch(self) -> None:
        while True:
            try:
                self._somebody = executors.are_at_work(self._database)
            except sa.exc.SQLAlchemyError:
                self._somebody = False
            if self._stopping.wait(self._every):
                return
