"""Connected accounts: a tenant sells through its own account, which the platform's keys speak for.

The account is made, its owner hands in what the provider asks for on the provider's own page, and comes back.
Coming back proves nothing: how the account stands is what the provider says, by its events or when it is
asked. No transaction is open while it is asked, and a step that was cut off is done again with the same key.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
import sqlalchemy as sa
import structlog

from keywright.connect_ports import AccountStanding, ConnectApi
from keywright.domain.errors import Conflict, Disconnected, Invalid, NotFound, Unsupported
from keywright.domain.fee import Fee, FeeRule, on_sale
from keywright.flows import credentials, standings
from keywright.flows.context import Channel, Context
from keywright.flows.operate import Act, told_of
from keywright.store import audit, catalog_rows, connected, fees, tenants
from keywright.store.connected import Connected, Told
from keywright.store.tenants import ProviderAccount, Tenant

log = structlog.get_logger(__name__)

CONNECT_PATH: Final = "/api/webhooks/stripe/connect"
# Where the events of connected accounts come to. A provider without such an address tells the platform's own.
CONNECT_PATHS: Final = {"stripe": CONNECT_PATH}
SECRET_KIND: Final = "stripe.connect_secret"  # noqa: S105  # what the vault calls it, and no secret


class Standing(msgspec.Struct, frozen=True):
    """How a tenant stands with the platform: its connected accounts, its fee, and where it could connect.

    `own_keys`: the providers that it sells through with keys of its own.
    """

    tenant: str
    name: str
    accounts: list[Connected]
    fee: FeeRule
    offered: list[str]
    own_keys: list[str]


# -- see, and connect -------------------------------------------------------------------------------------


def read(context: Context, tenant: str) -> Standing:
    """How it stands, as we know it. Raises NotFound."""
    own = context.of(tenant)
    with context.database.read() as connection:
        found = connected.list_of(connection, tenant)
        rule = fees.rule_of(connection, tenant)
    platform = context.shops.master.channels
    keyed = [name for name, one in own.channels.items() if one.api and not one.account.connected_by]
    return Standing(
        tenant=tenant,
        name=own.tenant.name,
        accounts=found,
        fee=rule,
        offered=[name for name, one in platform.items() if one.connect is not None],
        own_keys=keyed,
    )


def start(
    context: Context, tenant: str, provider: str, act: Act, *, refresh_url: str, return_url: str
) -> str:
    """The address of the provider's page where the account's owner hands in what it asks for.

    Makes the account when there is none, or the one there was has left; and the webhook endpoint for all
    connected accounts when it is the first. Safe to repeat: what was made is gone on with.

    Raises:
        NotFound: there is no such tenant.
        Unsupported: the platform has no keys for this provider, or this provider has no such thing.
        Conflict: OWN_KEYS, the tenant sells there with keys of its own.
        ProviderUnavailable, Misconfigured, Invalid.
    """
    seller, platform, api = _parties(context, tenant, provider)
    told = told_of(act, provider=provider)
    _listen(context, platform, api)
    account, known = _account(context, seller, platform)
    external = account.external_id
    if known is None or known.left_at is not None or external is None:
        # One key for each account that this tenant ever had: a repeat after a crash gets the same one.
        again = "" if known is None or known.left_at is None else f"-{int(known.left_at.timestamp())}"
        external = api.create(_email(context, seller), seller.id, f"{account.id}{again}")
        _connect(context, account, external, platform, told, act)
    return api.link(external, refresh_url=refresh_url, return_url=return_url)


def attach(context: Context, tenant: str, provider: str, external: str, act: Act) -> Connected:
    """Connect an account that was made at the provider's own pages, by the provider's name of it.

    Raises as `start`; Invalid for a name that the provider does not know; Conflict, ACCOUNT_TAKEN, for one
    that another tenant sells through, CONNECTED_ALREADY where the tenant sells through another one, and for a
    plan in two catalogs.
    """
    seller, platform, api = _parties(context, tenant, provider)
    told = told_of(act, provider=provider)
    _check_plans(context, tenant, platform)
    try:
        standing = api.look(external)
    except (Disconnected, NotFound):
        raise Invalid("The provider does not know this account.", code="ACCOUNT_UNKNOWN") from None
    account, known = _account(context, seller, platform)
    if known is not None and known.left_at is None and account.external_id != standing.account:
        # What is heard of an account that stands nowhere is nobody's: its renewals would be lost unsaid.
        detail = f"It sells through {account.external_id}. Disconnect that one first."
        raise Conflict(detail, code="CONNECTED_ALREADY")
    _connect(context, account, standing.account, platform, told, act)
    _take_part(context, tenant, api, standing.account)
    return _write(context, msgspec.structs.replace(account, connected_by=platform.account.id), standing)


def look(context: Context, tenant: str, provider: str) -> Connected:
    """Ask the provider how the account stands now, and write it down.

    Raises NotFound (NOT_CONNECTED) without a connected account; ProviderUnavailable, Misconfigured.
    """
    found = _get(context, tenant, provider)
    _, _, api = _parties(context, tenant, provider)
    if found.left_at is not None or found.account.external_id is None:
        return found
    try:
        standing = api.look(found.account.external_id)
    except Disconnected:
        with context.database.write() as connection:
            standings.left(context, connection, found.account, context.clock.now())
        context.shops.look_again()
        return _get(context, tenant, provider)
    if not found.sells:
        # It may have been cut off before: what sells without it sells without the platform's part.
        _take_part(context, tenant, api, standing.account)
    return _write(context, found.account, standing)


def disconnect(context: Context, tenant: str, provider: str, act: Act) -> Connected:
    """Sell nothing through this account any more. Licenses stay, and so does what is at the provider.

    Raises NotFound (NOT_CONNECTED), Invalid.
    """
    found = _get(context, tenant, provider)
    told = told_of(act, provider=provider, account=found.account.external_id)
    now = context.clock.now()
    with context.database.write() as connection:
        if connected.leave(connection, found.account.id, now):
            tenants.changed(connection)
            audit.append(connection, tenant, act.by, "connect.ended", found.account.id, told, now)
    context.shops.look_again()
    return _get(context, tenant, provider)


def set_fee(context: Context, tenant: str, rule: FeeRule, act: Act) -> FeeRule:
    """What the tenant's sales pay the platform from now on. Subscriptions that run go on as they were sold.

    Raises NotFound, Invalid; Invalid also for the master tenant, which pays itself nothing.
    """
    seller = context.of(tenant).tenant
    if seller.is_master:
        raise Invalid("The platform pays itself no fee.")
    with context.database.read() as connection:
        before = fees.rule_of(connection, tenant)
        accounts = connected.list_of(connection, tenant)
    told = told_of(act, before=msgspec.to_builtins(before), after=msgspec.to_builtins(rule))
    for one in accounts:
        api = _api_of(context, one.account.provider)
        if api is not None and one.left_at is None and one.account.external_id is not None:
            # First: a provider that keeps the part itself must not be asked for another one than we say.
            api.take_part(one.account.external_id, rule.basis_points)
    now = context.clock.now()
    with context.database.write() as connection:
        fees.put_rule(connection, tenant, rule, now)
        audit.append(connection, tenant, act.by, "connect.fee_set", tenant, told, now)
    return rule


# -- what a sale, or a refund, is to pay ------------------------------------------------------------------


def fee_of(
    context: Context, account: ProviderAccount, amount: int, currency: str, *, recurring: bool
) -> Fee | None:
    """The platform's fee on a sale through this account; None, without asking the database, for an account
    with keys of its own. `amount`: of one full charge, in ISO minor units."""
    if account.connected_by is None:
        return None
    with context.database.read() as connection:
        rule = fees.rule_of(connection, account.tenant_id)
    return on_sale(rule, amount, currency, recurring=recurring) or None


def gives_fee_back(context: Context, account: ProviderAccount) -> bool:
    """Whether a refund through this account takes the platform's fee with it."""
    if account.connected_by is None:
        return False
    with context.database.read() as connection:
        return fees.rule_of(connection, account.tenant_id).on_refund == "give_back"


