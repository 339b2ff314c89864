"""Which subscriptions of an import are tenants': by the e-mail address that the provider has of the buyer.

Only the master tenant's buyers are looked at, for tenants are its customers. An address that exactly one
tenant has makes the provider's customer that tenant; who is a tenant already stays the one he is. What stands
in the way is told, and nothing is guessed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final

import msgspec
import sqlalchemy as sa

from keywright.domain.email_address import folded
from keywright.domain.errors import Conflict as Refusal
from keywright.domain.facts import HolderSeen, Reading
from keywright.flows import tenant_seats
from keywright.flows.context import Context
from keywright.store import audit, tenant_customers, tenants
from keywright.store.imports import Conflict
from keywright.store.tenants import ProviderAccount

_KIND: Final = "tenant-unclear"
_DIFFERS: Final = "Its tenant_id names another tenant than its e-mail address"
_ANOTHERS: Final = "Its e-mail address is one tenant's, and it is another one's customer here"
_SEVERAL: Final = "{} tenants have its e-mail address"
_TAKEN: Final = "Its e-mail address is one tenant's, and it was bought for another one"
_FIX_ADDRESS: Final = "Give the tenants addresses of their own under Tenants, and import again"
_FIX_MARK: Final = "Correct tenant_id at the provider, or the tenant's address, and import again"


class Buyer(msgspec.Struct, frozen=True):
    """Whose a subscription is, as the provider tells. `claim`: the tenant that its metadata name."""

    subscription: str
    customer: str
    email: str
    claim: str | None


def buyers_of(
    readings: Iterable[Reading], emails: Mapping[str, str | None], known: frozenset[str]
) -> tuple[Buyer, ...]:
    """The buyers of subscriptions who have an address. `known`: those that are, or become, purchases."""
    found: dict[str, Buyer] = {}
    for reading in readings:
        held = [fact for fact in reading.facts if isinstance(fact, HolderSeen) and fact.customer]
        names = sorted({one.external_id for one in reading.aliases if one.kind == "subscription"} & known)
        for fact in held:
            email = emails.get(fact.customer or "")
            for name in names if email else ():
                before = found.get(name)
                claim = fact.tenant or (before.claim if before is not None else None)
                found[name] = Buyer(name, fact.customer or "", folded(email or ""), claim)
    return tuple(found[name] for name in sorted(found))


class Matches:
    """The tenants among the buyers of a page. Costs one statement where there are none."""

    def __init__(
        self, context: Context, connection: sa.Connection, account: ProviderAccount, buyers: Sequence[Buyer]
    ) -> None:
        self._context = context
        self._connection = connection
        self._account = account
        self.conflicts: list[Conflict] = []
        self._theirs: dict[str, str] = {}
        self._buyers = buyers if account.tenant_id == context.master.id else ()

    def pair(self, run: str, now: datetime) -> None:
        """Have each customer be the tenant that its address is of. Before the page is taken in, so that what
        its metadata say of that tenant is believed."""
        of_address = tenants.ids_by_email(self._connection, {one.email for one in self._buyers})
        met: dict[str, list[Buyer]] = {}
        for one in self._buyers:
            if one.email in of_address:
                met.setdefault(one.customer, []).append(one)
        known = tenant_customers.find_many(self._connection, self._account.id, met) if met else {}
        for customer, bought in sorted(met.items()):
            tenant = self._tenant_of(customer, bought, of_address[bought[0].email], known.get(customer))
            if tenant is None:
                continue
            self._theirs |= dict.fromkeys((one.subscription for one in bought), tenant)
            if customer not in known:
                self._map(customer, tenant, run, now)

    def _tenant_of(
        self, customer: str, bought: Sequence[Buyer], several: Sequence[str], known: str | None
    ) -> str | None:
        """The one tenant, or None with the reason told."""
        tenant, claims = several[0], {one.claim for one in bought if one.claim is not None}
        if len(several) > 1:
            if known is None:
                self._tell(customer, _SEVERAL.format(len(several)), _FIX_ADDRESS)
            return None
        if known not in (None, tenant):
            self._tell(customer, _ANOTHERS, _FIX_ADDRESS)
            return None
        if claims - {tenant}:
            self._tell(customer, _DIFFERS, _FIX_MARK)
            return None
        return tenant

    def _map(self, customer: str, tenant: str, run: str, now: datetime) -> None:
        account, master = self._account, self._context.master.id
        tenant_customers.insert(self._connection, master, account.id, customer, tenant, now)
        told = {"customer": customer, "import": run}
        audit.append(self._connection, master, "import", "tenant.customer_matched", tenant, told, now)

    def settle(self) -> frozenset[str]:
        """Give the tenants what they bought, after it was taken in, and as the last rows of all. Returns the
        subscriptions that were nobody's before. One whose tenant is still being made is left to that."""
        if not self._theirs:
            return frozenset()
        loose = tenant_customers.unclaimed(self._connection, self._account.id, self._theirs)
        for name, purchase in sorted(loose.items()):
            tenant = self._theirs[name]
            try:
                tenant_seats.settle_on(self._connection, self._account, purchase, tenant, 0)
            except Refusal:
                self._tell(name, _TAKEN, _FIX_MARK)
        return frozenset(loose)

    def _tell(self, about: str, reason: str, fix: str) -> None:
        self.conflicts.append(Conflict(_KIND, about, reason, fix))
