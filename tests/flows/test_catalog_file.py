"""The catalog file: what is read, what is refused and on which line, and what differs."""

from __future__ import annotations

from importlib.resources import files

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keywright.domain.errors import Invalid
from keywright.domain.plan import NOTICE_KINDS, Terms
from keywright.flows.catalog_file import (
    Catalog,
    CatalogPrice,
    CatalogRefused,
    difference,
    parse,
    show_notices,
)

DAY = 86400
SAMPLE = files("keywright.cli").joinpath("sample_catalog.toml").read_text("utf-8")

PRODUCT = '[[product]]\nslug = "p"\nname = "P"\n'
PLAN = PRODUCT + '[[product.plan]]\nslug = "q"\nname = "Q"\n'
MOVES = 'a number and a period such as "5/30d"'
STRIPE = 'key = "m", provider = "stripe", id = "price_1", amount = 1, currency = "USD"'


def read(text: str, **environment: str) -> Catalog:
    return parse(text, source="c.toml", environment=environment)


def refused(text: str, **environment: str) -> list[str]:
    with pytest.raises(CatalogRefused) as refusal:
        read(text, **environment)
    assert isinstance(refusal.value, Invalid)
    assert refusal.value.detail == "\n".join(refusal.value.problems)
    return [problem.removeprefix("c.toml:") for problem in refusal.value.problems]


def priced(*prices: str, plan: str = "") -> str:
    return PLAN + plan + "prices = [\n" + "".join(f"  {{ {price} }},\n" for price in prices) + "]\n"


class TestReading:
    def test_the_whole_of_a_plan(self) -> None:
        catalog = read(
            """
            [[product]]
            slug = "dashcaddy"
            name = "DashCaddy"
            key_prefix = "DC"
            code = 65535
            baseline = { limits = { projects = 3 }, entitlements = ["view"] }
            [[product.plan]]
            slug = "pro"
            name = "Pro"
            code = 255
            quantity = "keys"
            seats_per_unit = 2
            max_activations = 0
            over_limit = "replace_oldest"
            moves = "5/30d"
            entitlements = ["export.pdf"]
            limits = { projects = 100 }
            trial = "14d"
            grace = "12h"
            slack = "1h"
            offline = "3d"
            offline_file = "1y"
            portable_file = true
            on_cancel = "now"
            on_repurchase = "extend"
            on_refund = "keep"
            on_dispute = "keep"
            seat_decrease = "now"
            profile = "hmac"
            prices = [
  { key = "monthly", provider = "stripe", id = "$ID", interval = "month", amount = 5000, currency = "USD" },
            ]
            """,
            ID="price_123",
        )
        (product,) = catalog.products
        (plan,) = product.plans
        assert (product.slug, product.name, product.key_prefix, product.code) == (
            "dashcaddy",
            "DashCaddy",
            "DC",
            65535,
        )
        assert product.baseline == {"limits": {"projects": 3}, "entitlements": ("view",)}
        assert (plan.slug, plan.name, plan.code) == ("pro", "Pro", 255)
        assert plan.terms == Terms(
            quantity="keys",
            seats_per_unit=2,
            max_activations=0,
            over_limit="replace_oldest",
            moves=5,
            moves_period=30 * DAY,
            entitlements=("export.pdf",),
            limits={"projects": 100},
            term="subscription",
            trial=14 * DAY,
            grace=DAY // 2,
            slack=3600,
            offline=3 * DAY,
            offline_file=365 * DAY,
            portable_file=True,
            on_cancel="now",
            on_repurchase="extend",
            on_refund="keep",
            on_dispute="keep",
            seat_decrease="now",
            profile="hmac",
        )
        assert plan.prices == (CatalogPrice("monthly", "stripe", "price_123", 5000, "USD", "month"),)

    def test_defaults(self) -> None:
        (product,) = read(PLAN.replace('"p"', '"dash-caddy-for-teams"')).products
        assert (product.key_prefix, product.code, product.baseline) == ("DASHCADDYF", None, {})
        assert product.plans[0].terms == Terms()
        assert product.plans[0].prices == ()

    def test_the_sample_is_sound_and_needs_no_environment(self) -> None:
        (product,) = read(SAMPLE).products
        plans = {plan.slug: plan for plan in product.plans}
        assert plans["pro"].prices[0] == CatalogPrice(
            "monthly", "stripe", "price_demo_pro_monthly", 5000, "USD", "month"
        )
        assert plans["lifetime"].terms.term == "perpetual"
        assert plans["lifetime"].terms.max_activations == 1
        assert plans["team"].terms.quantity == "keys"
        assert "$" not in "".join(price.external_id or "" for plan in product.plans for price in plan.prices)

    @pytest.mark.parametrize(
        ("written", "term"), [("perpetual", "perpetual"), ("1y", 365 * DAY), ("30d", 30 * DAY)]
    )
    def test_terms_that_are_paid_once(self, written: str, term: str | int) -> None:
        text = priced(
            STRIPE,
            'key = "m", provider = "paypal", amount = 0, currency = "JPY"',
            plan=f'term = "{written}"\n',
        )
        (plan,) = read(text).products[0].plans
        assert plan.terms.term == term
        assert [price.interval for price in plan.prices] == [None, None]

    def test_sub_tables_say_the_same_as_inline_tables(self) -> None:
        inline = read(priced(f'{STRIPE}, interval = "month"', plan="limits = { a = 1 }\n"))
        long = (
            PLAN
            + "limits.a = 1\n[[product.plan.prices]]\n"
            + STRIPE.replace(", ", "\n")
            + '\ninterval = "month"\n'
        )
        assert read(long) == inline

    def test_windows_line_ends_and_a_byte_order_mark(self) -> None:
        assert read("\ufeff" + SAMPLE.replace("\n", "\r\n")) == read(SAMPLE)


