"""Going live at a provider: our webhook endpoint, its secret in the vault, the prices against the catalog."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from keywright.domain.errors import Forbidden, Invalid
from keywright.domain.money import written
from keywright.flows import credentials
from keywright.flows.context import Context
from keywright.flows.credentials import Kinds
from keywright.ports import Endpoint, PriceSeen, ProviderSetup
from keywright.store import audit, catalog, tenants
from keywright.store.tenants import ProviderAccount

_KEYS: Final = {
    None: "once",
    "day": "daily",
    "week": "weekly",
    "month": "monthly",
    "quarter": "quarterly",
    "year": "yearly",
}


class MappedPrice(msgspec.Struct, frozen=True):
    """A price of the catalog. `differs`: in words, where provider and catalog disagree."""

    external_id: str
    plan: str
    key: str
    differs: str | None = None


class PriceMap(msgspec.Struct, frozen=True):
    """The provider's prices against the catalog. `unknown`: mapped, and not on sale at the provider.

    `lines`: the unmapped ones as lines of a catalog file.
    """

    mapped: tuple[MappedPrice, ...]
    unknown: tuple[MappedPrice, ...]
    lines: tuple[str, ...]


class Done(msgspec.Struct, frozen=True):
    """What a set-up did, and what a person has to do at the provider.

    `notes`: good to know. `left`: without it events are not believed, or do not come.
    """

    provider: str
    account: str
    live: bool
    url: str
    endpoint: str | None
    did: tuple[str, ...]
    by_hand: tuple[str, ...]
    notes: tuple[str, ...]
    left: tuple[str, ...]
    prices: PriceMap


class Wish(msgspec.Struct, frozen=True):
    """`given`: the environment has a webhook secret. `replace`: make a new endpoint in the place of the old.

    `keys`: credentials to keep in the vault, by kind. `by`, `why`: for the audit.
    """

    url: str
    kinds: Kinds
    given: bool = False
    replace: bool = False
    keys: tuple[tuple[str, str], ...] = ()
    by: str = "command line"
    why: str | None = None

    def __repr__(self) -> str:  # the credentials never reach a log
        return f"Wish({self.url!r}, ...)"


class _Report:
    """What is told at the end, as it comes up."""

    def __init__(self) -> None:
        self.did: list[str] = []
        self.notes: list[str] = []
        self.left: list[str] = []


def set_up(context: Context, setup: ProviderSetup, account: ProviderAccount, wish: Wish) -> Done:
    """Register our endpoint, keep its secret, compare the prices. Doing it again changes nothing.

    The provider is called before our row is written. A secret that is lost between the two cannot be asked
    for again; the next run finds an endpoint whose secret nobody has, and says so.

    Raises:
        Misconfigured, Forbidden, ProviderUnavailable, Invalid: as the provider's calls do. A key that may
            not see the account's name or its prices is no reason to stop.
        Invalid: the address is not https, which no provider would call.
    """
    if not context.policy.sandbox and not wish.url.startswith("https://"):
        raise Invalid(f"Providers call https addresses only, and {wish.url} is none. Set APP_BASE_URL.")
    told = _Report()
    whose = _whose(setup)
    if wish.keys:
        _keep(context, account, dict(wish.keys), wish)
        told.did.append("kept the credentials in the vault")
    by_hand = setup.clicks(wish.url)
    endpoint = None if by_hand else _endpoint(context, setup, account, wish, told)
    seen = _prices(setup, told)
    prices = compare_prices(context, account, seen) if seen is not None else PriceMap((), (), ())
    return Done(
        provider=account.provider,
        account=whose,
        live=account.live,
        url=wish.url,
        endpoint=endpoint.id if endpoint is not None else None,
        did=tuple(told.did),
        by_hand=by_hand,
        notes=tuple(told.notes),
        left=tuple(told.left),
        prices=prices,
    )


def _whose(setup: ProviderSetup) -> str:
    try:
        return setup.whose()
    except Forbidden:
        return "an account that this key may not name"


def _prices(setup: ProviderSetup, told: _Report) -> tuple[PriceSeen, ...] | None:
    try:
        return setup.list_prices()
    except Forbidden as error:
        told.notes.append(f"the prices cannot be compared: {error.detail}")
        return None


def endpoint_kind(provider: str) -> str:
    """The kind under which the vault knows whose secret it keeps."""
    return f"{provider}.endpoint"


def _endpoint(
    context: Context, setup: ProviderSetup, account: ProviderAccount, wish: Wish, told: _Report
) -> Endpoint:
    found = setup.list_endpoints(wish.url)
    with context.database.read() as connection:
        kept = credentials.find(connection, context.vault, account, endpoint_kind(account.provider))
    if wish.replace or not found:
        endpoint = _new(context, setup, account, wish, told)
        for old in found:
            setup.remove(old)
            told.did.append(f"removed the endpoint {old.id}")
        return endpoint
    known = next((one for one in found if one.id == kept), found[0])
    endpoint = known
    if known.lacks or known.differs:
        endpoint = setup.register(wish.url, known)
        if (endpoint.lacks, endpoint.differs) != (known.lacks, known.differs):
            told.did.append(f"gave the endpoint {known.id} exactly the events that are read")
    told.left += endpoint.lacks
    told.notes += [f"{note}; --replace makes a new endpoint" for note in endpoint.differs]
    told.notes += [f"{one.id} is at this address, too: events come twice" for one in found if one != known]
    _learn_secret(context, account, wish, endpoint, kept, told)
    return endpoint


def _learn_secret(
    context: Context,
    account: ProviderAccount,
    wish: Wish,
    endpoint: Endpoint,
    kept: str | None,
    told: _Report,
) -> None:
    """Keep the secret of an endpoint that we did not make, where the provider tells it."""
    name = setting_of(wish.kinds.secret)
    if kept == endpoint.id:
        return
    if endpoint.secret is not None:
        _remember(context, account, wish, endpoint, endpoint.secret)
        told.did.append(f"kept what tells the deliveries of {endpoint.id}")
    elif wish.given:
        told.notes.append(f"{name} is taken for the secret of {endpoint.id}; `provider test` says more")
    else:
        told.left.append(
            f"the secret of {endpoint.id} is not known here, and the provider tells it once only: set {name}"
            " to it, or make a new endpoint with --replace"
        )


def _new(
    context: Context, setup: ProviderSetup, account: ProviderAccount, wish: Wish, told: _Report
) -> Endpoint:
    endpoint = setup.register(wish.url, None)
    if endpoint.secret is None:
        raise Invalid("The provider made an endpoint and did not tell its secret. Remove it there.")
    _remember(context, account, wish, endpoint, endpoint.secret)
    told.did.append(f"made the endpoint {endpoint.id} and kept its secret in the vault")
    return endpoint


def setting_of(kind: str) -> str:
    """The environment's name of what the vault keeps under this kind."""
    return kind.replace(".", "_").upper()


