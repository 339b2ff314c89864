"""The catalog: make products, plans and prices agree with a file, and show them.

Nothing is ever deleted: licenses stand on plans and payments on prices. What is gone from the file is
retired: it is not on sale any more, and still means what it meant. An edit grants nothing again.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, Generic, TypeVar

import msgspec
import sqlalchemy as sa
import structlog

from keywright.domain.errors import Conflict
from keywright.domain.plan import Terms
from keywright.flows import intake
from keywright.flows.catalog_file import (
    Catalog,
    CatalogPlan,
    CatalogPrice,
    CatalogProduct,
    CatalogRefused,
    Change,
    difference,
)
from keywright.flows.context import Context
from keywright.store import audit, catalog_rows, key_schemes
from keywright.store.catalog import encode_terms
from keywright.store.catalog_rows import PlanRow, PriceRow, ProductRow
from keywright.store.tenants import Tenant

log = structlog.get_logger(__name__)

_MOST_TOLD: Final = 50
_decode_terms = msgspec.json.Decoder(Terms).decode
_encode = msgspec.json.Encoder(order="deterministic").encode


class Applied(msgspec.Struct, frozen=True):
    """What a file changed, or would change. `released`: parked events that new prices set free."""

    changes: tuple[Change, ...]
    released: int = 0


_R = TypeVar("_R", ProductRow, PlanRow, PriceRow)


class _Rows(Generic[_R]):
    """Rows of one table: those that were there, and what the file makes of them."""

    def __init__(self, known: Sequence[_R]) -> None:
        self.known: Sequence[_R] = known
        self.made: list[_R] = []
        self.changed: list[_R] = []
        self._kept = set[str]()

    def put(self, before: _R | None, after: _R) -> None:
        """The row as the file wants it. Writes nothing when it is so already."""
        self._kept.add(after.id)
        if before is None:
            self.made.append(after)
        elif before != after:
            self.changed.append(after)

    def retire_the_rest(self) -> None:
        for row in self.known:
            if row.id not in self._kept and not row.retired:
                self.changed.append(msgspec.structs.replace(row, retired=True))


def load(context: Context, tenant: Tenant | None = None) -> Catalog | None:
    """What is on sale now, as a file would say it. None when there is nothing."""
    with context.database.read() as connection:
        return _load(connection, (tenant or context.tenant).id)


def apply(
    context: Context,
    wanted: Catalog,
    *,
    tenant: Tenant | None = None,
    dry_run: bool = False,
    only: str | None = None,
    by: str = "command line",
    why: str | None = None,
) -> Applied:
    """Make the catalog agree with a file, in one transaction. `by`, `why`: for the audit.

    New prices apply the events that were parked for them, in the same transaction. Applying a file again
    changes nothing. A dry run writes nothing.

    Args:
        only: the `mark` of the changes that were looked at: nothing else is done.

    Raises:
        CatalogRefused: with every member that this release cannot keep, and every code that would change.
        Conflict: the catalog was changed meanwhile, so that these would not be the changes.
    """
    owner = tenant or context.tenant
    context = context.of(owner.id)
    with context.database.write() as connection:
        catalog_rows.lock_tenant(connection, owner.id)
        changes = difference(_load(connection, owner.id), wanted)
        editor = _Editor(context, connection, owner)
        editor.edit(wanted)
        if dry_run:
            return Applied(changes)
        if only is not None and mark(changes) != only:
            raise Conflict("The catalog was changed meanwhile. Look at the difference again.")
        editor.write()
        plans = [plan for product in wanted.products for plan in product.plans]
        for scheme in sorted({plan.terms.key_scheme for plan in plans if plan.terms.key_scheme}):
            key_schemes.use(connection, owner.id, scheme, context.clock.now())
        applied = Applied(changes, _release(context, connection, owner, editor.mapped))
        if changes:
            _audit(connection, owner.id, by, why, changes, context.clock.now())
    context.schemes.learn(context.database)
    return applied


def mark(changes: Sequence[Change]) -> str:
    """What tells one set of changes from another: SHA-256, hex."""
    return hashlib.sha256(msgspec.json.encode(changes)).hexdigest()


def _audit(
    connection: sa.Connection,
    tenant: str,
    by: str,
    why: str | None,
    changes: Sequence[Change],
    now: datetime,
) -> None:
    """What was changed, in short: a catalog of a thousand prices must not fill the audit."""
    kinds = Counter[str](change.kind for change in changes)
    lines = [f"{change.kind} {change.path}" for change in changes[:_MOST_TOLD]]
    told = {**kinds, "changes": lines, **({"why": why} if why else {})}
    audit.append(connection, tenant, by, "catalog.applied", "catalog", told, now)


def _load(connection: sa.Connection, tenant: str) -> Catalog | None:
    plans: dict[str, list[CatalogPlan]] = {}
    prices: dict[str, list[CatalogPrice]] = {}
    for x in catalog_rows.list_prices(connection, tenant):
        if not x.retired:
            shown = CatalogPrice(x.key, x.provider, x.external_id, x.amount, x.currency, x.interval)
            prices.setdefault(x.plan_id, []).append(shown)
    for p in catalog_rows.list_plans(connection, tenant):
        if not p.retired:
            plan = CatalogPlan(p.slug, p.name, p.code, _decode_terms(p.terms), tuple(prices.get(p.id, ())))
            plans.setdefault(p.product_id, []).append(plan)
    products = tuple(
        CatalogProduct(r.slug, r.name, r.key_prefix, r.code, _baseline(r), tuple(plans.get(r.id, ())))
        for r in catalog_rows.list_products(connection, tenant)
        if not r.retired
    )
    return Catalog(products) if products else None


def _baseline(row: ProductRow) -> dict[str, object]:
    """Members as the file's reader makes them: lists are tuples there."""
    stored: dict[str, Any] = msgspec.json.decode(row.baseline)
    return {name: tuple(value) if isinstance(value, list) else value for name, value in stored.items()}


