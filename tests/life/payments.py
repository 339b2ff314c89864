"""A payment provider of our own making: opens checkouts, remembers them, and fails when it is told to."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from keywright.domain.errors import KeywrightError
from keywright.domain.facts import Refetch
from keywright.flows.context import Context
from keywright.ports import ChangePage, CheckoutCreated, CheckoutRequest
from tests.conftest import TurnableClock
from tests.life import stripe


class PayDesk:
    """Implements the port PaymentApi. `trouble` is raised instead of an answer; `heard` keeps every call."""

    def __init__(self, clock: TurnableClock) -> None:
        self.clock = clock
        self.heard: list[CheckoutRequest] = []
        self.asked: list[str] = []
        self.trouble: KeywrightError | None = None
        self.answers: dict[str, stripe.Json] = {}
        self.begun: dict[str, stripe.Json] = {}

    def create_checkout(self, request: CheckoutRequest) -> CheckoutCreated:
        self.heard.append(request)
        if self.trouble is not None:
            raise self.trouble
        session = f"cs_{request.reference[3:]}"
        return CheckoutCreated(session, f"https://checkout.stripe.com/c/pay/{session}", request.expires_at)

    def list_changes(self, since: datetime, cursor: str | None) -> ChangePage:
        del since, cursor
        return ChangePage(())

    def fetch(self, wanted: Refetch, *, look: bool = False) -> tuple[bytes, ...]:
        del look
        session = wanted.external_id
        self.asked.append(session)
        if self.trouble is not None:
            raise self.trouble
        told = [self.answers[session]] + ([self.begun[session]] if session in self.begun else [])
        return tuple(stripe.encoded(one) for one in told)

    def check(self) -> str:
        return "Test desk"

    def paid(self, reference: str) -> stripe.Json:
        """The buyer has paid: what the webhook says, and what a question is answered with."""
        session = stripe.session(f"cs_{reference[3:]}", reference=reference)
        event = stripe.event("checkout.session.completed", session, self.clock.now())
        self.answers[f"cs_{reference[3:]}"] = {**event, "id": f"fetch_{reference[3:]}"}
        return event

    def subscribed(self, reference: str, price: str) -> list[stripe.Json]:
        """The buyer has paid for the first month: the webhooks that say so, in no order that helps."""
        id_, sub, at = f"cs_{reference[3:]}", f"sub_{reference[3:]}", self.clock.now()
        until = at + timedelta(days=30)
        session = stripe.session(id_, mode="subscription", reference=reference, sub=sub)
        said = stripe.event("checkout.session.completed", session, at)
        running = stripe.subscription(sub, at, until, price=price, reference=reference)
        settled = stripe.invoice(f"in_{reference[3:]}", sub, at, until, price=price, reference=reference)
        self.answers[id_] = {**said, "id": f"fetch_{id_}"}
        told = stripe.event("customer.subscription.updated", running, at)
        self.begun[id_] = {**told, "id": f"fetch_{sub}"}
        return [
            stripe.event("invoice.paid", settled, at),
            said,
            stripe.event("customer.subscription.created", running, at),
        ]


def selling_through(context: Context, desk: PayDesk) -> Context:
    """The context with this desk behind its Stripe channel."""
    return replace(context, channels={"stripe": replace(context.channels["stripe"], api=desk)})
