"""The catalog file: products, plans and prices from TOML, and what a new file changes.

Reading gathers every problem before it refuses, each with its line. `toml_table.py` knows how one member
is read; here are the members, and the rules that hold between them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Literal, NamedTuple

import msgspec

from keywright.domain.currencies import CURRENCIES
from keywright.domain.errors import Invalid
from keywright.domain.plan import NOTICE_KINDS, NoticeKind, Terms
from keywright.flows.toml_table import (
    ANY_TEXT,
    DAY,
    HOUR,
    LARGEST,
    LONGEST,
    Document,
    Rule,
    Table,
    quoted,
    read_duration,
    show_duration,
)

_SLUG = Rule(re.compile(r"[a-z0-9][a-z0-9-]{0,62}"), "1 to 63 of a-z, 0-9 and -, the first no -")
_KEY_PREFIX = Rule(re.compile(r"[A-Z0-9]{1,10}"), "1 to 10 of A-Z and 0-9")
_GRANT_NAME = Rule(
    re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,99}"), "1 to 100 of A-Z, a-z, 0-9, ., _, : and -"
)
_EXTERNAL_ID = Rule(re.compile(r"\S{1,255}"), "a provider's id without spaces")
_CURRENCY = Rule(
    re.compile("|".join(sorted(CURRENCIES))),
    "an ISO 4217 currency code in upper case",
    tuple(sorted(CURRENCIES)),
)
_BUDGET = Rule(re.compile(r"[0-9]{1,9}/[0-9]{1,7}[hdy]"), 'a number and a period such as "5/30d"')
_MOST_SEATS_EACH = 10_000  # times 100,000 of them at once is still a count that tokens and databases hold
_MOST = 2**31 - 1
_EARLIEST_REMINDER = 90 * DAY
# Of the 5.9 KB that fit into a token of 8 KB; the rest is for the longest firm, nonce and names there can be.
_LARGEST_GRANTS = 3500

_DEFAULT = Terms()
_QUANTITY: tuple[Literal["seats", "keys"], ...] = ("seats", "keys")
_OVER_LIMIT: tuple[Literal["refuse", "replace_oldest"], ...] = ("refuse", "replace_oldest")
_ON_CANCEL: tuple[Literal["paid_through", "now"], ...] = ("paid_through", "now")
_ON_REPURCHASE: tuple[Literal["new", "extend", "replace"], ...] = ("new", "extend", "replace")
_ON_REFUND: tuple[Literal["revoke", "keep"], ...] = ("revoke", "keep")
_ON_DISPUTE: tuple[Literal["suspend", "keep"], ...] = ("suspend", "keep")
_SEAT_DECREASE: tuple[Literal["period_end", "now"], ...] = ("period_end", "now")
_PROFILE: tuple[Literal["signed", "hmac"], ...] = ("signed", "hmac")
_PROVIDERS = ("stripe", "paystack", "paypal")
_INTERVALS = ("day", "week", "month", "quarter", "year")

# Paystack has no trial on a plan or a transaction: the first charge is the start.
_WITHOUT_TRIAL = ("paystack",)
# These have price ids for one-off purchases too; the others only for recurring ones.
_ALWAYS_WITH_ID = ("stripe",)


class CatalogRefused(Invalid):
    """`problems` has every problem of the file, each as `file:line: message`, in the order of the file."""

    code = "CATALOG_REFUSED"

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class CatalogPrice(msgspec.Struct, frozen=True):
    """`amount` in ISO 4217 minor units. `interval` None: a one-off purchase."""

    key: str
    provider: str
    external_id: str | None
    amount: int
    currency: str
    interval: str | None


class CatalogPlan(msgspec.Struct, frozen=True):
    slug: str
    name: str
    code: int | None
    terms: Terms
    prices: tuple[CatalogPrice, ...]


class CatalogProduct(msgspec.Struct, frozen=True):
    """`baseline` is what runs without a license: `entitlements` and `limits`, each only if written."""

    slug: str
    name: str
    key_prefix: str
    code: int | None
    baseline: dict[str, object]
    plans: tuple[CatalogPlan, ...]


class Catalog(msgspec.Struct, frozen=True):
    products: tuple[CatalogProduct, ...]


class Change(msgspec.Struct, frozen=True):
    """One difference. `path` is like `dashcaddy`, `dashcaddy/pro` or `dashcaddy/pro.grace`."""

    kind: Literal["added", "changed", "removed"]
    path: str
    before: str | None
    after: str | None


def parse(text: str, *, source: str, environment: Mapping[str, str]) -> Catalog:
    """Read a catalog.

    Args:
        text: TOML.
        source: the file's name, for messages.
        environment: where texts written as `"$NAME"` come from. Messages name the variable, never its value.

    Raises:
        CatalogRefused: with all problems at once.
    """
    document = Document(text, environment)
    products = tuple(_product(table) for table in document.root.tables("product"))
    document.root.finish()
    if not products and not document.problems():
        # An empty file is a download that failed or a wrong path; applied, it would take everything away.
        document.root.refuse("", "no [[product]] in this file")
    if problems := document.problems():
        raise CatalogRefused(tuple(f"{source}:{line}: {message}" for line, message in problems))
    return Catalog(products)


def _product(table: Table) -> CatalogProduct:
    slug = table.text("slug", _SLUG)
    table.once("slug", ("product", slug), f"the product slug {table.shown('slug')}")
    code = table.optional_whole("code", 1, 65535)
    if code is not None:
        table.once("code", ("product code", code), f"the product code {code}")
    # Without a prefix of its own a key starts with the slug: "dash-caddy" sells DASHCADDY-....
    prefix = table.text("key_prefix", _KEY_PREFIX, slug.replace("-", "").upper()[:10])
    key_scheme = table.optional_text("key_scheme", _SLUG)
    product = CatalogProduct(
        slug=slug,
        name=table.text("name", ANY_TEXT),
        key_prefix=prefix,
        code=code,
        baseline=_baseline(table.table("baseline")),
        plans=tuple(_plan(plan, table, key_scheme) for plan in table.tables("plan")),
    )
    table.finish()
    return product


def _baseline(table: Table | None) -> dict[str, object]:
    if table is None:
        return {}
    found: dict[str, object] = {
        "entitlements": table.texts("entitlements", _GRANT_NAME),
        "limits": table.numbers("limits", _GRANT_NAME),
    }
    table.finish()
    return {name: value for name, value in found.items() if table.has(name)}


def _plan(table: Table, product: Table, key_scheme: str | None) -> CatalogPlan:
    slug = table.text("slug", _SLUG)
    table.once("slug", (product.path, "plan", slug), f"the plan slug {table.shown('slug')}")
    code = table.optional_whole("code", 1, 255)
    if code is not None:
        table.once("code", (product.path, "plan code", code), f"the plan code {code}")
    name = table.text("name", ANY_TEXT)
    terms = msgspec.structs.replace(_terms(table), key_scheme=key_scheme)
    if terms.profile == "hmac" and key_scheme is not None:
        table.refuse("profile", 'profile = "hmac" has its own keys: leave out key_scheme in the product')
    for member, owner in (("product", product), ("plan", table)):
        if terms.profile == "hmac" and not owner.has("code"):
            table.refuse("profile", f'profile = "hmac" needs a code in the {member}: the key carries it')
    prices = tuple(_price(price, table, terms) for price in table.tables("prices"))
    table.finish()
    return CatalogPlan(slug=slug, name=name, code=code, terms=terms, prices=prices)


def _terms(table: Table) -> Terms:
    moves, moves_period = _budget(table, "moves", None, _DEFAULT.moves_period)
    rebinds, rebinds_period = _budget(table, "rebinds", _DEFAULT.rebinds, _DEFAULT.rebinds_period)
    grace = table.duration("grace", _DEFAULT.grace)
    trial = _trial(table, term := _term(table))
    notices, reminders = _notices(table, grace, trial)
    terms = Terms(
        quantity=table.choice("quantity", _QUANTITY, _DEFAULT.quantity),
        seats_per_unit=table.whole("seats_per_unit", 1, _MOST_SEATS_EACH, _DEFAULT.seats_per_unit),
        max_activations=table.optional_whole("max_activations", 0, _MOST),
        over_limit=table.choice("over_limit", _OVER_LIMIT, _DEFAULT.over_limit),
        moves=moves,
        moves_period=moves_period,
        rebinds=_DEFAULT.rebinds if rebinds is None else rebinds,
        rebinds_period=rebinds_period,
        floating=table.flag("floating", _DEFAULT.floating),
        checkout=table.duration("checkout", _DEFAULT.checkout),
        reclaim=table.duration("reclaim", _DEFAULT.reclaim),
        entitlements=table.texts("entitlements", _GRANT_NAME),
        limits=table.numbers("limits", _GRANT_NAME),
        term=term,
        trial=trial,
        grace=grace,
        slack=table.duration("slack", _DEFAULT.slack),
        offline=table.duration("offline", _DEFAULT.offline, HOUR),
        offline_file=table.duration("offline_file", _DEFAULT.offline_file, HOUR),
        portable_file=table.flag("portable_file", _DEFAULT.portable_file),
        on_cancel=table.choice("on_cancel", _ON_CANCEL, _DEFAULT.on_cancel),
        on_repurchase=table.choice("on_repurchase", _ON_REPURCHASE, _DEFAULT.on_repurchase),
        on_refund=table.choice("on_refund", _ON_REFUND, _DEFAULT.on_refund),
        on_dispute=table.choice("on_dispute", _ON_DISPUTE, _DEFAULT.on_dispute),
        seat_decrease=table.choice("seat_decrease", _SEAT_DECREASE, _DEFAULT.seat_decrease),
        profile=table.choice("profile", _PROFILE, _DEFAULT.profile),
        notices=notices,
        grace_reminders=reminders["grace_ending"],
        trial_reminders=reminders["trial_ending"],
    )
    _check_seats(table, terms)
    _check_size(table, terms)
    return terms


def _check_size(table: Table, terms: Terms) -> None:
    """Every lease carries them. With one that is too long no machine could be answered any more."""
    size = len(msgspec.json.encode((terms.entitlements, terms.limits)))
    if size > _LARGEST_GRANTS:
        member = "entitlements" if terms.entitlements else "limits"
        told = f"take {size} bytes as JSON, and a lease has room for {_LARGEST_GRANTS}"
        table.refuse(member, f"the plan's entitlements and limits {told}")


def _check_seats(table: Table, terms: Terms) -> None:
    """How long a machine may be away, against how long it may run without being heard of."""
    if terms.checkout and table.sound("checkout"):
        if terms.checkout % DAY:
            table.refuse("checkout", f"checkout must be whole days, not {table.shown('checkout')}")
        elif terms.checkout <= terms.offline:
            own = show_duration(terms.offline)
            table.refuse(
                "checkout", f"checkout must be longer than offline, which is {own} for every machine"
            )
    if not terms.reclaim or not table.sound("reclaim"):
        return
    longest = max(terms.offline, terms.offline_file)
    if terms.floating:
        table.refuse("reclaim", "reclaim says nothing with floating = true: those seats return by themselves")
    elif terms.reclaim <= longest:
        # A machine that is silent for this long may still run, and nobody else may have its place.
        member = "offline" if terms.offline == longest else "offline_file"
        table.refuse("reclaim", f"reclaim must be longer than {member}, which is {show_duration(longest)}")


def _notices(
    table: Table, grace: int, trial: int
) -> tuple[tuple[NoticeKind, ...], dict[str, tuple[int, ...]]]:
    """Which mails customers get, and when reminders go out. A kind that is not written stays as usual."""
    reminders = {"grace_ending": _DEFAULT.grace_reminders, "trial_ending": _DEFAULT.trial_reminders}
    written = table.table("notices")
    if written is None:
        return _DEFAULT.notices, reminders
    found: list[NoticeKind] = []
    for kind in NOTICE_KINDS:
        usual = kind in _DEFAULT.notices
        if kind not in reminders:
            is_on = written.flag(kind, usual)
        elif written.is_array(kind):
            is_on, reminders[kind] = (
                True,
                written.durations(kind, HOUR, _EARLIEST_REMINDER) or reminders[kind],
            )
        else:
            is_on = written.flag(kind, usual, "true, false or an array of durations")
        if is_on:
            found.append(kind)
    for kind, member, whole in (("grace_ending", "grace", grace), ("trial_ending", "trial", trial)):
        # A trial that is not written may still be given at the provider.
        if written.is_array(kind) and table.sound(member) and (table.has(member) or member == "grace"):
            _check_reminders(written, kind, reminders[kind], f"{member} of {show_duration(whole)}", whole)
    written.finish()
    return tuple(found), reminders


def _check_reminders(table: Table, kind: str, reminders: tuple[int, ...], of: str, whole: int) -> None:
    if table.sound(kind) and reminders[0] >= whole:
        longest = quoted(show_duration(reminders[0]))
        table.refuse(kind, f"{kind} has {longest}, which never goes out before the end of a {of}")


def _term(table: Table) -> Literal["subscription", "perpetual"] | int:
    text = table.text("term", ANY_TEXT, "subscription")
    if text == "subscription" or not table.sound("term"):
        return "subscription"
    if text == "perpetual":
        return "perpetual"
    seconds = read_duration(text)
    if seconds is not None and HOUR <= seconds <= LONGEST:
        return seconds
    wanted = f'subscription, perpetual or a duration from "1h" to "{show_duration(LONGEST)}"'
    table.refuse("term", f"term must be {wanted}, not {table.shown('term')}")
    return "subscription"


def _trial(table: Table, term: str | int) -> int:
    seconds = table.duration("trial", _DEFAULT.trial)
    if seconds % DAY:
        # Providers count trials in days; a shorter one would silently become none.
        table.refuse("trial", f"trial must be whole days, not {table.shown('trial')}")
    elif seconds and table.sound("term") and term != "subscription":
        table.refuse("trial", 'trial needs term = "subscription": nothing is charged when a trial of it ends')
    return seconds


def _budget(table: Table, name: str, count: int | None, period: int) -> tuple[int | None, int]:
    """How often something may be in how many seconds; as given where the member is not written."""
    text = table.optional_text(name, _BUDGET)
    if text is None:
        return count, period
    often, every = text.split("/")
    seconds = read_duration(every) or 0
    if not (int(often) <= _MOST and HOUR <= seconds <= LONGEST):
        wanted = f'{_BUDGET.wanted}, the period from "1h" to "100y"'
        table.refuse(name, f"{name} must be {wanted}, not {table.shown(name)}")
    return int(often), seconds


def _price(table: Table, plan: Table, terms: Terms) -> CatalogPrice:
    price = CatalogPrice(
        key=table.text("key", _SLUG),
        provider=table.choice("provider", _PROVIDERS),
        external_id=table.optional_text("id", _EXTERNAL_ID),
        amount=table.whole("amount", 0, LARGEST),
        currency=table.text("currency", _CURRENCY),
        interval=table.optional_choice("interval", _INTERVALS),
    )
    if price.external_id is not None and table.sound("provider"):
        table.once("id", ("price", price.provider, price.external_id), f"the price id {table.shown('id')}")
    if all(table.sound(name) for name in ("provider", "currency", "interval")):
        identity = (plan.path, price.key, price.provider, price.currency, price.interval)
        what = f"the price key {table.shown('key')} with this provider, currency and interval"
        table.once("key", identity, what)
    _check_price(table, plan, price, terms)
    table.finish()
    return price


def _check_price(table: Table, plan: Table, price: CatalogPrice, terms: Terms) -> None:
    """A price against its plan and its provider."""
    if not (table.sound("provider") and table.sound("interval") and plan.sound("term")):
        return
    provider, once = table.shown("provider"), price.interval is None
    if terms.trial and price.provider in _WITHOUT_TRIAL:
        table.refuse("provider", f"{provider} cannot do the trial of this plan: leave out one of the two")
    if once and terms.term == "subscription":
        table.refuse("interval", "interval is missing: a subscription is paid again and again")
        return
    if not once and terms.term != "subscription":
        table.refuse("interval", f'interval needs term = "subscription", the plan has {plan.shown("term")}')
        return
    if table.has("id"):
        if once and price.provider not in _ALWAYS_WITH_ID:
            table.refuse("id", f"a one-off purchase has no price id at {provider}: leave it out")
    elif not once or price.provider in _ALWAYS_WITH_ID:
        table.refuse("id", f"id is missing: {provider} is asked for this price by its id")


class _Row(NamedTuple):
    """One thing that can be compared. `owner` is the path of what it belongs to, "" when it stands alone."""

    place: tuple[str, ...]
    path: str
    owner: str
    text: str


def difference(old: Catalog | None, new: Catalog) -> tuple[Change, ...]:
    """What differs, sorted by product and plan. The order of things in a file does not count.

    A product, plan or price that is new or gone is one change; its members are not listed again.
    """
    before = {row.path: row for row in _rows(old)} if old is not None else {}
    after = {row.path: row for row in _rows(new)}
    changes = []
    for row in sorted({**before, **after}.values()):
        was, now = before.get(row.path), after.get(row.path)
        if row.owner and (row.owner not in before or row.owner not in after):
            continue
        if was is None:
            changes.append(Change("added", row.path, None, row.text))
        elif now is None:
            changes.append(Change("removed", row.path, row.text, None))
        elif row.owner and was.text != now.text:
            changes.append(Change("changed", row.path, was.text, now.text))
    return tuple(changes)


def render(changes: tuple[Change, ...]) -> str:
    """The changes for people, one a line, without a newline at the end."""
    if not changes:
        return "no changes"
    lines = []
    for change in changes:
        if change.kind == "changed":
            lines.append(f"~ {change.path}: {change.before} -> {change.after}")
        else:
            sign = "+" if change.kind == "added" else "-"
            lines.append(f"{sign} {change.path}: {change.before or change.after}")
    return "\n".join(lines)


def _rows(catalog: Catalog) -> Iterator[_Row]:
    for product in catalog.products:
        place = (product.slug,)
        yield _Row(place, product.slug, "", quoted(product.name))
        members = {"name": product.name, "key_prefix": product.key_prefix, "code": product.code}
        baseline = {f"baseline.{name}": value for name, value in product.baseline.items()}
        yield from _members(place, product.slug, {**members, **baseline})
        for plan in product.plans:
            yield from _plan_rows(plan, product.slug)


def _plan_rows(plan: CatalogPlan, product: str) -> Iterator[_Row]:
    place, path = (product, plan.slug), f"{product}/{plan.slug}"
    yield _Row(place, path, "", quoted(plan.name))
    terms: dict[str, object] = msgspec.structs.asdict(plan.terms)
    for name in ("trial", "grace", "slack", "offline", "offline_file", "checkout", "reclaim"):
        terms[name] = show_duration(getattr(plan.terms, name))
    if isinstance(plan.terms.term, int):
        terms["term"] = show_duration(plan.terms.term)
    for name in ("moves", "rebinds"):
        often, period = terms[name], show_duration(getattr(plan.terms, f"{name}_period"))
        terms[name] = None if often is None else f"{often}/{period}"
        del terms[f"{name}_period"]
    del terms["grace_reminders"], terms["trial_reminders"]
    terms["notices"] = show_notices(plan.terms)
    yield from _members(place, path, {"name": plan.name, "code": plan.code, **terms})
    for price in plan.prices:
        words = (price.key, price.provider, price.currency, price.interval or "one-off")
        inner = f"{path}.prices[{' '.join(words)}]"
        yield _Row(place, inner, "", f"{price.amount} {price.currency}")
        yield from _members(place, inner, {"id": price.external_id, "amount": price.amount})


def show_notices(terms: Terms) -> dict[str, str]:
    """The mails of a plan as the file would write them: kind -> `true`, `false` or the reminders."""
    shown: dict[str, str] = {kind: str(kind in terms.notices).lower() for kind in NOTICE_KINDS}
    reminders = {"grace_ending": terms.grace_reminders, "trial_ending": terms.trial_reminders}
    for kind, durations in reminders.items():
        if shown[kind] == "true":
            shown[kind] = json.dumps([show_duration(seconds) for seconds in durations])
    return shown


def _members(place: tuple[str, ...], owner: str, members: Mapping[str, object]) -> Iterator[_Row]:
    """Members as the file would write them; what is not set has no row."""
    for name, value in members.items():
        path = f"{owner}.{name}"
        if isinstance(value, Mapping):
            yield from (_Row(place, f"{path}.{key}", owner, str(number)) for key, number in value.items())
        elif isinstance(value, tuple):
            if value:
                yield _Row(place, path, owner, json.dumps(sorted(value)))
        elif isinstance(value, str):
            yield _Row(place, path, owner, quoted(value))
        elif value is not None:
            yield _Row(place, path, owner, str(value).lower())
