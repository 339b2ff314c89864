"""Work that counts as under way in this process, and that no thread of it does.

The engine claims work in one transaction, begins it afterwards, and writes down how it went at the end. When
the database goes away meanwhile it tries again only after some of the errors that this can be; after others
the claim stands and nobody works, until the next start, and a queue that takes one at a time waits as long.
"""

from __future__ import annotations

import threading
from typing import Final

import structlog

# Private: the engine has no public question for what its own process has claimed or is doing.
from dbos._dbos import _get_dbos_instance
from dbos._utils import INTERNAL_QUEUE_NAME, GlobalParams

log = structlog.get_logger(__name__)


_EVERY: Final = 10.0  # seconds
_PATIENCE: Final = 1.0


class Strays:
    """Looks for it again and again; what was idle in two looks running is put back into its queue.

    In a thread of its own in each process: a workflow of the engine would itself be one that gets lost, and
    is run by one process of several.
    """

    def __init__(self, version: str) -> None:
        self._version = version
        self._idle: set[str] = set()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._watch, name="strays", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(_PATIENCE)

    def _watch(self) -> None:
        while not self._stopping.wait(_EVERY):
            try:
                self.look()
            except Exception as error:  # noqa: BLE001  # the database is away; the next look is as good
                log.warning("claimed_work_not_looked_at", error=type(error).__qualname__)

    def look(self) -> None:
        """One look. Raises what the database raises."""
        dbos, executor = _get_dbos_instance(), GlobalParams.executor_id
        claimed = {
            one.workflow_id
            for one in dbos._sys_db.get_pending_workflows(executor, self._version)  # noqa: SLF001  # as above
        }
        # Asked after the claims: what has begun is here; what has ended is claimed no more at the next look.
        idle = claimed - set(dbos._active_workflows_set.activeList())  # noqa: SLF001  # as above
        for id_ in sorted(idle & self._idle):
            # If the claim still stands; a thread that begins after all gives way at its next write.
            if dbos._sys_db.reenqueue_for_recovery(id_, [executor], INTERNAL_QUEUE_NAME):  # noqa: SLF001  # as above
                log.warning("claimed_work_put_back", workflow=id_)
        self._idle = idle
