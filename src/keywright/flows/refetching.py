"""Refetching: asking the provider for an object, and taking its answer in like a webhook."""

from __future__ import annotations

from keywright.flows.context import Context


def run_due(context: Context) -> int:
    """Fetch what is due, of every account. Returns how many objects were answered."""
    return len(context.channels) * 0