class _Editor:
    """One edit of one tenant's catalog. Use once: `edit`, then `write`."""

    def __init__(self, context: Context, connection: sa.Connection, tenant: Tenant) -> None:
        self._new_id = context.new_id
        self._may_bind_firms = context.firm_secrets is not None
        self._connection = connection
        self._tenant = tenant.id
        self._products: _Rows[ProductRow] = _Rows(catalog_rows.list_products(connection, tenant.id))
        self._plans: _Rows[PlanRow] = _Rows(catalog_rows.list_plans(connection, tenant.id))
        self._prices: _Rows[PriceRow] = _Rows(catalog_rows.list_prices(connection, tenant.id))
        self._installed = context.schemes.installed
        self._shared = _shared_accounts(context)
        self._problems: list[str] = []
        self.mapped: list[CatalogPrice] = []
        """Prices that lead to a plan now and did not before."""

    def edit(self, wanted: Catalog) -> None:
        """Raises CatalogRefused."""
        for product in wanted.products:
            self._product(product)
        self._products.retire_the_rest()
        self._plans.retire_the_rest()
        self._prices.retire_the_rest()
        self._check_owners()
        if self._problems:
            raise CatalogRefused(tuple(self._problems))

    def write(self) -> None:
        catalog_rows.insert_products(self._connection, self._products.made)
        catalog_rows.update_products(self._connection, self._products.changed)
        catalog_rows.insert_plans(self._connection, self._plans.made)
        catalog_rows.update_plans(self._connection, self._plans.changed)
        catalog_rows.insert_prices(self._connection, self._prices.made)
        catalog_rows.update_prices(self._connection, self._prices.changed)

    def _product(self, wanted: CatalogProduct) -> None:
        known = next((p for p in self._products.known if p.slug == wanted.slug), None)
        self._check_code(wanted.slug, known, wanted.code)
        row = ProductRow(
            id=known.id if known is not None else self._new_id("prd"),
            tenant_id=self._tenant,
            slug=wanted.slug,
            name=wanted.name,
            key_prefix=wanted.key_prefix,
            code=wanted.code,
            baseline=_encode(wanted.baseline).decode(),
        )
        self._products.put(known, row)
        for plan in wanted.plans:
            self._plan(plan, row)

    def _plan(self, wanted: CatalogPlan, product: ProductRow) -> None:
        path = f"{product.slug}/{wanted.slug}"
        self._check_terms(path, wanted.terms)
        of_product = (p for p in self._plans.known if p.product_id == product.id)
        known = next((p for p in of_product if p.slug == wanted.slug), None)
        self._check_code(path, known, wanted.code)
        same = known is not None and _decode_terms(known.terms) == wanted.terms
        if known is None:
            id_, version = self._new_id("pln"), 1
        else:
            id_, version = known.id, known.version + (0 if same else 1)
        row = PlanRow(
            id=id_,
            tenant_id=self._tenant,
            product_id=product.id,
            slug=wanted.slug,
            name=wanted.name,
            code=wanted.code,
            version=version,
            # The text that says the same already stays, so that applying a file again writes nothing.
            terms=known.terms if known is not None and same else encode_terms(wanted.terms).decode(),
        )
        self._plans.put(known, row)
        for price in wanted.prices:
            self._price(price, row)

    def _price(self, wanted: CatalogPrice, plan: PlanRow) -> None:
        known = next((x for x in self._prices.known if _is_same(x, wanted, plan)), None)
        row = PriceRow(
            id=known.id if known is not None else self._new_id("pri"),
            tenant_id=self._tenant,
            plan_id=plan.id,
            provider=wanted.provider,
            key=wanted.key,
            external_id=wanted.external_id,
            amount=wanted.amount,
            currency=wanted.currency,
            interval=wanted.interval,
        )
        if known is None or known.plan_id != plan.id:
            self.mapped.append(wanted)
        self._prices.put(known, row)

    def _check_code(self, path: str, known: ProductRow | PlanRow | None, wanted: int | None) -> None:
        """Keys carry the code, and keys are out there. One may be given later, and then stays."""
        if known is not None and known.code is not None and known.code != wanted:
            self._problems.append(f"{path}: code is {known.code} and never changes")

    def _check_terms(self, path: str, terms: Terms) -> None:
        if terms.key_scheme is not None and terms.key_scheme not in self._installed:
            self._problems.append(f'{path}: no installed package offers key_scheme = "{terms.key_scheme}"')
        if terms.profile == "hmac" and not self._may_bind_firms:
            self._problems.append(f'{path}: profile = "hmac" needs LICENSE_SECRET in the environment')

    def _check_owners(self) -> None:
        """Where several tenants sell through one account, a plan there is one catalog's alone: else nobody
        could say whose a subscription to it is."""
        for provider, platform in self._shared.items():
            # What is on sale stays so: an older catalog must not be refused for what it always had.
            known = {one.external_id for one in self._prices.known if not one.retired}
            new = {one.external_id for one in (*self._prices.made, *self._prices.changed) if not one.retired}
            ids = sorted(id_ for id_ in new - known if id_ is not None)
            if not ids:
                continue
            # One after the other, so that two tenants cannot take the same one at the same moment.
            catalog_rows.lock_tenant(self._connection, platform)
            held = catalog_rows.held_by_others(self._connection, self._tenant, platform, provider, ids)
            self._problems += [
                f"{provider}: the price id {id_} is in another tenant's catalog, which sells through the same"
                " account"
                for id_ in held
            ]


