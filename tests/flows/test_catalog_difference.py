"""What a new catalog changes."""

from __future__ import annotations

from importlib.resources import files

import msgspec

from keywright.domain.plan import Terms
from keywright.flows.catalog_file import Catalog, Change, difference, parse, render

DAY = 86400
SAMPLE = files("keywright.cli").joinpath("sample_catalog.toml").read_text("utf-8")

PRODUCT = '[[product]]\nslug = "p"\nname = "P"\n'
PLAN = PRODUCT + '[[product.plan]]\nslug = "q"\nname = "Q"\n'
PRICED = PLAN + (
    "[[product.plan.prices]]\n"
    'key = "m"\nprovider = "stripe"\nid = "price_1"\namount = 1\ncurrency = "USD"\ninterval = "month"\n'
)


def read(text: str) -> Catalog:
    return parse(text, source="c.toml", environment={})


def test_a_first_catalog_is_all_additions_without_their_members() -> None:
    changes = difference(None, read(PRICED))
    assert [(change.kind, change.path, change.after) for change in changes] == [
        ("added", "p", '"P"'),
        ("added", "p/q", '"Q"'),
        ("added", "p/q.prices[m stripe USD month]", "1 USD"),
    ]


def test_changed_members() -> None:
    # One provider is enough here, and Paystack cannot do a trial.
    sample = "\n".join(line for line in SAMPLE.splitlines() if 'provider = "pay' not in line)
    old = read(sample)
    text = sample.replace('grace = "14d"\noffline = "7d"', 'grace = "21d"\noffline = "7d"\ntrial = "7d"')
    text = text.replace("projects = 100 }\nterm", "projects = 200, users = 5 }\nterm", 1)
    text = text.replace('key_prefix = "DC"', 'key_prefix = "DCX"').replace("projects = 3 }", "hosts = 1 }")
    text = text.replace(
        'moves = "5/30d"\nentitlements = ["export.pdf", "sync"]', 'entitlements = ["export.pdf"]'
    )
    text = text.replace("amount = 5000,", "amount = 6000,")
    assert difference(old, read(text)) == (
        Change("added", "dashcaddy.baseline.limits.hosts", None, "1"),
        Change("removed", "dashcaddy.baseline.limits.projects", "3", None),
        Change("changed", "dashcaddy.key_prefix", '"DC"', '"DCX"'),
        Change("changed", "dashcaddy/pro.entitlements", '["export.pdf", "sync"]', '["export.pdf"]'),
        Change("changed", "dashcaddy/pro.grace", '"14d"', '"21d"'),
        Change("changed", "dashcaddy/pro.limits.projects", "100", "200"),
        Change("added", "dashcaddy/pro.limits.users", None, "5"),
        Change("removed", "dashcaddy/pro.moves", '"5/30d"', None),
        Change("changed", "dashcaddy/pro.prices[monthly stripe USD month].amount", "5000", "6000"),
        Change("changed", "dashcaddy/pro.trial", '"0d"', '"7d"'),
    )


def test_the_way_back_is_the_mirror() -> None:
    old, new = read(SAMPLE), read(PRICED.replace('"p"', '"dashcaddy"'))
    mirror = {"added": "removed", "removed": "added", "changed": "changed"}
    there = [(mirror[c.kind], c.path, c.after, c.before) for c in difference(old, new)]
    assert there == [(c.kind, c.path, c.before, c.after) for c in difference(new, old)]
    assert len(there) > 5


def test_order_does_not_count() -> None:
    products = [PRODUCT, PRODUCT.replace('"p"', '"r"')]
    assert difference(read("".join(products)), read("".join(reversed(products)))) == ()


def test_every_member_of_terms_is_compared() -> None:
    plain = read(PLAN).products[0]
    rest: dict[str, object] = {
        "quantity": "keys", "seats_per_unit": 2, "max_activations": 3, "over_limit": "replace_oldest",
        "entitlements": ("a",), "limits": {"a": 1}, "term": "perpetual", "trial": DAY, "grace": 0,
        "slack": 0, "offline": DAY, "offline_file": DAY, "portable_file": True, "on_cancel": "now",
        "on_repurchase": "extend", "on_refund": "keep", "on_dispute": "keep", "seat_decrease": "now",
        "rebinds": 1, "floating": True, "checkout": 9 * DAY, "reclaim": 99 * DAY,
        "profile": "hmac", "moves": 1, "notices": Terms().notices[1:], "key_scheme": "acme",
    }  # fmt: skip
    with_another = {"moves_period", "rebinds_period", "grace_reminders", "trial_reminders"}
    assert {*rest, *with_another} == set(Terms.__struct_fields__)
    for name, value in rest.items():
        plan = msgspec.structs.replace(
            plain.plans[0], terms=msgspec.structs.replace(Terms(), **{name: value})
        )
        (change,) = difference(Catalog((plain,)), Catalog((msgspec.structs.replace(plain, plans=(plan,)),)))
        assert change.path.startswith(f"p/q.{name}")


def test_render() -> None:
    changes = (
        Change("added", "a/b", None, '"B"'),
        Change("changed", "a.name", '"A"', '"C"'),
        Change("removed", "a/c", '"C"', None),
    )
    assert render(changes) == '+ a/b: "B"\n~ a.name: "A" -> "C"\n- a/c: "C"'
    assert render(()) == "no changes"
