"""What is looked after every few seconds, whatever became of the workflow that should have done it."""

from __future__ import annotations

from datetime import datetime, timedelta

from keywright.flows import announce, notices, refetching, replay, webhook_deliveries
from keywright.flows.context import Context

_NOTICES_EVERY = timedelta(minutes=10)
_JUMP = timedelta(minutes=2)


class Sweep:
    """Called every few seconds, in each process that does background work."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._swept_at: datetime | None = None
        self._looked_at: datetime | None = None

    def __call__(self) -> None:
        """Retry events that are due, send what a lost workflow left behind, and look at the clocks.

        Sent here and not enqueued again: the workflow of a batch has the batch's name, and the engine runs a
        name once.
        """
        replay.retry_due(self._context)
        refetching.owe_stranded(self._context)
        for batch in announce.owe_stranded(self._context):
            announce.send_due(self._context, batch)
        self._look_at_clocks()

    def _look_at_clocks(self) -> None:
        """Owe what the clocks make due: every ten minutes by the context's clock, and after a jump of it.

        Not at once after a jump or a start, but the next time: a sandbox that turned its clock is still
        delivering the renewals of that time, and nobody should be told that they did not come.
        """
        now, before = self._context.clock.now(), self._swept_at
        self._swept_at = now
        if before is None or not timedelta(0) <= now - before <= _JUMP:
            self._looked_at = None
            return
        if self._looked_at is None or now - self._looked_at >= _NOTICES_EVERY:
            notices.owe_due(self._context)
            webhook_deliveries.owe_clocks(self._context)
            webhook_deliveries.forget_old(self._context)
            self._looked_at = now
