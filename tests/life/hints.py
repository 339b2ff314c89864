"""A payment provider of our own making whose events prove nothing: each only names an object to ask for."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from keywright.domain.errors import NotFound, ProviderUnavailable
from keywright.domain.facts import (
    Alias,
    CheckoutSeen,
    HolderSeen,
    PaymentSeen,
    Projected,
    Reading,
    Refetch,
    Stamp,
)
from keywright.flows.context import Channel, Context
from keywright.flows.intake import arrive, take_in
from keywright.ports import ChangePage, CheckoutCreated, CheckoutRequest
from keywright.store.tables import checkouts
from keywright.store.tenants import ProviderAccount, get_account
from tests.conftest import TurnableClock

NAME = "hints"
Json = dict[str, Any]


class HintEvents:
    """Implements the port PaymentEvents. An event is `{"id", "order"}`; an answer has `fetched` as well."""

    def authenticate(
        self, raw: bytes, headers: Mapping[str, str], secrets: Sequence[str], now: datetime
    ) -> None:
        del raw, headers, secrets, now

    def obtain(self, raw: bytes, headers: Mapping[str, str], now: datetime) -> None:
        del raw, headers, now

    def project(self, raw: bytes, *, fetched: bool = False) -> Projected:
        told = json.loads(raw)
        digest = hashlib.sha256(raw).hexdigest()
        return Projected(
            dedupe_key=told["id"],
            type="fetched.order" if fetched else "order.changed",
            occurred_at=datetime.fromtimestamp(told["at"], UTC),
            live=False,
            account=None,
            standing="read" if fetched or "fetched" not in told else "unknown",
            body=raw,
            digest=digest,
            raw_sha256=digest,
            raw_size=len(raw),
        )

    def read(self, projected: Projected) -> Reading:
        told = json.loads(projected.body)
        order = told["order"]
        aliases = (Alias("session", order), Alias("reference", order))
        if projected.type != "fetched.order":
            return Reading(aliases, (), founds=False, reference=order, refetches=(Refetch("order", order),))
        stamp = Stamp(projected.occurred_at, 100, projected.digest)
        paid = PaymentSeen(stamp, order, "paid", told["amount"], told["currency"])
        facts = (paid, CheckoutSeen(stamp, order, "paid"), HolderSeen(stamp, email="buyer@example.com"))
        return Reading(aliases, facts, founds=True, reference=order, exact=True)


class HintDesk:
    """Implements the port PaymentApi. What is in `orders` is what it answers; `trouble` is raised instead."""

    def __init__(self, clock: TurnableClock) -> None:
        self.clock = clock
        self.orders: dict[str, Json] = {}
        self.asked: list[str] = []
        self.trouble: Exception | None = None
        self.refused: set[str] = set()
        self.meanwhile: Callable[[], object] = lambda: None

    def create_checkout(self, request: CheckoutRequest) -> CheckoutCreated:
        return CheckoutCreated(
            request.reference, f"https://pay.example/{request.reference}", request.expires_at
        )

    def fetch(self, wanted: Refetch, *, look: bool = False) -> tuple[bytes, ...]:
        del look
        self.asked.append(wanted.external_id)
        if self.trouble is not None:
            raise self.trouble
        if wanted.external_id in self.refused:
            raise ProviderUnavailable("Not this one.")
        if wanted.external_id not in self.orders:
            raise NotFound("There is no such order.")
        at = int(self.clock.now().timestamp())
        told = {
            "id": f"fetched:{wanted.external_id}:{at}",
            "order": wanted.external_id,
            "at": at,
            "fetched": 1,
        }
        self.meanwhile()
        return (json.dumps({**told, **self.orders[wanted.external_id]}).encode(),)

    def list_changes(self, since: datetime, cursor: str | None) -> ChangePage:
        del since, cursor
        return ChangePage(())

    def check(self) -> str:
        return "Hints"


def open_desk(context: Context, clock: TurnableClock) -> tuple[Context, HintDesk]:
    """The context with an account at this provider, and the provider's end of it."""
    desk = HintDesk(clock)
    with context.database.write() as connection:
        account: ProviderAccount = get_account(
            connection, context.master.id, NAME, live=False, new_id="pac_hints", now=clock.now()
        )
    channel = Channel(account, HintEvents(), ("secret",), desk)
    return replace(context, channels={**context.channels, NAME: channel}), desk


def order(context: Context, reference: str, *, plan: str, price: str, amount: int = 5000) -> None:
    """Our own checkout, about to be paid there."""
    now = context.clock.now()
    with context.database.write() as connection:
        connection.execute(
            sa.insert(checkouts).values(
                reference=reference,
                tenant_id=context.master.id,
                provider_account_id=context.channels[NAME].account.id,
                plan_id=plan,
                price=price,
                quantity=1,
                amount=amount,
                currency="NGN",
                status="open",
                session=reference,
                created_at=now,
                expires_at=now,
            )
        )


def tell(context: Context, *events: Json) -> list[str]:
    """Let the intake take these in, and say what became of them."""
    now = context.clock.now()
    channel = context.channels[NAME]
    told = [{"at": int(now.timestamp()), **event} for event in events]
    arrivals = [arrive(channel, json.dumps(event).encode(), now) for event in told]
    found = take_in(context, arrivals)
    return [one.outcome if not isinstance(one, Exception) else repr(one) for one in found]
