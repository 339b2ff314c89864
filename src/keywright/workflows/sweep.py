"""What is looked after every few seconds, whatever became of the workflow that should have done it."""

from __future__ import annotations

from keywright.flows import announce, refetching, replay
from keywright.flows.context import Context


def sweep(context: Context) -> None:
    """Retry events that are due, and send what a lost workflow left behind.

    Sent here and not enqueued again: the workflow of a batch has the batch's name, and the engine runs a name
    once.
    """
    replay.retry_due(context)
    refetching.owe_stranded(context)
    for batch in announce.owe_stranded(context):
        announce.send_due(context, batch)
