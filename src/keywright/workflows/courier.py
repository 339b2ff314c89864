"""Sends webhooks, in threads of its own, in each process that does background work.

Not by workflows: the rows say what is due and who has taken it, so that an engine would add three writes to
each delivery and no safety.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from typing import Final

import structlog

from keywright.flows import webhook_deliveries
from keywright.flows.context import Context
from keywright.store.webhooks import DueEndpoint

log = structlog.get_logger(__name__)

_PAUSE: Final = 1.0
_HEALTHY: Final = 16  # turns at a time, for endpoints that answer
_FAILING: Final = 8  # and for those that do not, so that they take nobody else's place
_OF_ONE: Final = 4
# So many full turns in a row, and an endpoint has one more at a time. Where there is little to tell, one goes
# out after another, each marked before the next: a process that dies then doubles one.
_BEFORE_MORE: Final = 4
# Seconds, with a backlog: the one writer of a SQLite file should have little of it.
_MARK_AFTER: Final = 0.05
_SHARE: Final = 2  # of a lane, a tenant has half at most: its receivers may all hang at once
_PATIENCE: Final = 3.0


class Courier:
    """One endpoint has a turn at a time, and up to four with a backlog. Those that fail have lanes of their
    own, and no tenant has more than half of a lane.

    `name`: the process's own, which the next one takes over when it has died.
    """

    def __init__(self, context: Context, name: str, *, pause: float = _PAUSE) -> None:
        self._context = context
        self._name = name
        self._pause = pause
        self._mutex = threading.Lock()
        self._turns: Counter[str] = Counter()
        self._full: Counter[str] = Counter()  # turns in a row that had as much as they could take
        self._busy: Counter[bool] = Counter()  # by whether they are failing
        self._of_tenant: Counter[tuple[str, bool]] = Counter()
        self._woken = threading.Event()
        self._stopping = threading.Event()
        self._closed = threading.Event()
        self._watcher: threading.Thread | None = None

    def start(self) -> None:
        """Whoever bore our name before is dead: what he had taken is free."""
        webhook_deliveries.let_go(self._context, self._name)
        self._watcher = threading.Thread(target=self._watch, name="courier", daemon=True)
        self._watcher.start()

    def stop(self) -> None:
        """Take nothing any more, and wait a moment for what is on its way. What lasts longer is sent again,
        under the same id, when its claim is over."""
        self._stopping.set()
        self._woken.set()
        if self._watcher is not None:
            self._watcher.join(_PATIENCE)
        until = time.monotonic() + _PATIENCE
        while time.monotonic() < until and self._busy_turns():
            time.sleep(0.02)
        self._closed.set()

    def _busy_turns(self) -> int:
        with self._mutex:
            return sum(self._busy.values())

    def _watch(self) -> None:
        while not self._stopping.is_set():
            self._woken.clear()
            try:
                for due in webhook_deliveries.list_due(self._context):
                    self._begin(due)
            except Exception as error:  # noqa: BLE001  # a database that is away for a moment must not end it
                log.warning("webhooks_not_looked_at", error=type(error).__qualname__)
            self._woken.wait(self._pause)

    def _begin(self, due: DueEndpoint) -> None:
        """Start turns for an endpoint, as far as there is room in its lane."""
        room = _FAILING if due.failing else _HEALTHY
        with self._mutex:
            backlog = self._full[due.id] // _BEFORE_MORE
            most = 1 if due.failing else min(_OF_ONE, 1 + backlog)
            taken = self._of_tenant[due.tenant_id, due.failing]
            full = self._busy[due.failing] >= room or taken >= room // _SHARE
            if self._stopping.is_set() or full or self._turns[due.id] >= most:
                return
            self._count(due, 1)
        mark_after = _MARK_AFTER if backlog else 0.0
        threading.Thread(target=self._turn, args=(due, mark_after), name="webhooks", daemon=True).start()

    def _count(self, due: DueEndpoint, by: int) -> None:
        self._turns[due.id] += by
        self._busy[due.failing] += by
        self._of_tenant[due.tenant_id, due.failing] += by

    def _turn(self, due: DueEndpoint, mark_after: float) -> None:
        tried = 0
        try:
            tried = webhook_deliveries.send_some(
                self._context,
                due,
                holder=self._name,
                mark_after=mark_after,
                goes_on=lambda: not self._stopping.is_set(),
                may_write=lambda: not self._closed.is_set(),
            )
        except Exception as error:  # noqa: BLE001  # what was taken is free again in two minutes
            log.warning("webhooks_not_sent", endpoint=due.id, error=type(error).__qualname__)
        finally:
            with self._mutex:
                self._count(due, -1)
                full = tried == webhook_deliveries.AT_ONCE
                self._full[due.id] = self._full[due.id] + 1 if full else 0
            if tried:
                self._woken.set()  # there may be more