class TestNotices:
    def test_the_usual_ones(self) -> None:
        (plan,) = read(PLAN).products[0].plans
        assert "renewed" not in plan.terms.notices
        assert set(plan.terms.notices) == set(NOTICE_KINDS) - {"renewed"}

    def test_switches_and_reminders(self) -> None:
        written = 'notices = { renewed = true, expired = false, grace_ending = ["12h", "5d"] }'
        (plan,) = read(PLAN + written).products[0].plans
        assert set(plan.terms.notices) == set(NOTICE_KINDS) - {"expired"}
        assert plan.terms.grace_reminders == (5 * DAY, DAY // 2)
        assert plan.terms.trial_reminders == Terms().trial_reminders

    def test_a_reminder_may_be_written_for_a_trial_that_the_provider_gives(self) -> None:
        (plan,) = read(PLAN + 'notices = { trial_ending = ["10d"] }').products[0].plans
        assert plan.terms.trial_reminders == (10 * DAY,)
        too_long = 'trial = "7d"\nnotices = { trial_ending = ["10d"] }'
        assert refused(PLAN + too_long) == [
            '8: trial_ending has "10d", which never goes out before the end of a trial of 7d'
        ]

    def test_what_is_shown_can_be_written(self) -> None:
        changed = 'notices = { renewed = true, trial_ending = false, grace_ending = ["5d"] }'
        terms = read(PLAN + changed).products[0].plans[0].terms
        members = ", ".join(f"{kind} = {said}" for kind, said in show_notices(terms).items())
        assert read(PLAN + f"notices = {{ {members} }}").products[0].plans[0].terms == terms


_DOTS_IN_4 = "4: a name has more than 32 dots"


class TestRefusals:
    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            ("", "1: no [[product]] in this file"),
            ("a =\n", "1: not TOML: Invalid value"),
            ("\n[[product", "2: not TOML: Expected ']]' at the end of an array declaration"),
            ("a = " + "[" * 3000, "1: the values are nested too deep"),
            ("\na = " + "9" * 5000, "2: a number is too long"),
            # 200,000 characters of it took the parser 15 GB.
            ("\na" + ".a" * 40 + " = 1", "2: a name has more than 32 dots"),
            ("[" + "'a.b' . " * 40 + "a]", "1: a name has more than 32 dots"),
            (
                'x = """\n' + "." * 40 + '\n\\"""" # ' + "." * 40 + "\ny = {a" + ".a" * 40 + " = 1}",
                _DOTS_IN_4,
            ),
            ("# " + "x" * 1024 * 1024, "1: the file is larger than 1 MiB"),
            ('[product]\nslug = "p"', "1: product must be an array of tables, not a table"),
            ("product = [1]", "1: product[0] must be a table, not a whole number"),
        ],
    )
    def test_the_document(self, text: str, problem: str) -> None:
        assert refused(text) == [problem]

    @pytest.mark.parametrize(
        ("member", "problem"),
        [
            ('key_prefix = "dc"', 'key_prefix must be 1 to 10 of A-Z and 0-9, not "dc"'),
            ('key_prefix = "ABCDEFGHIJK"', 'key_prefix must be 1 to 10 of A-Z and 0-9, not "ABCDEFGHIJK"'),
            ("code = 0", "code must be a whole number from 1 to 65535"),
            ("code = 65536", "code must be a whole number from 1 to 65535"),
            ("code = true", "code must be a whole number, not a boolean"),
            ("baseline = 1", "baseline must be a table, not a whole number"),
            ("baseline = { limit = {} }", 'unknown member "limit", did you mean limits?'),
            ("baseline = { limits = { a = -1 } }", "a must be a whole number from 0 to 2147483647"),
            ("baseline = { entitlements = [1] }", "entitlements[0] must be a text, not a whole number"),
            ('prefix = "DC"', 'unknown member "prefix", did you mean key_prefix?'),
            ('"\\u001b[2J" = 1', 'unknown member "\\u001b[2J"'),
        ],
    )
    def test_product_members(self, member: str, problem: str) -> None:
        assert refused(PRODUCT + member) == [f"4: {problem}"]

    @pytest.mark.parametrize(
        ("member", "problem"),
        [
            ("code = 256", "code must be a whole number from 1 to 255"),
            ('quantity = "seat"', 'quantity must be one of seats, keys, not "seat", did you mean seats?'),
            ("seats_per_unit = 0", "seats_per_unit must be a whole number from 1 to 10000"),
            ("max_activations = -1", "max_activations must be a whole number from 0 to 2147483647"),
            ("max_activations = 1.5", "max_activations must be a whole number, not a decimal number"),
            ('moves = "5"', f'moves must be {MOVES}, not "5"'),
            ('moves = "-1/30d"', f'moves must be {MOVES}, not "-1/30d"'),
            ("moves = 5", "moves must be a text, not a whole number"),
            (
                'moves = "5/0d"',
                f'moves must be {MOVES}, the period from "1h" to "100y", not "5/0d"',
            ),
            ('rebinds = "many"', f'rebinds must be {MOVES}, not "many"'),
            ('floating = "yes"', "floating must be true or false, not a text"),
            ('checkout = "36h"', 'checkout must be whole days, not "36h"'),
            ('checkout = "7d"', "checkout must be longer than offline, which is 7d for every machine"),
            ('reclaim = "30d"', "reclaim must be longer than offline_file, which is 30d"),
            ('reclaim = "7d"\noffline_file = "1d"', "reclaim must be longer than offline, which is 7d"),
            (
                'reclaim = "90d"\nfloating = true',
                "reclaim says nothing with floating = true: those seats return by themselves",
            ),
            ('entitlements = "a"', "entitlements must be an array of texts, not a text"),
            ('entitlements = ["a", "a"]', 'entitlements has "a" twice'),
            (
                'entitlements = ["a b"]',
                'entitlements[0] must be 1 to 100 of A-Z, a-z, 0-9, ., _, : and -, not "a b"',
            ),
            (
                f"entitlements = {[f'feature.number.{n:03}' for n in range(180)]}",
                "the plan's entitlements and limits take 3786 bytes as JSON, and a lease has room for 3500",
            ),
            (
                f"limits = {{ {', '.join(f'feature-number-{n:03} = 2147483647' for n in range(120))} }}",
                "the plan's entitlements and limits take 3846 bytes as JSON, and a lease has room for 3500",
            ),
            ("limits = { a = 2147483648 }", "a must be a whole number from 0 to 2147483647"),
            ("limits = { a = 1979-05-27 }", "a must be a whole number, not a date or time"),
            ('limits = { "a b" = 1 }', '"a b" in limits must be 1 to 100 of A-Z, a-z, 0-9, ., _, : and -'),
            ('grace = "2 weeks"', 'grace must be a duration such as "12h", "14d" or "1y", not "2 weeks"'),
            ('grace = "-1d"', 'grace must be a duration such as "12h", "14d" or "1y", not "-1d"'),
            ('grace = "101y"', 'grace must be from 0d to 100y, not "101y"'),
            ("grace = 14", "grace must be a text, not a whole number"),
            ('offline = "0d"', 'offline must be from 1h to 100y, not "0d"'),
            (
                'term = "monthly"',
                'term must be subscription, perpetual or a duration from "1h" to "100y", not "monthly"',
            ),
            ('trial = "36h"', 'trial must be whole days, not "36h"'),
            ('portable_file = "yes"', "portable_file must be true or false, not a text"),
            ('on_cancle = "now"', 'unknown member "on_cancle", did you mean on_cancel?'),
            ("prices = {}", "prices must be an array of tables, not a table"),
            ("notices = true", "notices must be a table, not a boolean"),
            ("notices = { renewed = 1 }", "renewed must be true or false, not a whole number"),
            ('notices = { expired = ["1d"] }', "expired must be true or false, not an array"),
            ("notices = { expird = true }", 'unknown member "expird", did you mean expired?'),
            ("notices = { grace_ending = [] }", "grace_ending is empty: write false for none"),
            (
                'notices = { grace_ending = "3d" }',
                "grace_ending must be true, false or an array of durations, not a text",
            ),
            ('notices = { grace_ending = ["1d", "24h"] }', 'grace_ending has "24h" twice'),
            (
                'notices = { trial_ending = ["91d"] }',
                'trial_ending must have durations such as "3d", from 1h to 90d, not "91d"',
            ),
            (
                'notices = { grace_ending = ["3d", "14d"] }',
                'grace_ending has "14d", which never goes out before the end of a grace of 14d',
            ),
        ],
    )
    def test_plan_members(self, member: str, problem: str) -> None:
        assert refused(PLAN + member) == [f"7: {problem}"]

    @pytest.mark.parametrize(
        ("change", "problem"),
        [
            (
                ('"stripe"', '"strip"'),
                'provider must be one of stripe, paystack, paypal, not "strip", did you mean stripe?',
            ),
            (("amount = 1", "amount = -1"), "amount must be a whole number from 0 to 9007199254740991"),
            (("amount = 1", "amount = 49.99"), "amount must be a whole number, not a decimal number"),
            (("amount = 1, ", ""), "amount is missing"),
            (('key = "m", ', ""), "key is missing"),
            (('provider = "stripe", ', ""), "provider is missing"),
            ((', currency = "USD"', ""), "currency is missing"),
            (('"USD"', '"usd"'), 'currency must be an ISO 4217 currency code in upper case, not "usd"'),
            (('"USD"', '"XXX"'), 'currency must be an ISO 4217 currency code in upper case, not "XXX"'),
            (
                ('"month"', '"monthly"'),
                'interval must be one of day, week, month, quarter, year, not "monthly", did you mean month?',
            ),
            (("interval", "intervall"), 'unknown member "intervall", did you mean interval?'),
            (("price_1", "price 1"), 'id must be a provider\'s id without spaces, not "price 1"'),
        ],
    )
    def test_price_members(self, change: tuple[str, str], problem: str) -> None:
        problems = refused(priced((STRIPE + ', interval = "month"').replace(*change)))
        assert f"8: {problem}" in problems

    def test_missing_names_stand_on_the_line_of_their_table(self) -> None:
        assert refused("# a\n[[product]]\n\n[[product.plan]]\n") == [
            "2: slug is missing",
            "2: name is missing",
            "4: slug is missing",
            "4: name is missing",
        ]

    @pytest.mark.parametrize("slug", ["", "-a", "A", "a_b", "a b", "é", "a" * 64])
    def test_slugs(self, slug: str) -> None:
        (problem,) = refused(PRODUCT.replace('"p"', f'"{slug}"'))
        assert problem.startswith("2: slug must be 1 to 63 of a-z, 0-9 and -")

    @pytest.mark.parametrize("name", ["", " ", "a\\nb", "a\\u202eb", "x" * 201])
    def test_names_that_would_spoil_a_page_or_a_mail_header(self, name: str) -> None:
        (problem,) = refused(PRODUCT.replace('"P"', f'"{name}"'))
        assert problem.startswith("3: name must be 1 to 200 printable characters")

    def test_duplicates_name_the_first_line(self) -> None:
        plan = '[[product.plan]]\nslug = "q"\nname = "Q"\ncode = 1\n'
        assert refused(PRODUCT + "code = 1\n" + plan + plan + PRODUCT + "code = 1\n") == [
            '10: the plan slug "q" is already used on line 6',
            "12: the plan code 1 is already used on line 8",
            '14: the product slug "p" is already used on line 2',
            "16: the product code 1 is already used on line 4",
        ]

    def test_plans_of_two_products_may_share_slugs_and_codes(self) -> None:
        plan = '[[product.plan]]\nslug = "q"\nname = "Q"\ncode = 1\n'
        catalog = read(PRODUCT + plan + PRODUCT.replace('"p"', '"p2"') + plan)
        assert [product.plans[0].code for product in catalog.products] == [1, 1]

    def test_duplicate_prices(self) -> None:
        price = STRIPE + ', interval = "month"'
        assert refused(priced(price, price)) == [
            '9: the price id "price_1" is already used on line 8',
            '9: the price key "m" with this provider, currency and interval is already used on line 8',
        ]
        other = price.replace("price_1", "price_2")
        for change in (('"m"', '"n"'), ("USD", "EUR"), ('"month"', '"year"')):
            assert len(read(priced(price, other.replace(*change))).products[0].plans[0].prices) == 2

    def test_all_problems_at_once_in_the_order_of_the_file(self) -> None:
        text = PRODUCT + "code = 0\ncolor = 1\n" + '[[product.plan]]\nslug = "Q"\ngrace = "x"\n'
        assert [problem.split(":")[0] for problem in refused(text)] == ["4", "5", "6", "7", "8"]


