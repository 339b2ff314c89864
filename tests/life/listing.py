"""A provider that lists what it has had, a page at a time: events that were sent, and objects as they are."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from keywright.domain.errors import KeywrightError, NotFound
from keywright.domain.facts import Refetch
from keywright.flows.context import Context
from keywright.ports import Change, ChangePage
from tests.conftest import TurnableClock
from tests.life import hints, stripe
from tests.life.payments import PayDesk


class Ledger(PayDesk):
    """All that happened. `objects` are listed as fetched now; `breaks_at`: the page that fails."""

    def __init__(self, clock: TurnableClock, page: int = 7) -> None:
        super().__init__(clock)
        self.events: list[stripe.Json] = []
        self.objects: dict[str, stripe.Json] = {}
        self.page = page
        self.breaks_at: int | None = None
        self.broken: KeywrightError | None = None
        self.asked_since: list[datetime] = []
        self.pages = 0

    def list_changes(self, since: datetime, cursor: str | None) -> ChangePage:
        if cursor is None:
            self.asked_since.append(since)
        at = int(cursor or 0)
        if self.broken is not None and at // self.page == (self.breaks_at or 0):
            raise self.broken
        self.pages += 1
        # The newest first, as Stripe lists them.
        told = [event for event in reversed(self.events) if _when(event) >= since]
        changes = [Change(stripe.encoded(event), fetched=False) for event in told]
        changes += [Change(stripe.encoded(self._looked(one)), fetched=True) for one in self.objects.values()]
        following = str(at + self.page) if at + self.page < len(changes) else None
        return ChangePage(tuple(changes[at : at + self.page]), following, len(changes))

    def fetch(self, wanted: Refetch, *, look: bool = False) -> tuple[bytes, ...]:
        del look
        if wanted.external_id not in self.answers:
            raise NotFound("There is no such object.")
        return super().fetch(wanted)

    def _looked(self, subscription: stripe.Json) -> stripe.Json:
        now = self.clock.now()
        id_ = f"fetch_{subscription['id']}_{stripe.stamp(now)}"
        return stripe.event("customer.subscription.updated", subscription, now, id_=id_)

    def happened(self, *events: stripe.Json) -> list[stripe.Json]:
        self.events += events
        return list(events)


def _when(event: stripe.Json) -> datetime:
    return datetime.fromtimestamp(event["created"], UTC)


def listed_by(context: Context, ledger: Ledger) -> Context:
    """The context with this ledger behind its Stripe channel."""
    return replace(context, channels={"stripe": replace(context.channels["stripe"], api=ledger)})


class HintLedger(hints.HintDesk):
    """The provider whose events prove nothing, with a list of those it sent."""

    def __init__(self, clock: TurnableClock) -> None:
        super().__init__(clock)
        self.sent: list[hints.Json] = []

    def list_changes(self, since: datetime, cursor: str | None) -> ChangePage:
        del since, cursor
        return ChangePage(tuple(Change(stripe.encoded(event), fetched=False) for event in self.sent))

    def told_of(self, order: str) -> None:
        """An event about this order was sent, and nobody heard it."""
        at = stripe.stamp(self.clock.now())
        self.sent.append({"id": f"hint_{len(self.sent)}", "order": order, "at": at})


def hinted_by(context: Context, ledger: HintLedger) -> Context:
    """The context with this ledger as its only provider."""
    opened, _ = hints.open_desk(context, ledger.clock)
    channel = replace(opened.channels[hints.NAME], api=ledger)
    return replace(opened, channels={hints.NAME: channel})
