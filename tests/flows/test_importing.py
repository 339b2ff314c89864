"""What a seller has at a provider already, taken over: every status, once, silently, keys and all."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from keywright.domain.errors import Conflict, Invalid, NotFound
from keywright.domain.license import License, status
from keywright.domain.plan import Terms
from keywright.flows import import_views, importing, intake, key_import, tenants
from keywright.flows.context import Context
from keywright.flows.importing import Wish
from keywright.flows.operate import Act
from keywright.flows.pacing import Pace
from keywright.sandbox.app import SandboxServer
from keywright.store import imports, tables
from keywright.store.import_tables import import_conflicts, import_lines
from keywright.store.import_tables import imports as imports_table
from tests.conftest import Prepared
from tests.e2e.server import opened
from tests.life import moving, stripe, world

PROVIDERS = ("stripe", "paystack", "paypal")


@pytest.fixture(scope="module")
def shops(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[SandboxServer, dict[str, Any]]]:
    """A sandbox with thirty subscriptions at each provider, and their prices."""
    with SandboxServer(data_dir=tmp_path_factory.mktemp("sandbox")) as sandbox:
        prices = {
            name: moving.lever(sandbox, "fill", provider=name, subscriptions=30, seed=4)["prices"]
            for name in PROVIDERS
        }
        yield sandbox, prices


@pytest.fixture
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxServer]:
    """A sandbox of one's own, to change what is in it."""
    with SandboxServer(data_dir=tmp_path_factory.mktemp("own")) as sandbox:
        yield sandbox


def standing(context: Context) -> Counter[str]:
    return Counter(status(one, context.clock.now()) for one in world.all_licenses(context))


@pytest.mark.parametrize("provider", PROVIDERS)
def test_everything_is_taken_over_once(
    provider: str, shops: tuple[SandboxServer, dict[str, Any]], prepared: Prepared
) -> None:
    sandbox, prices = shops
    with opened(prepared.url, prepared.folder, **moving.settings_of(sandbox)) as context:
        moving.sell(context, provider, prices[provider])
        before = moving.everything(context)
        dry = moving.bring(context, provider, dry_run=True)
        assert moving.everything(context) == before, "a dry run changes nothing"
        run = moving.bring(context, provider)
        assert (dry.status, run.status) == ("done", "done")
        seen, told = moving.counts_of(dry), moving.counts_of(run)
        assert (seen.made, seen.unpaid, seen.left, seen.customers) == (
            told.made,
            told.unpaid,
            told.left,
            told.customers,
        )
        held = world.all_licenses(context)
        assert len(held) == told.made > 20
        found = standing(context)
        assert found["active"] > 10
        assert found["expired"] > 0
        assert moving.every(context, tables.announcements) == [], "nobody hears of it"
        if provider == "stripe":
            # A trial, and one that was paused, beside what is paid and what ended.
            assert found["suspended"] == 1
            assert {one.trial for one in held} == {True, False}
        first = moving.everything(context)
        again = moving.bring(context, provider)
        assert moving.everything(context) == first, "a second run writes nothing"
        assert moving.counts_of(again).made == moving.counts_of(again).changed == 0


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("prepared", ["sqlite"], indirect=True)
def test_what_stands_in_the_way_says_why_and_what_to_do(
    provider: str, shops: tuple[SandboxServer, dict[str, Any]], prepared: Prepared
) -> None:
    sandbox, prices = shops
    with opened(prepared.url, prepared.folder, **moving.settings_of(sandbox)) as context:
        moving.sell(context, provider, prices[provider])
        run = moving.bring(context, provider, dry_run=True)
        shown = import_views.list_conflicts(context, context.tenant.id, run.id)
        (price,) = [one for one in shown.items if one.kind == "price-unmapped"]
        assert price.object in prices[provider].values()
        assert f'provider = "{provider}", id = "{price.object}", amount = ' in price.fix
        assert "Legacy" in price.fix
        table = import_views.conflicts_csv(context, context.tenant.id, run.id)
        assert table.splitlines()[0] == "kind,object,reason,fix"
        assert price.object in table
        if provider != "paystack":
            assert moving.conflicts_of(context, run)["customer-without-email"]