def _shared_accounts(context: Context) -> dict[str, str]:
    """The platform's accounts, by provider, whose objects several tenants share."""
    found = {}
    for provider, channel in context.channels.items():
        platform = channel.account.connected_by or channel.account.id
        owner = context.find_channel(platform)
        if owner is not None and owner.whose is not None:
            found[provider] = platform
    return found


def _is_same(known: PriceRow, wanted: CatalogPrice, plan: PlanRow) -> bool:
    """Whether it is the same price: by the provider's id, and without one by all that names it here."""
    if known.provider != wanted.provider or known.external_id != wanted.external_id:
        return False
    named = (known.plan_id, known.key, known.currency, known.interval)
    return wanted.external_id is not None or named == (plan.id, wanted.key, wanted.currency, wanted.interval)


def _release(context: Context, connection: sa.Connection, tenant: Tenant, mapped: list[CatalogPrice]) -> int:
    """Apply the events that were parked for these prices."""
    released = 0
    for channel in context.channels.values():
        account = channel.account
        names = [
            ("price", price.external_id)
            for price in mapped
            if price.external_id is not None and price.provider == account.provider
        ]
        if account.tenant_id != tenant.id or not names:
            continue
        try:
            with connection.begin_nested():
                released += intake.release(context, connection, account, names, context.clock.now())
        except sa.exc.OperationalError:
            raise
        except Exception as error:  # noqa: BLE001  # one bad event must not keep the catalog from its prices
            # They stay parked, and the sweep tries each of them by itself.
            log.error("release_failed", error=intake.name_of(error))  # noqa: TRY400  # messages may quote what must not be logged
    return released