class TestContradictions:
    MONTHLY = STRIPE + ', interval = "month"'

    @pytest.mark.parametrize(
        ("plan", "price", "problem"),
        [
            ("", STRIPE, "9: interval is missing: a subscription is paid again and again"),
            (
                'term = "perpetual"',
                MONTHLY,
                '9: interval needs term = "subscription", the plan has "perpetual"',
            ),
            ('term = "1y"', MONTHLY, '9: interval needs term = "subscription", the plan has "1y"'),
            (
                'term = "perpetual"\ntrial = "14d"',
                STRIPE,
                '8: trial needs term = "subscription": nothing is charged when a trial of it ends',
            ),
            ('trial = "14d"', STRIPE, "9: interval is missing: a subscription is paid again and again"),
            (
                'trial = "14d"',
                MONTHLY.replace("stripe", "paystack"),
                '9: "paystack" cannot do the trial of this plan: leave out one of the two',
            ),
            (
                "",
                MONTHLY.replace('id = "price_1", ', ""),
                '9: id is missing: "stripe" is asked for this price by its id',
            ),
            (
                'term = "perpetual"',
                STRIPE.replace('id = "price_1", ', ""),
                '9: id is missing: "stripe" is asked for this price by its id',
            ),
            (
                'term = "perpetual"',
                STRIPE.replace("stripe", "paystack"),
                '9: a one-off purchase has no price id at "paystack": leave it out',
            ),
            (
                'term = "perpetual"',
                STRIPE.replace("stripe", "paypal"),
                '9: a one-off purchase has no price id at "paypal": leave it out',
            ),
            (
                "",
                MONTHLY.replace("stripe", "paypal").replace('id = "price_1", ', ""),
                '9: id is missing: "paypal" is asked for this price by its id',
            ),
        ],
    )
    def test_price_against_plan_and_provider(self, plan: str, price: str, problem: str) -> None:
        text = priced(price, plan=plan + "\n")
        assert refused(text) == [problem]

    def test_an_hmac_plan_needs_both_codes(self) -> None:
        hmac = 'profile = "hmac"\n'
        assert refused(PLAN + hmac) == [
            '7: profile = "hmac" needs a code in the product: the key carries it',
            '7: profile = "hmac" needs a code in the plan: the key carries it',
        ]
        coded = PLAN.replace('name = "P"', 'name = "P"\ncode = 1').replace(
            'name = "Q"', 'name = "Q"\ncode = 2'
        )
        assert read(coded + hmac).products[0].plans[0].terms.profile == "hmac"

    def test_a_bad_term_is_told_once_and_not_again_by_every_price(self) -> None:
        assert len(refused(priced(STRIPE, plan='term = "for ever"\n'))) == 1