@pytest.mark.parametrize("prepared", ["sqlite"], indirect=True)
def test_a_price_that_is_mapped_later_is_brought_by_the_next_run(
    own: SandboxServer, prepared: Prepared
) -> None:
    prices = moving.lever(own, "fill", provider="stripe", subscriptions=30, seed=1)["prices"]
    with opened(prepared.url, prepared.folder, **moving.settings_of(own)) as context:
        some = {name: id_ for name, id_ in prices.items() if name != "pro/month"}
        moving.sell(context, "stripe", some)
        moving.bring(context, "stripe")
        before = len(world.all_licenses(context))
        with context.database.write() as connection:
            connection.execute(
                sa.insert(tables.prices).values(
                    id="pri_late",
                    tenant_id=context.master.id,
                    plan_id="pla_pro",
                    provider="stripe",
                    key="month",
                    external_id=prices["pro/month"],
                    amount=1900,
                    currency="USD",
                    interval="month",
                )
            )
        run = moving.bring(context, "stripe")
        assert moving.counts_of(run).made == len(world.all_licenses(context)) - before > 0
        assert moving.every(context, tables.announcements) == []


# -- the file -------------------------------------------------------------------------------------------


def of_subscription(context: Context, name: str) -> License:
    """The only license of a subscription."""
    (purchase,) = [
        one["purchase_id"]
        for one in moving.every(context, tables.purchase_aliases)
        if one["external_id"] == name
    ]
    (held,) = [one for one in world.all_licenses(context) if one.purchase_id == purchase]
    return held


def paid_for(sandbox: SandboxServer) -> list[str]:
    """Subscriptions of one product that are active, the same at each call."""
    return [
        one["id"]
        for one in sandbox.sandbox.state.every("subscription")
        if one["status"] == "active" and len(one["items"]["data"]) == 1 and one["latest_invoice"]
    ]


def test_a_file_brings_keys_machines_counts_and_dates(own: SandboxServer, prepared: Prepared) -> None:
    prices = moving.lever(own, "fill", provider="stripe", subscriptions=30, seed=2)["prices"]
    sold = set(prices.values()) - {prices["legacy/month"], prices["legacy/year"]}
    state = own.sandbox.state
    one, two, three = [
        name
        for name in paid_for(own)
        if state.get("subscription", name)["items"]["data"][0]["price"]["id"] in sold
    ][:3]
    lines = [
        "subscription,key,seats,until,issued_at,fingerprints",
        f"{one},OLD-KEY-OF-ONE-7F3K,500,2099-01-01,2019-05-01,machine-one-a|machine-one-b",
        f"{two},OLD-KEY-OF-TWO-2MPQ,,,,",
        f"{three},OLD-KEY-OF-TWO-2MPQ,,,,",
        f"{one},=cmd()|' /C calc'!A0,,,,",
        'sub_nowhere123,"a key, with a comma",1,,,',
        "not an id,OLD-KEY-9WXY-4CDE,,,,",
        f"{two},,minus,,,",
        f"{three},SECOND-FOR-THREE,,,,",
        "sub_short",
    ]
    with opened(prepared.url, prepared.folder, **moving.settings_of(own)) as context:
        moving.sell(context, "stripe", prices)
        file = "\n".join(lines).encode()
        dry = moving.bring(context, "stripe", file, dry_run=True)
        assert world.all_licenses(context) == []
        run = moving.bring(context, "stripe", file)
        assert run.status == "done"
        assert moving.conflicts_of(context, dry) == moving.conflicts_of(context, run)
        found = moving.conflicts_of(context, run)
        assert found["line-refused"] == [f"line {n}" for n in (10, 4, 5, 7, 8, 9)]
        assert found["line-unmatched"] == ["line 6"]
        held = of_subscription(context, one)
        assert held.key_last5 == "-7F3K"
        assert (held.seats, held.entitled_until and held.entitled_until.year) == (500, 2099)
        assert held.created_at.year == 2019
        machines = [a for a in moving.every(context, tables.activations) if a["license_id"] == held.id]
        assert len(machines) == 2
        assert moving.counts_of(run).keys == 2
        assert moving.every(context, import_lines) == [], "the keys of a file are kept no longer than needed"
        first = moving.everything(context)
        again = moving.bring(context, "stripe", file)
        assert moving.everything(context) == first
        assert moving.conflicts_of(context, again) == found, "what is as the file says is no conflict"
        other = moving.bring(context, "stripe", f"subscription,key\n{three},ANOTHER-OLD-KEY\n".encode())
        assert moving.everything(context) == first
        assert moving.conflicts_of(context, other)["key-differs"] == ["line 2"]