# -- steps ------------------------------------------------------------------------------------------------


def _parties(context: Context, tenant: str, provider: str) -> tuple[Tenant, Channel, ConnectApi]:
    own = context.of(tenant)
    platform = context.shops.master.channels.get(provider)
    if platform is None or platform.connect is None:
        detail = "The platform has no keys for this provider, so nobody can sell through its account."
        raise Unsupported(detail, code="CONNECT_UNAVAILABLE")
    if own.tenant.is_master:
        raise Invalid("The platform sells through its own account: there is nothing to connect.")
    mine = own.channels.get(provider)
    if mine is not None and mine.api is not None and not mine.account.connected_by:
        detail = "This tenant sells there with keys of its own. Take them away first."
        raise Conflict(detail, code="OWN_KEYS")
    return own.tenant, platform, platform.connect


def _take_part(context: Context, tenant: str, api: ConnectApi, account: str) -> None:
    with context.database.read() as connection:
        rule = fees.rule_of(connection, tenant)
    api.take_part(account, rule.basis_points)


def _check_plans(context: Context, tenant: str, platform: Channel) -> None:
    """The shop may have been stocked before, with a plan that another tenant of the account sells."""
    account = platform.account
    if platform.whose is None:
        return
    with context.database.read() as connection:
        mine = catalog_rows.list_prices(connection, tenant)
        ids = [
            one.external_id
            for one in mine
            if one.provider == account.provider and one.external_id is not None and not one.retired
        ]
        held = catalog_rows.held_by_others(connection, tenant, account.id, account.provider, ids)
    if held:
        raise Conflict(
            f"Its catalog sells {', '.join(held[:5])}, and so does another one that sells through your"
            " account. A plan there belongs to one catalog."
        )