class TestEnvironment:
    def test_any_text_may_come_from_it(self) -> None:
        text = '[[product]]\nslug = "$S"\nname = "$N"\n[[product.plan]]\nslug = "q"\nname = "Q"\n'
        text += 'grace = "$G"\nquantity = "$Q"\nentitlements = ["$E"]\n'
        (product,) = read(text, S="s", N="A name", G="1d", Q="keys", E="e").products
        assert (product.slug, product.name) == ("s", "A name")
        terms = product.plans[0].terms
        assert (terms.grace, terms.quantity, terms.entitlements) == (DAY, "keys", ("e",))

    def test_machines_that_come_and_go(self) -> None:
        members = 'rebinds = "1/90d"\ncheckout = "30d"\nreclaim = "90d"'
        (plan,) = read(PLAN + members).products[0].plans
        assert (plan.terms.rebinds, plan.terms.rebinds_period) == (1, 90 * DAY)
        assert (plan.terms.checkout, plan.terms.reclaim, plan.terms.floating) == (30 * DAY, 90 * DAY, False)
        (plan,) = read(PLAN + 'floating = true\nrebinds = "0/30d"').products[0].plans
        assert (plan.terms.floating, plan.terms.rebinds) == (True, 0)

    @pytest.mark.parametrize("environment", [{}, {"STRIPE_PRICE": ""}])
    def test_an_unset_variable_is_named(self, environment: dict[str, str]) -> None:
        text = priced((STRIPE + ', interval = "month"').replace("price_1", "$STRIPE_PRICE"))
        assert refused(text, **environment) == ["8: id: the environment variable STRIPE_PRICE is not set"]

    @pytest.mark.parametrize(
        "member",
        [
            "key_prefix",
            "plan.grace",
            "plan.trial",
            "plan.term",
            "plan.quantity",
            "plan.moves",
            "plan.profile",
        ],
    )
    def test_a_value_is_never_printed(self, member: str) -> None:
        start = PLAN if member.startswith("plan.") else PRODUCT
        name = member.removeprefix("plan.")
        (problem,) = refused(f'{start}{name} = "$SECRET"', SECRET="monthly sk_live_1 keys")
        assert "sk_live" not in problem
        assert '"$SECRET"' in problem
        assert "did you mean" not in problem

    def test_not_even_as_a_duplicate(self) -> None:
        price = (STRIPE + ', interval = "month"').replace("price_1", "$A").replace('"m"', '"$B"')
        problems = refused(priced(price, price), A="hidden_id", B="hidden-key")
        assert len(problems) == 2
        assert not [problem for problem in problems if "hidden" in problem]

    def test_a_dollar_elsewhere_is_a_dollar(self) -> None:
        assert read(PRODUCT.replace('"P"', '"$5 plan"')).products[0].name == "$5 plan"


