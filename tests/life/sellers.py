"""More tenants than the master: each with keys, a catalog and a provider of our own making."""

from __future__ import annotations

from dataclasses import dataclass, replace

from keywright.flows import catalog, catalog_file
from keywright.flows import tenants as tenants_flow
from keywright.flows.context import Context, new_id
from keywright.flows.shops import Shop, Shops
from keywright.store import tenants
from keywright.store.tenants import Tenant
from tests.life.payments import PayDesk

_CATALOG = """
[[product]]
slug = "{product}"
name = "{name}"
key_prefix = "{prefix}"
baseline = {{ limits = {{ jobs = 2 }} }}

[[product.plan]]
slug = "pro"
name = "{name} Pro"
portable_file = true

[[product.plan.prices]]
key = "monthly"
provider = "stripe"
id = "price_{product}_month"
amount = 700
currency = "EUR"
interval = "month"

[[product.plan]]
slug = "ever"
name = "{name} Ever"
term = "perpetual"
portable_file = true

[[product.plan.prices]]
key = "once"
provider = "stripe"
id = "price_{product}_once"
amount = 9000
currency = "EUR"
"""


@dataclass(frozen=True)
class Seller:
    """A tenant who sells `{product}/pro` by the month and `{product}/ever` once. `serving`: his context."""

    tenant: Tenant
    product: str
    desk: PayDesk
    home: Context

    @property
    def root(self) -> str:
        return f"/t/{self.tenant.slug}"

    @property
    def serving(self) -> Context:
        return self.home.of(self.tenant.id)


def with_sellers(context: Context, *names: str) -> tuple[Context, dict[str, Seller]]:
    """The context with one more tenant for each name, which is his slug and, in capitals, his name."""
    desks: dict[str, PayDesk] = {}
    original = context.channels["stripe"]

    def furnish(tenant: Tenant) -> Shop:
        with context.database.write() as connection:
            account = tenants.get_account(
                connection, tenant.id, "stripe", live=False, new_id=new_id("pac"), now=context.clock.now()
            )
            websites, returns = tenants.origins_of(connection, tenant.id)
        desk = desks.setdefault(tenant.id, PayDesk(context.clock))  # type: ignore[arg-type]  # it can be turned
        channel = replace(original, account=account, api=desk, billing=None)
        return Shop(
            tenant,
            {"stripe": channel},
            {},
            pay_origins=context.policy.pay_origins,
            return_origins=returns,
            website_origins=websites,
        )

    home = replace(context, shops=Shops(context.database, furnish, context.shops.master))
    sellers: dict[str, Seller] = {}
    for name in names:
        made = tenants_flow.create(home, f"{name.title()} Tools", name, by="test")
        tenant = Tenant(made.id, made.slug, made.name)
        product = f"{name}-saw"
        text = _CATALOG.format(product=product, name=f"{name.title()} Saw", prefix=name[:3].upper())
        catalog.apply(home, catalog_file.parse(text, source="test", environment={}), tenant=tenant)
        home.of(tenant.id)
        sellers[name] = Seller(tenant, product, desks[tenant.id], home)
    return home, sellers
