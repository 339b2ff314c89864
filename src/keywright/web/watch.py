"""What the server counts about itself, for Prometheus and for alarms."""

from __future__ import annotations

import time
from collections import deque

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

from keywright.flows.context import Context
from keywright.store import announcements, inbox, licenses

_BURST = 20
_BURST_SECONDS = 300.0


class Watch:
    """Counters of one process. `burst_due` turns True once for each burst of bad signatures."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._events = Counter(
            "keywright_webhooks", "Webhooks by outcome", ("provider", "outcome"), registry=self.registry
        )
        self._bad = Counter(
            "keywright_bad_signatures", "Webhooks refused", ("provider",), registry=self.registry
        )
        self._verdicts = Counter(
            "keywright_verdicts", "Verdicts by call and code", ("call", "code"), registry=self.registry
        )
        self._inbox = Gauge("keywright_inbox", "Events by status", ("status",), registry=self.registry)
        self._owed = Gauge(
            "keywright_announcements", "Announcements by status", ("status",), registry=self.registry
        )
        self._licenses = Gauge(
            "keywright_licenses", "Licenses by status", ("status",), registry=self.registry
        )
        self._streams = Gauge("keywright_streams", "Open live streams", registry=self.registry)
        self._children: dict[tuple[Counter, tuple[str, ...]], Counter] = {}
        self._recent_bad: deque[float] = deque(maxlen=_BURST)
        self._quiet_until = 0.0

    def event(self, provider: str, outcome: str) -> None:
        self._count(self._events, provider, outcome)

    def verdict(self, call: str, code: str) -> None:
        self._count(self._verdicts, call, code)

    def _count(self, counter: Counter, *labels: str) -> None:
        # Kept, because the library takes a lock and checks the labels at every look-up.
        child = self._children.get((counter, labels))
        if child is None:
            child = self._children[(counter, labels)] = counter.labels(*labels)
        child.inc()

    def streams(self, are_open: int) -> None:
        self._streams.set(are_open)

    def bad_signature(self, provider: str) -> None:
        self._bad.labels(provider).inc()
        self._recent_bad.append(time.monotonic())

    def burst_due(self) -> bool:
        """Whether a burst of bad signatures is going on that was not reported in the last hour."""
        now = time.monotonic()
        full = len(self._recent_bad) == _BURST and now - self._recent_bad[0] < _BURST_SECONDS
        if full and now >= self._quiet_until:
            self._quiet_until = now + 3600
            return True
        return False

    def render(self, context: Context) -> bytes:
        """The metrics page. Counts rows: scrape it every 15 s, not every second."""
        with context.database.read() as connection:
            for gauge, counts in (
                (self._inbox, inbox.counts(connection)),
                (self._owed, announcements.counts(connection)),
                (self._licenses, licenses.counts(connection, context.clock.now())),
            ):
                gauge.clear()
                for status, count in counts.items():
                    gauge.labels(status).set(count)
        return generate_latest(self.registry)