class TestLines:
    def test_comments_strings_and_arrays_that_look_like_something_else(self) -> None:
        text = '''# slug = "no" [[product]]
[[product]] # one
slug = "p" # = [
name = "a = [ \\" # ]"
[[product.plan]]
slug = 'q'
name = """\\
  Q = 1"""
entitlements = [ # [[product]]
  "a", # "b",
  "b = c]",

  "[d",
]
prices = [
  # { key = "x" },
  { key = "m", provider = "stripe", id = "p = {", amount = 1,   currency = "USD", interval = "month" }, {
  key = "n" },
  { key = "o", color = [
    1 ], "amou\\u006et" = "1" },
]
"on cancel" = 1
'''
        text = text.replace(
            '{\n  key = "n" },', '{ key = "n" },'
        )  # TOML 1.0 keeps an inline table on one line
        problems = refused(text)
        assert (
            '11: entitlements[1] must be 1 to 100 of A-Z, a-z, 0-9, ., _, : and -, not "b = c]"' in problems
        )
        assert '13: entitlements[2] must be 1 to 100 of A-Z, a-z, 0-9, ., _, : and -, not "[d"' in problems
        assert '17: id must be a provider\'s id without spaces, not "p = {"' in problems
        assert "17: provider is missing" in problems
        assert '18: unknown member "color"' in problems
        assert "19: amount must be a whole number, not a text" in problems
        assert '21: unknown member "on cancel", did you mean on_cancel?' in problems

    def test_a_plan_after_a_sub_table_belongs_to_the_last_product(self) -> None:
        text = PLAN + "[product.plan.limits]\na = -1\n[[product.plan]]\n" + PRODUCT.replace('"p"', '"r"')
        text += "[product.baseline.limits]\nb = -1\n"
        assert [problem.split(":")[0] for problem in refused(text)] == ["8", "9", "9", "14"]