def _api_of(context: Context, provider: str) -> ConnectApi | None:
    platform = context.shops.master.channels.get(provider)
    return None if platform is None else platform.connect


def _listen(context: Context, platform: Channel, api: ConnectApi) -> None:
    """Have the events of connected accounts sent to us, where nothing is there to check them with yet."""
    if platform.connect_secrets():
        return
    try:
        made = api.register(f"{context.policy.base_url}{CONNECT_PATH}")
    except Unsupported:
        return  # they come to the platform's own endpoint
    now = context.clock.now()
    with context.database.write() as connection:
        credentials.keep(connection, context.vault, platform.account, {SECRET_KIND: made.secret}, now)
        tenants.changed(connection)
    context.shops.look_again()
    log.info("connect_endpoint_made", endpoint=made.id)


def _account(context: Context, seller: Tenant, platform: Channel) -> tuple[ProviderAccount, Connected | None]:
    """The tenant's provider account of the platform's mode, and its connection so far."""
    provider, live = platform.account.provider, platform.account.live
    with context.database.write() as connection:
        account = tenants.get_account(
            connection,
            seller.id,
            provider,
            live=live,
            new_id=context.new_id("pac"),
            now=context.clock.now(),
        )
        found = connected.list_of(connection, seller.id)
    return account, next((one for one in found if one.account.id == account.id), None)


def _connect(
    context: Context,
    account: ProviderAccount,
    external: str,
    platform: Channel,
    told: dict[str, Any],
    act: Act,
) -> None:
    now = context.clock.now()
    try:
        with context.database.write() as connection:
            connected.begin(connection, account, external, platform.account.id, now)
            tenants.changed(connection)
            told = {**told, "account": external}
            audit.append(connection, account.tenant_id, act.by, "connect.started", account.id, told, now)
    except sa.exc.IntegrityError:
        detail = "Another tenant sells through this account."
        raise Conflict(detail, code="ACCOUNT_TAKEN") from None
    context.shops.look_again()


def _email(context: Context, seller: Tenant) -> str | None:
    with context.database.read() as connection:
        row = tenants.find_row(connection, seller.id)
    return None if row is None else row.email


def _get(context: Context, tenant: str, provider: str) -> Connected:
    with context.database.read() as connection:
        found = connected.find(connection, tenant, provider)
    if found is None:
        raise NotFound("This tenant is not connected there.", code="NOT_CONNECTED")
    return found


def _write(context: Context, account: ProviderAccount, standing: AccountStanding) -> Connected:
    said = Told(
        account.id,
        standing.charges,
        standing.payouts,
        standing.submitted,
        standing.due,
        standing.disabled_reason,
        standing.seen_at,
    )
    with context.database.write() as connection:
        standings.tell(context, connection, account, [said])
    context.shops.look_again()
    return _get(context, account.tenant_id, account.provider)
