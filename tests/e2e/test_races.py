"""Many at once: one effect per event, never more machines than bought, against the running server."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from keywright.domain.license import License, is_intact
from keywright.domain.plan import Terms
from keywright.flows.context import Context
from keywright.store import activations, tables
from keywright.store import timeline as history
from tests.conftest import new_postgresql
from tests.e2e.conftest import Shop
from tests.e2e.server import Server, environment, opened, wait_until
from tests.e2e.wire import Answer, Line, ask, tell
from tests.life import stripe, world

MONTH = timedelta(days=30)
AT_ONCE = 100
CLIENTS = 50
ROUNDS = 20


def bought(sub: str, *, price: str = "price_pro", quantity: int = 1) -> stripe.Json:
    at = datetime.now(UTC).replace(microsecond=0)
    made = stripe.subscription(sub, at, at + MONTH, price=price, quantity=quantity, customer=f"cus_{sub}")
    return stripe.event("customer.subscription.created", made, at)


async def at_once(ports: Sequence[int], asks: Sequence[Any]) -> list[Answer]:
    """Every question on a connection of its own, all sent when all are connected."""
    ready = asyncio.Barrier(len(asks))

    async def one(number: int, question: Any) -> Answer:
        async with Line(ports[number % len(ports)]) as line:
            await line.ask("/health/live")
            await ready.wait()
            answer: Answer = await question(line)
            return answer

    return list(await asyncio.gather(*(one(n, q) for n, q in enumerate(asks))))


def telling(event: stripe.Json) -> Any:
    raw = stripe.encoded(event)
    return lambda line: tell(line, raw)


def activating(key: str, machine: str) -> Any:
    body = stripe.encoded({"key": key, "fingerprint": machine})
    return lambda line: line.ask("/api/license/activate", body)


def license_of(context: Context, sub: str) -> License:
    """The one license of a subscription."""
    alias = tables.purchase_aliases.c
    with context.database.read() as connection:
        query = sa.select(alias.purchase_id).where(alias.kind == "subscription", alias.external_id == sub)
        purchase = connection.execute(query).scalar_one()
    (one,) = [held for held in world.all_licenses(context) if held.purchase_id == purchase]
    return one


def check_one_effect(context: Context, sub: str, event: stripe.Json) -> None:
    held = license_of(context, sub)
    inbox, announced = tables.inbox.c, tables.announcements.c
    with context.database.read() as connection:
        kept = connection.execute(sa.select(inbox.status).where(inbox.dedupe_key == event["id"])).all()
        owed = connection.execute(sa.select(announced.id).where(announced.license_id == held.id)).all()
        entries = history.list_page(connection, held.tenant_id, held.id, after=0, limit=100)
    assert [row.status for row in kept] == ["applied"]
    assert len(owed) == 1
    assert [entry.kind for entry in entries] == ["license.issued"]
    assert history.first_break(entries, held.head) is None


def test_one_event_a_hundred_times_at_once(shop: Shop) -> None:
    for number in range(3):
        event = bought(f"sub_same{number}")
        answers = asyncio.run(at_once([shop.port], [telling(event)] * AT_ONCE))
        assert Counter(one.outcome for one in answers) == {"applied": 1, "duplicate": AT_ONCE - 1}
        with shop.opened() as context:
            check_one_effect(context, f"sub_same{number}", event)


def check_race(answers: list[Answer], fitting: int) -> None:
    assert Counter(one.status for one in answers) == {200: fitting, 409: CLIENTS - fitting}
    for one in answers:
        verdict = one.json()
        refused = (verdict["valid"], verdict["code"], verdict["activation"], verdict["lease"])
        if one.status == 409:
            assert refused == (False, "TOO_MANY_ACTIVATIONS", None, None)
        else:
            assert (verdict["valid"], verdict["code"]) == (True, "VALID")
            assert verdict["lease"]
    assert len({one.json()["activation"]["id"] for one in answers if one.status == 200}) == fitting


def machines(context: Context, held: License) -> int:
    with context.database.read() as connection:
        return len(activations.held_by(connection, [held.id]).get(held.id, {}))


def test_fifty_clients_race_for_five_machines(shop: Shop) -> None:
    with shop.opened() as context:
        world.hand_in(context, *(bought(f"sub_five{n}", quantity=5) for n in range(ROUNDS)))
        held = [license_of(context, f"sub_five{n}") for n in range(ROUNDS)]
        keys = [world.key_of(context, one) for one in held]
    for number, key in enumerate(keys):
        racers = [activating(key, f"machine-{number}-{n}") for n in range(CLIENTS)]
        answers = asyncio.run(at_once([shop.port], racers))
        check_race(answers, 5)
        winner = next(n for n, one in enumerate(answers) if one.status == 200)
        again = asyncio.run(at_once([shop.port], [racers[winner]]))[0]
        assert again.json()["activation"] == answers[winner].json()["activation"]
    with shop.opened() as context:
        assert [machines(context, one) for one in held] == [5] * ROUNDS
        for before in held:
            check_chain(context, before.id)


def license_by(context: Context, license_id: str) -> License:
    (found,) = [one for one in world.all_licenses(context) if one.id == license_id]
    return found


def check_chain(context: Context, license_id: str) -> None:
    after = None
    # The server may add "mail sent" between the two looks.
    while after is None or after.head != license_by(context, license_id).head:
        after = license_by(context, license_id)
        with context.database.read() as connection:
            entries = history.list_page(connection, after.tenant_id, after.id, after=0, limit=1000)
    assert history.first_break(entries, after.head) is None
    assert is_intact(after, context.vault.row_key(after.tenant_id))


def test_a_new_machine_takes_the_place_of_the_oldest_and_never_a_fourth(shop: Shop) -> None:
    with shop.opened() as context:
        world.hand_in(context, bought("sub_three", price="price_three"))
        held = license_of(context, "sub_three")
        key = world.key_of(context, held)
        counted: list[int] = []

        async def race() -> list[Answer]:
            async def watch() -> None:
                while True:
                    counted.append(await asyncio.to_thread(machines, context, held))
                    await asyncio.sleep(0.002)

            watching = asyncio.create_task(watch())
            try:
                return await at_once([shop.port], [activating(key, f"laptop-{n}") for n in range(CLIENTS)])
            finally:
                watching.cancel()
                await asyncio.gather(watching, return_exceptions=True)

        answers = asyncio.run(race())
        assert {one.status for one in answers} == {200}
        assert len({one.json()["activation"]["id"] for one in answers}) == CLIENTS
        assert machines(context, held) == 3
        assert len(counted) > 3
        assert max(counted) <= 3
        check_chain(context, held.id)


def test_machines_that_come_and_go_never_exceed_the_seats(shop: Shop) -> None:
    with shop.opened() as context:
        world.hand_in(context, bought("sub_moving", quantity=4))
        held = license_of(context, "sub_moving")
        key = world.key_of(context, held)

    async def come_and_go(number: int) -> list[int]:
        async with Line(shop.port) as line:
            statuses = []
            for path in ("activate", "deactivate", "activate"):
                body = stripe.encoded({"key": key, "fingerprint": f"machine-{number:03}"})
                statuses.append((await line.ask(f"/api/license/{path}", body)).status)
            return statuses

    async def everybody() -> list[list[int]]:
        return list(await asyncio.gather(*(come_and_go(n) for n in range(18))))

    seen = {status for statuses in asyncio.run(everybody()) for status in statuses}
    assert seen <= {200, 404, 409}
    with shop.opened() as context:
        assert machines(context, held) <= 4
        check_chain(context, held.id)


def test_webhook_and_verification_of_one_checkout_make_one_license(shop: Shop) -> None:
    wish = stripe.encoded({"plan": "dashcaddy/plan-2", "email": "ada@example.com"})
    opened_checkout = asyncio.run(ask(shop.port, "/api/checkout/session", wish))
    assert opened_checkout.status == 201, opened_checkout.body
    reference = opened_checkout.json()["reference"]
    event = pay(shop, reference)
    path = f"/api/checkout/session/{reference}/verify"
    # The server lets a checkout be verified six times a minute; the flow's own race has no such limit.
    verifying = [lambda line: line.ask(path, b"{}")] * 6
    questions = [telling(event)] * (AT_ONCE - len(verifying)) + verifying
    random.Random(7).shuffle(questions)
    answers = asyncio.run(at_once([shop.port], questions))
    assert {one.status for one in answers} == {200}
    told = Counter(one.outcome for one in answers if "outcome" in one.json())
    assert told == {"applied": 1, "duplicate": AT_ONCE - 7}
    assert {one.json()["status"] for one in answers if "outcome" not in one.json()} == {"paid"}
    token = opened_checkout.json()["claim_token"]
    shown = asyncio.run(
        ask(shop.port, f"/api/checkout/session/{reference}", headers={"Authorization": f"Claim {token}"})
    )
    (only,) = shown.json()["licenses"]
    with shop.opened() as context:
        mine = [one for one in world.all_licenses(context) if one.id == only["id"]]
        assert [one.seats for one in mine] == [1]
        check_chain(context, only["id"])
        with context.database.read() as connection:
            owed = tables.announcements.c
            assert len(connection.execute(sa.select(owed.id).where(owed.license_id == only["id"])).all()) == 1
            of_it = tables.purchase_aliases.c
            query = sa.select(of_it.purchase_id).where(of_it.external_id == reference)
            assert len(connection.execute(query).all()) == 1


def pay(shop: Shop, reference: str) -> stripe.Json:
    """The buyer pays at the stand-in; the event that tells of it."""
    with httpx.Client(base_url=shop.sandbox.url, trust_env=False, auth=(shop.sandbox.api_key, "")) as client:
        sessions = client.get("/v1/checkout/sessions").json()["data"]
        (session,) = [one for one in sessions if one["client_reference_id"] == reference]
        client.post("/_sandbox/stripe/pay", json={"session": session["id"], "email": "ada@example.com"})
        events = client.get("/v1/events", params={"type": "checkout.session.completed"}).json()["data"]
    (event,) = [one for one in events if one["data"]["object"]["id"] == session["id"]]
    made: stripe.Json = event
    return made


@pytest.fixture
def two_servers(postgresql: str, tmp_path: Path) -> Any:
    """Two processes on one PostgreSQL database, and a way to look into it."""
    url = new_postgresql(postgresql)
    with opened(url, tmp_path) as context:
        world.stock(context, price_pro=Terms())
    env = environment(url, tmp_path)
    with Server(env, tmp_path, "one") as one, Server(env, tmp_path, "two") as two, opened(url, tmp_path) as c:
        yield [one.port, two.port], c


def test_one_event_a_hundred_times_at_once_at_two_servers(two_servers: tuple[list[int], Context]) -> None:
    ports, context = two_servers
    for number in range(5):
        event = bought(f"sub_same{number}")
        answers = asyncio.run(at_once(ports, [telling(event)] * AT_ONCE))
        assert Counter(one.outcome for one in answers) == {"applied": 1, "duplicate": AT_ONCE - 1}
        check_one_effect(context, f"sub_same{number}", event)


def test_events_of_one_subscription_meet_at_two_servers(two_servers: tuple[list[int], Context]) -> None:
    """Each server gets half of what is told of forty new subscriptions, at the same moment."""
    ports, context = two_servers
    at = datetime.now(UTC).replace(microsecond=0)
    events: list[stripe.Json] = []
    for n in range(40):
        more: dict[str, Any] = {"customer": f"cus_{n}"}
        events.append(bought(f"sub_{n}", quantity=1))
        bill = stripe.invoice(f"in_{n}", f"sub_{n}", at, at + MONTH, email=f"b{n}@example.com", **more)
        events.append(stripe.event("invoice.paid", bill, at))
        seen = stripe.subscription(f"sub_{n}", at, at + MONTH, quantity=n + 2, **more)
        events.append(stripe.event("customer.subscription.updated", seen, at + timedelta(seconds=9)))
    random.Random(3).shuffle(events)
    answers = asyncio.run(at_once(ports, [telling(event) for event in events]))
    assert Counter(one.status for one in answers) == {200: len(events)}
    assert Counter(one.outcome for one in answers) == {"applied": len(events)}
    for n in range(40):
        held = license_of(context, f"sub_{n}")
        assert (held.seats, held.entitled_until) == (n + 2, at + MONTH)
        check_chain(context, held.id)
    assert world.count(context, tables.licenses) == world.count(context, tables.purchases) == 40
    wait_until(lambda: set(mails(context)) == {"sent"}, 30, "the mails of both servers are out")
    with context.database.read() as connection:
        kinds = Counter(connection.execute(sa.select(tables.announcements.c.kind)).scalars())
    # Who heard of the smaller quantity first is told that there are more seats now; each key goes out once.
    assert kinds.pop("license.issued") == 40
    assert set(kinds) <= {"notice.seats_changed"}


def mails(context: Context) -> Counter[str]:
    with context.database.read() as connection:
        return Counter(connection.execute(sa.select(tables.announcements.c.status)).scalars())


def test_fifty_clients_race_for_five_machines_at_two_servers(
    two_servers: tuple[list[int], Context],
) -> None:
    ports, context = two_servers
    world.hand_in(context, *(bought(f"sub_five{n}", quantity=5) for n in range(5)))
    for number in range(5):
        held = license_of(context, f"sub_five{number}")
        key = world.key_of(context, held)
        racers = [activating(key, f"machine-{number}-{n}") for n in range(CLIENTS)]
        check_race(asyncio.run(at_once(ports, racers)), 5)
        assert machines(context, held) == 5
        check_chain(context, held.id)