def _remember(
    context: Context, account: ProviderAccount, wish: Wish, endpoint: Endpoint, secret: str
) -> None:
    kept = {wish.kinds.secret: secret, endpoint_kind(account.provider): endpoint.id}
    _keep(context, account, kept, wish)


def _keep(context: Context, account: ProviderAccount, secrets: dict[str, str], wish: Wish) -> None:
    with context.database.write() as connection:
        now = context.clock.now()
        credentials.keep(connection, context.vault, account, secrets, now)
        told = {"kinds": sorted(secrets), "live": account.live, **({"why": wish.why} if wish.why else {})}
        audit.append(connection, account.tenant_id, wish.by, "provider.set_up", account.id, told, now)
        tenants.changed(connection)
    context.shops.look_again()


def compare_prices(context: Context, account: ProviderAccount, seen: Iterable[PriceSeen]) -> PriceMap:
    """What of the provider's prices is in the catalog, what is not, and what the catalog has beyond them."""
    there = {price.external_id: price for price in seen}
    mapped, unknown = [], []
    with context.database.read() as connection:
        offers = catalog.list_offers(connection, account.tenant_id)
    for offer in offers:
        for price in offer.prices:
            if price.provider != account.provider or price.external_id is None:
                continue
            path = f"{offer.product.slug}/{offer.plan.slug}"
            found = there.pop(price.external_id, None)
            if found is None:
                unknown.append(MappedPrice(price.external_id, path, price.key))
                continue
            ours, theirs = _shown(price.amount, price.currency, price.interval), _of(found)
            differs = None if ours == theirs else f"the catalog says {ours}, the provider {theirs}"
            mapped.append(MappedPrice(price.external_id, path, price.key, differs))
    lines = tuple(_line(account.provider, price) for price in there.values())
    return PriceMap(tuple(mapped), tuple(unknown), lines)


def _of(price: PriceSeen) -> str:
    return _shown(price.amount, price.currency, price.interval)


def _shown(amount: int, currency: str, interval: str | None) -> str:
    return f"{written(amount, currency)}{f'/{interval}' if interval else ''}"


def _line(provider: str, price: PriceSeen) -> str:
    """A line for `prices = [...]` of a plan. A JSON string is a TOML string, too."""
    if price.interval not in _KEYS:
        return f"# {price.external_id} is paid every {price.interval}, which the catalog has no word for"
    members = {
        "key": _KEYS[price.interval],
        "provider": provider,
        "id": price.external_id,
        "amount": price.amount,
        "currency": price.currency,
    }
    if price.interval is not None:
        members["interval"] = price.interval
    told = ", ".join(f"{name} = {msgspec.json.encode(value).decode()}" for name, value in members.items())
    # Somebody typed the name; a comment ends with its line.
    name = "".join(sign for sign in price.name if sign.isprintable())[:60]
    return f"{{ {told} }},{f'  # {name}' if name else ''}"
