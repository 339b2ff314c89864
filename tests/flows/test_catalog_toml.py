"""A catalog that is written as a file reads as the same catalog."""

from __future__ import annotations

from importlib.resources import files

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keywright.domain.plan import NOTICE_KINDS, Terms
from keywright.flows.catalog_file import Catalog, CatalogPlan, CatalogPrice, CatalogProduct, parse
from keywright.flows.catalog_toml import written

SAMPLE = files("keywright.cli").joinpath("sample_catalog.toml").read_text("utf-8")
FULL = """
[[product]]
slug = "every-thing"
name = "Every \\"thing\\" = [1] # 'ü' \\\\ 漢字"
key_prefix = "EV"
code = 7
key_scheme = "acme"
baseline = { entitlements = ["a.b", "c:d"], limits = { "x.y" = 3, z = 0 } }
[[product.plan]]
slug = "one"
name = "One"
code = 3
quantity = "keys"
seats_per_unit = 5
max_activations = 0
over_limit = "replace_oldest"
moves = "5/30d"
rebinds = "0/12h"
checkout = "30d"
reclaim = "400d"
entitlements = ["export.pdf", "sync"]
limits = { "a.b" = 1, c = 2147483647 }
trial = "14d"
grace = "0d"
slack = "0d"
offline = "25h"
offline_file = "1y"
portable_file = true
on_cancel = "now"
on_repurchase = "extend"
on_refund = "keep"
on_dispute = "keep"
seat_decrease = "now"
notices = { renewed = true, expired = false, trial_ending = ["5d", "1d"], grace_ending = true }
prices = [
  { key = "monthly", provider = "stripe", id = "p_1", amount = 5000, currency = "USD", interval = "month" },
  { key = "monthly", provider = "paypal", id = "P-1", amount = 0, currency = "JPY", interval = "month" },
]
[[product.plan]]
slug = "short"
name = "Short grace, and reminders as usual"
grace = "1d"
floating = true
notices = { grace_ending = false }
[[product.plan]]
slug = "fixed"
name = "Fixed"
term = "3y"
[[product]]
slug = "bare"
name = "Nothing to buy yet"
"""


def read(text: str) -> Catalog:
    return parse(text, source="test", environment={})


@pytest.mark.parametrize("text", [SAMPLE, FULL], ids=["sample", "full"])
def test_what_is_written_reads_the_same(text: str) -> None:
    catalog = read(text)
    again = written(catalog)
    assert read(again) == catalog
    assert written(read(again)) == again


def test_what_is_as_usual_is_left_out() -> None:
    plan = CatalogPlan("pro", "Pro", None, Terms(), ())
    text = written(Catalog((CatalogProduct("app", "App", "APP", None, {}, (plan,)),)))
    assert text.splitlines() == [
        *("[[product]]", 'slug = "app"', 'name = "App"', 'key_prefix = "APP"', ""),
        *("[[product.plan]]", 'slug = "pro"', 'name = "Pro"', 'quantity = "seats"'),
        *('term = "subscription"', 'grace = "14d"'),
    ]


HOURS = st.integers(1, 24 * 365 * 3).map(lambda hours: hours * 3600)
DAYS = st.integers(1, 80).map(lambda days: days * 86400)
NAMES = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=40).filter(
    lambda name: not name.startswith("$") and name.isprintable()
)
GRANTS = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,12}", fullmatch=True)
TERMS = st.builds(
    Terms,
    quantity=st.sampled_from(["seats", "keys"]),
    seats_per_unit=st.integers(1, 10000),
    max_activations=st.none() | st.integers(0, 99),
    moves=st.none() | st.integers(0, 99),
    moves_period=st.just(30 * 86400),
    rebinds=st.integers(0, 99),
    rebinds_period=HOURS,
    entitlements=st.lists(GRANTS, unique=True, max_size=4).map(tuple),
    limits=st.dictionaries(GRANTS, st.integers(0, 2**31 - 1), max_size=4),
    term=st.sampled_from(["subscription", "perpetual"]) | HOURS,
    grace=st.just(0) | HOURS,
    slack=HOURS,
    offline=HOURS,
    offline_file=HOURS,
    portable_file=st.booleans(),
    notices=st.sets(st.sampled_from(NOTICE_KINDS)).map(
        lambda kinds: tuple(kind for kind in NOTICE_KINDS if kind in kinds)
    ),
)


@given(terms=TERMS, name=NAMES, amount=st.integers(0, 2**53 - 1))
def test_any_plan_reads_the_same(terms: Terms, name: str, amount: int) -> None:
    price = CatalogPrice("once", "stripe", "price_1", amount, "USD", None)
    prices = (price,) if terms.term != "subscription" else (msgspec.structs.replace(price, interval="year"),)
    plan = CatalogPlan("pro", name, None, terms, prices)
    catalog = Catalog((CatalogProduct("app", name, "APP", None, {}, (plan,)),))
    assert read(written(catalog)) == catalog