@pytest.mark.parametrize("prepared", ["sqlite"], indirect=True)
def test_a_file_does_not_tell_which_keys_other_tenants_have(
    own: SandboxServer, prepared: Prepared, tmp_path: Path
) -> None:
    prices = moving.lever(own, "fill", provider="stripe", subscriptions=30, seed=2)["prices"]
    sold = {prices["pro/month"], prices["pro/year"]}
    state = own.sandbox.state
    names = [
        name
        for name in paid_for(own)
        if state.get("subscription", name)["items"]["data"][0]["price"]["id"] in sold
    ][:2]
    with opened(prepared.url, prepared.folder, **moving.settings_of(own)) as context:
        moving.sell(context, "stripe", prices)
        other = tenants.create(context, "Other", "other", by="test").id
        world.stock_for(context, other, price_other=Terms())
        theirs = tmp_path / "theirs.csv"
        theirs.write_text("key,plan,email,seats,until\nTHEIR-OLD-KEY,dashcaddy/plan-0,,1,never\n")
        assert key_import.import_keys(context, other, theirs, Act("test")).made == 1
        keys = zip(names, ("THEIR-OLD-KEY", "abc"), strict=True)
        file = "\n".join(["subscription,key", *(f"{name},{key}" for name, key in keys)])
        run = moving.bring(context, "stripe", file.encode())
        found = [one for one in moving.every(context, import_conflicts) if one["import_id"] == run.id]
        told = [(one["kind"], one["reason"]) for one in found if one["object"].startswith("line")]
        assert len(told) == 2
        assert {kind for kind, _ in told} == {"key-refused"}
        assert len(set(told)) == 1


@pytest.mark.parametrize("prepared", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("file", "why"),
    [
        (b"key,seats\nK,1\n", "subscription is missing"),
        (b"subscription,card\nsub_1,4242424242424242\n", "there is no column 'card'"),
        (b"subscription;key\nsub_1;K\n", "separated by commas"),
        (b'subscription,key\nsub_1,"never closed\n', "unexpected end of data"),
        (b"\xff\xfe\x00", "not UTF-8"),
        (b"", "subscription is missing"),
    ],
)
def test_a_file_that_is_none_is_refused_as_a_whole(
    file: bytes, why: str, shops: tuple[SandboxServer, dict[str, Any]], prepared: Prepared
) -> None:
    sandbox, _ = shops
    with (
        opened(prepared.url, prepared.folder, **moving.settings_of(sandbox)) as context,
        pytest.raises(Invalid, match=why),
    ):
        moving.bring(context, "stripe", file)


# -- beside webhooks ------------------------------------------------------------------------------------


def test_a_webhook_about_what_is_not_here_yet_waits_for_its_page(
    own: SandboxServer, prepared: Prepared
) -> None:
    prices = moving.lever(own, "fill", provider="stripe", subscriptions=30, seed=3)["prices"]
    state = own.sandbox.state
    name = next(
        name
        for name in paid_for(own)
        if state.get("subscription", name)["items"]["data"][0]["price"]["id"]
        in (prices["pro/month"], prices["pro/year"])
    )
    file = f"subscription,key\n{name},KEY-FROM-THE-OLD-SHOP\n".encode()
    with opened(prepared.url, prepared.folder, **moving.settings_of(own)) as context:
        moving.sell(context, "stripe", prices)
        begun = importing.begin(context, Wish("stripe", "test"), file)
        # The seller changes the quantity at Stripe while the import is about to begin.
        subscription = state.get("subscription", name)
        subscription["items"]["data"][0]["quantity"] = 42
        event = state.emit("customer.subscription.updated", subscription, before={})
        channel = context.channels["stripe"]
        arrival = intake.arrive(channel, moving.encoded(event), context.clock.now())
        (outcome,) = intake.take_in(context, [arrival])
        assert (outcome.outcome, outcome.reason) == ("parked", imports.WAITING)  # type: ignore[union-attr]  # no error
        assert world.all_licenses(context) == []
        importing.run(context, begun.id, pace=Pace(moving.FAST))
        held = of_subscription(context, name)
        assert (held.seats, held.key_last5) == (42, "-SHOP")
        events = {one["dedupe_key"]: one["status"] for one in moving.every(context, tables.inbox)}
        assert events[event["id"]] == "applied"
        assert moving.every(context, tables.announcements) == []