FRAGMENTS = st.sampled_from(
    [
        "[[product]]\n", "[[product.plan]]\n", "[product.plan]\n", "prices = [\n", "{ ", " }", "]\n", ", ",
        "\n", " = ", "slug", "name", "limits.", "baseline", "prices", "term", "grace", "trial", "moves",
        "code", "key", "id", '"', "'''", '"""', "\\", "#", '"$HOME"', '"5/30d"', '"1y"', '"p"', "1", "-1",
        "1e400", "nan", "true", "\r\n", "1979-05-27", '"perpetual"', '"month"', '"stripe"', "interval",
        "provider", "amount", "currency", '"USD"',
    ]
)  # fmt: skip
DOCUMENTS = st.one_of(
    st.text(st.characters(codec=None)),
    st.lists(FRAGMENTS, max_size=40).map("".join),
    st.tuples(st.integers(0, len(SAMPLE)), st.integers(0, 30), FRAGMENTS).map(
        lambda cut: SAMPLE[: cut[0]] + cut[2] + SAMPLE[cut[0] + cut[1] :]
    ),
)


@settings(max_examples=600, deadline=None)
@given(DOCUMENTS)
def test_any_text_is_a_catalog_or_is_refused_with_lines(text: str) -> None:
    try:
        catalog = parse(text, source="c", environment={"HOME": "hidden value"})
    except CatalogRefused as refusal:
        for problem in refusal.problems:
            source, line, message = problem.split(":", 2)
            assert source == "c"
            assert 1 <= int(line) <= text.count("\n") + 1
            assert message.isprintable()
            assert "hidden value" not in message
    else:
        assert catalog.products
        assert difference(catalog, catalog) == ()