@pytest.mark.parametrize("prepared", ["sqlite"], indirect=True)
def test_a_webhook_that_fails_at_the_end_fails_alone(
    own: SandboxServer, prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    prices = moving.lever(own, "fill", provider="stripe", subscriptions=3, seed=3)["prices"]
    with opened(prepared.url, prepared.folder, **moving.settings_of(own)) as context:
        moving.sell(context, "stripe", prices)
        begun = importing.begin(context, Wish("stripe", "test"))
        now = context.clock.now()
        made = [
            stripe.subscription(f"sub_new{n}", now, now + timedelta(days=30), price=prices["pro/month"])
            for n in (1, 2)
        ]
        events = [stripe.event("customer.subscription.created", one, now) for one in made]
        channel = context.channels["stripe"]
        intake.take_in(context, [intake.arrive(channel, moving.encoded(one), now) for one in events])
        retry = intake.retry
        broken: list[str] = []

        def fail(within: Context, connection: Any, account: Any, ids: list[str], *more: Any) -> Any:
            broken[:] = broken or ids[:1]
            if broken[0] in ids:
                raise RuntimeError
            return retry(within, connection, account, ids, *more)

        monkeypatch.setattr(intake, "retry", fail)
        assert importing.run(context, begun.id, pace=Pace(moving.FAST)).status == "done"
        kept = {one["dedupe_key"]: one["status"] for one in moving.every(context, tables.inbox)}
        assert sorted(kept[one["id"]] for one in events) == ["applied", "failed"]


@pytest.mark.parametrize("prepared", ["sqlite"], indirect=True)
def test_an_import_whose_process_is_gone_holds_no_webhook_up(own: SandboxServer, prepared: Prepared) -> None:
    prices = moving.lever(own, "fill", provider="stripe", subscriptions=9, seed=3)["prices"]
    state = own.sandbox.state
    name = paid_for(own)[0]
    with opened(prepared.url, prepared.folder, **moving.settings_of(own)) as context:
        moving.sell(context, "stripe", {**prices, "pro/legacy": prices["legacy/month"]})
        begun = importing.begin(context, Wish("stripe", "test"))
        with context.database.write() as connection:
            gone = context.clock.now() - imports.ABANDONED_AFTER
            connection.execute(sa.update(tables.metadata.tables["imports"]).values(touched_at=gone))
        event = state.emit("customer.subscription.updated", state.get("subscription", name), before={})
        arrival = intake.arrive(context.channels["stripe"], moving.encoded(event), context.clock.now())
        (outcome,) = intake.take_in(context, [arrival])
        assert outcome.outcome == "applied"  # type: ignore[union-attr]  # no error
        # And it goes on where it was.
        assert importing.run(context, begun.id, pace=Pace(moving.FAST)).status == "done"


@pytest.mark.parametrize("prepared", ["sqlite"], indirect=True)
def test_letters_go_to_those_whose_license_runs_when_asked_for(
    own: SandboxServer, prepared: Prepared
) -> None:
    prices = moving.lever(own, "fill", provider="stripe", subscriptions=20, seed=8)["prices"]
    with opened(prepared.url, prepared.folder, **moving.settings_of(own)) as context:
        moving.sell(context, "stripe", prices)
        moving.bring(context, "stripe", announce=True)
        running = {
            one.id
            for one in world.all_licenses(context)
            if status(one, context.clock.now()) in ("active", "grace")
        }
        owed = [one["license_id"] for one in moving.every(context, tables.announcements)]
        assert sorted(owed) == sorted(running)
        assert len(running) < len(world.all_licenses(context))


# -- runs -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prepared", ["sqlite"], indirect=True)
def test_a_provider_that_is_away_stops_a_run_which_goes_on_later(
    own: SandboxServer, prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    prices = moving.lever(own, "fill", provider="stripe", subscriptions=12, seed=5)["prices"]
    with opened(prepared.url, prepared.folder, **moving.settings_of(own)) as context:
        moving.sell(context, "stripe", prices)
        moving.lever(own, "limits", provider="stripe", a_second=0.000001)
        monkeypatch.setattr(importing, "_PATIENCE", 2)
        wish = Wish("stripe", "test")
        begun = importing.begin(context, wish)
        pace = Pace(moving.FAST, sleep=lambda _: None)
        stopped = importing.run(context, begun.id, pace=pace)
        assert (stopped.status, pace.refusals) == ("failed", 2)
        assert "429" in (stopped.error or "")
        moving.lever(own, "limits", provider="stripe", a_second=None)
        assert importing.begin(context, wish) == importing.Begun(begun.id, resumed=True)
        assert importing.run(context, begun.id, pace=Pace(moving.FAST)).status == "done"
        assert moving.counts_of(importing.run(context, begun.id)).subscriptions == 12


@pytest.mark.parametrize("prepared", ["sqlite"], indirect=True)
def test_who_takes_a_run_over_is_the_only_one_to_write(own: SandboxServer, prepared: Prepared) -> None:
    prices = moving.lever(own, "fill", provider="stripe", subscriptions=12, seed=5)["prices"]
    with opened(prepared.url, prepared.folder, **moving.settings_of(own)) as context:
        moving.sell(context, "stripe", prices)
        begun = importing.begin(context, Wish("stripe", "test"))
        taken: list[str] = []

        def take_over(*_: object) -> None:
            if not taken:
                taken.append(importing.run(context, begun.id, pace=Pace(moving.FAST)).status)

        with pytest.raises(Conflict, match="Another process"):
            importing.run(context, begun.id, progress=take_over, pace=Pace(moving.FAST))
        assert taken == ["done"]
        with pytest.raises(NotFound):
            importing.run(context, "imp_nowhere")
        with pytest.raises(NotFound):
            importing.begin(context, Wish("nobody", "test"))


@pytest.mark.parametrize("prepared", ["sqlite"], indirect=True)
def test_a_run_that_was_given_up_writes_no_more_and_keeps_no_key(
    own: SandboxServer, prepared: Prepared
) -> None:
    prices = moving.lever(own, "fill", provider="stripe", subscriptions=12, seed=5)["prices"]
    with opened(prepared.url, prepared.folder, **moving.settings_of(own)) as context:
        moving.sell(context, "stripe", prices)
        file = b"subscription,key\nsub_nowhere123,OLD-KEY-OF-ONE-7F3K\n"
        begun = importing.begin(context, Wish("stripe", "test"), file)

        def sleep_long(*_: object) -> None:
            """It seemed dead, and somebody began another one."""
            with context.database.write() as connection:
                earlier = context.clock.now() - 2 * imports.ABANDONED_AFTER
                connection.execute(sa.update(imports_table).values(touched_at=earlier))
            importing.begin(context, Wish("stripe", "test", announce=True))

        with pytest.raises(Conflict, match="Another process"):
            importing.run(context, begun.id, progress=sleep_long, pace=Pace(moving.FAST))
        assert moving.every(context, import_lines) == []


@pytest.mark.parametrize("prepared", ["sqlite"], indirect=True)
def test_another_import_does_not_begin_beside_one_that_runs(own: SandboxServer, prepared: Prepared) -> None:
    with opened(prepared.url, prepared.folder, **moving.settings_of(own)) as context:
        importing.begin(context, Wish("stripe", "test"))
        with pytest.raises(Conflict) as refused:
            importing.begin(context, Wish("stripe", "test", announce=True))
        assert refused.value.code == "IMPORT_RUNNING"
        assert importing.begin(context, Wish("paystack", "test")).resumed is False


@pytest.mark.parametrize("prepared", ["sqlite"], indirect=True)
def test_requests_come_no_faster_than_the_provider_takes(own: SandboxServer, prepared: Prepared) -> None:
    prices = moving.lever(own, "fill", provider="paypal", subscriptions=24, seed=5)["prices"]
    with opened(prepared.url, prepared.folder, **moving.settings_of(own)) as context:
        moving.sell(context, "paypal", prices)
        moving.lever(own, "limits", provider="paypal", a_second=60)
        begun = importing.begin(context, Wish("paypal", "test", a_second=50))
        assert importing.run(context, begun.id).status == "done"
        seen = own.sandbox.limits.seen["paypal"]
        assert (seen.refused, seen.requests > 40) == (0, True)


def test_a_pace_leaves_a_provider_alone_that_refuses() -> None:
    now, slept = [0.0], []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        now[0] += seconds

    pace = Pace(10, monotonic=lambda: now[0], sleep=sleep)
    for _ in range(11):
        pace.turn()
    assert now[0] == pytest.approx(1.0)
    assert pace.refused(retry_after=30) >= 30
    pace.turn()
    assert now[0] >= 31
    before = now[0]
    pace.turn()
    assert now[0] - before > 0.1, "and slower afterwards"
    pauses = [pace.refused() for _ in range(8)]
    assert 60 >= max(pauses) > 20 > pauses[0]


@pytest.mark.parametrize("prepared", ["sqlite"], indirect=True)
def test_no_cell_of_what_stood_in_the_way_is_a_formula(own: SandboxServer, prepared: Prepared) -> None:
    with opened(prepared.url, prepared.folder, **moving.settings_of(own)) as context:
        run = moving.bring(context, "stripe", dry_run=True)
        typed = ("=1+1", "\uff1d1+1", " =1+1", "|calc", "%0A=1", "a name")
        found = [imports.Conflict("failed", f"sub_{n}", text) for n, text in enumerate(typed)]
        with context.database.write() as connection:
            imports.note(connection, context.tenant.id, run.id, found)
        table = import_views.conflicts_csv(context, context.tenant.id, run.id)
        reasons = [row["reason"] for row in csv.DictReader(io.StringIO(table))]
        assert reasons == [f"'{text}" if text != "a name" else text for text in typed]
