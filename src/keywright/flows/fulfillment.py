"""Fulfillment: facts become purchases, purchases become licenses. One pass inside the caller's transaction.

Load, absorb, grant, write: each step is set-based, so a pass is a handful of statements however many events
are in it. Rows are written sorted by key, in the order purchase, license, timeline, by every writer.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

import msgspec
import sqlalchemy as sa

from keywright.domain import purchase
from keywright.domain.facts import (
    Alias,
    CheckoutSeen,
    HolderSeen,
    Reading,
    Refetch,
)
from keywright.domain.grant import worth
from keywright.domain.license import License
from keywright.domain.plan import Plan
from keywright.domain.purchase import Purchase
from keywright.flows import claims, devices
from keywright.flows.context import Context
from keywright.flows.drafts import Draft, holder_of, move_licenses
from keywright.flows.fitting import is_elsewhere, is_exact, is_of_order, is_tie, transaction_of
from keywright.flows.issuing import Bringing, Changed, Granted, Issuing
from keywright.flows.standings import Aside
from keywright.flows.tenant_seats import ForTenants
from keywright.store import (
    announcements,
    catalog,
    checkouts,
    customers,
    imports,
    licenses,
    personal_data,
    purchases,
    revenue,
)
from keywright.store.checkouts import Checkout
from keywright.store.customers import Customer
from keywright.store.purchases import StoredPurchase
from keywright.store.rows import micros
from keywright.store.tenants import ProviderAccount

# Parked for something that no answer of the provider's would bring.
_UNASKED = ("PRICE_UNMAPPED", "TENANT_PENDING", imports.WAITING, claims.ELSEWHERE)

OutcomeName = Literal["applied", "accepted", "parked", "duplicate", "ignored"]


class Outcome(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of an event. `waits` names what a parked event waits for.

    `changed`: a license was made or changed by the pass that the event was in.
    """

    outcome: OutcomeName
    reason: str | None = None
    waits: tuple[tuple[str, str], ...] = ()
    changed: bool = False


class Work(msgspec.Struct, frozen=True):
    """One event to fulfill. `answered`: what it had us fetch is here."""

    inbox_id: str
    event: str
    reading: Reading
    answered: bool = False


class Fulfillment:
    """One pass for one provider account. Use once: `outcomes = Fulfillment(...).run(works)`."""

    def __init__(
        self,
        context: Context,
        connection: sa.Connection,
        account: ProviderAccount,
        now: datetime,
        bringing: Bringing | None = None,
    ) -> None:
        self._bringing = bringing
        self._importing: bool | None = None
        self.context = context
        self.connection = connection
        self.account = account
        self.now = now
        self.batch = context.new_id("bat")
        self.owes = False
        self.changes: list[Changed] = []
        self.wanted: set[Refetch] = set()
        self.new_aliases: list[Alias] = []
        self._drafts: dict[str, Draft] = {}
        self._by_alias: dict[Alias, str] = {}
        self._orders: dict[str, Checkout] = {}
        self._plans: dict[str, Plan] = {}
        self._checkout_changes: dict[str, dict[str, Any]] = {}
        self._told: dict[str, HolderSeen] = {}
        self._met: list[tuple[Work, Draft]] = []
        self._into: dict[str, Draft] = {}
        self._aside = Aside(context, connection, account)
        self._for_tenants = ForTenants(connection, account)
        self._claims = claims.Claims(connection, account)

    def run(self, works: Sequence[Work]) -> dict[str, Outcome]:
        self._load(works)
        outcomes = {work.inbox_id: self._absorb(work) for work in works}
        changed = [
            d
            for d in self._drafts.values()
            if d.state is not d.before or d.absorbed or d.superseded or d.stored is None
        ]
        if changed:
            held = licenses.of_purchases(self.connection, [d.id for d in changed if d.stored is not None])
            for draft in changed:
                move_licenses(draft, held)
            self._attach_customers(changed)
            self._for_tenants.know(changed, self._plans)
            self._write_purchases(changed)
            self._write_licenses(changed, held)
            # Last of all rows, because others may wait for it.
            revenue.book(self.connection, self.account, [(d.before, d.state) for d in changed])
            self._for_tenants.write()
        checkouts.settle(self.connection, list(self._checkout_changes.values()))
        self._write_links()
        personal_data.keep_erased(self.connection, [(w.inbox_id, self._final(d).state) for w, d in self._met])
        self._tell_customers()
        self._aside.write()
        doubted = [w for w, d in self._met if self._for_tenants.doubts(self._final(d).id, w.reading)]
        return outcomes | {w.inbox_id: Outcome("applied", "TENANT_NOT_BELIEVED") for w in doubted}

    # -- load ---------------------------------------------------------------------------------------

    def _load(self, works: Sequence[Work]) -> None:
        aliases = sorted({alias for work in works for alias in work.reading.aliases})
        met = purchases.meet(self.connection, self.account.id, aliases)
        self._by_alias, stored = met.links, met.found
        self._drafts = {id_: Draft(id_, one) for id_, one in stored.items()}
        references = {
            work.reading.reference for work in works if work.reading.reference and self._needs_order(work)
        }
        self._orders = checkouts.find_many(
            self.connection, self.account.tenant_id, sorted(r for r in references if r)
        )
        self._claims.look(aliases, met.claimed, {r for r in references if r} - self._orders.keys())
        prices = {price for work in works for price in work.reading.prices}
        prices |= {order.price for order in self._orders.values()}
        for one in stored.values():
            prices |= purchase.prices_of(one.state)
        self._plans = catalog.plans_by_price(
            self.connection, self.account.tenant_id, self.account.provider, prices
        )

    def _needs_order(self, work: Work) -> bool:
        """Whether our own checkout has something to add: the order, a status to be told, an amount."""
        known = Alias("reference", work.reading.reference or "") in self._by_alias
        return not known or work.reading.exact or any(map(is_of_order, work.reading.facts))

    # -- absorb -------------------------------------------------------------------------------------

    def _absorb(self, work: Work) -> Outcome:
        early = self._without_purchase(work)
        if early is not None:
            return early
        reading = self._ours(work.reading)
        order = self._orders.get(reading.reference or "")
        met = sorted({self._by_alias[alias] for alias in reading.aliases if alias in self._by_alias})
        refusal = self._pending(met) or self._answered(work, met) or self._expired(reading, order, met)
        refusal = refusal or self._why_parked(reading, order, met)
        if refusal is not None:
            # No answer maps a price: asking would only park the answer, too, with every look at the event.
            if refusal.outcome == "parked" and refusal.reason not in _UNASKED:
                self.wanted.update(reading.fallback)
            return refusal
        draft = self._meet(met)
        draft.event = work.event
        self._met.append((work, draft))
        if is_tie(draft.state.subscription, reading.facts):
            self.wanted.update(reading.fallback)
        self._tell(draft, reading, order)
        for alias in reading.aliases:
            if alias not in self._by_alias:
                self._by_alias[alias] = draft.id
                self.new_aliases.append(alias)
        return Outcome("applied", self._claims.note(reading))

    def _tell(self, draft: Draft, reading: Reading, order: Checkout | None) -> None:
        if order is not None:
            draft.state = purchase.absorb(draft.state, checkouts.ordered_by(order))
            draft.language = draft.language or order.language
        for fact in reading.facts:
            draft.state = purchase.absorb(draft.state, fact)
            if isinstance(fact, CheckoutSeen) and order is not None:
                self._tell_checkout(order, fact, draft)

    def _without_purchase(self, work: Work) -> Outcome | None:
        """What is about a customer only, or proves nothing until the provider was asked."""
        reading = work.reading
        news = self._aside.hear(reading)
        if news is not None:
            return Outcome("applied") if news else Outcome("ignored", "NOTHING_NEW")
        if reading.person is not None:
            return self._hear_of(reading.person)
        if reading.refetches and not work.answered:
            self.wanted.update(reading.refetches)
            if not reading.facts:
                return Outcome("accepted", "ASKING", waits_of(reading.refetches))
        return None

    def _pending(self, met: Sequence[str]) -> Outcome | None:
        """The tenant that it was bought for is still being made: the last step of that applies it.

        Not what an import brings: the key that the customer has comes along now, or never.
        """
        if self._bringing is not None:
            return None
        for id_ in met:
            if (work := self._drafts[id_].awaits) is not None:
                return Outcome("parked", "TENANT_PENDING", (("tenant", work),))
        return None

    def _answered(self, work: Work, met: Sequence[str]) -> Outcome | None:
        """It proved nothing by itself, and what it had us fetch has been taken in."""
        if not work.answered or work.reading.facts:
            return None
        if met:
            self._met.append((work, self._drafts[met[0]]))
        return Outcome("applied")

    def _ours(self, reading: Reading) -> Reading:
        """The reading, without a reference that belongs to another session.

        Otherwise a cheap payment that names the checkout of an expensive plan would buy it.
        """
        order = self._orders.get(reading.reference or "")
        if order is None or order.session is None or not is_elsewhere(reading, order):
            return reading
        aliases = tuple(alias for alias in reading.aliases if alias.kind != "reference")
        return msgspec.structs.replace(reading, aliases=aliases, reference=None)

    def _expired(self, reading: Reading, order: Checkout | None, met: Sequence[str]) -> Outcome | None:
        """A checkout that ended without a purchase: a status to write, and nothing to wait for."""
        ended = [f for f in reading.facts if isinstance(f, CheckoutSeen) and f.state == "expired"]
        if met or reading.founds or not ended:
            return None
        if order is None:
            return Outcome("ignored", "CHECKOUT_UNKNOWN")
        if order.status == "open":
            self._checkout_changes[order.reference] = {
                "reference": order.reference,
                "status": "expired",
                "purchase_id": order.purchase_id,
                "settled_at": micros(order.settled_at),
            }
        return Outcome("applied")

    def _why_parked(self, reading: Reading, order: Checkout | None, met: Sequence[str]) -> Outcome | None:
        if not met and not reading.founds:
            waits = tuple((alias.kind, alias.external_id) for alias in reading.aliases)
            return Outcome("parked", "WAITING_FOR_PURCHASE", waits)
        if not met and order is None and self._is_to_be_imported(reading):
            waits = tuple((a.kind, a.external_id) for a in reading.aliases if a.kind == "subscription")
            return Outcome("parked", imports.WAITING, waits)
        known = set(reading.prices) | ({order.price} if order is not None else set())
        if known.isdisjoint(self._plans):  # as a rule what an event names is for sale, and this costs
            for id_ in met:
                known |= purchase.prices_of(self._drafts[id_].state)
        alien = reading.custom and order is None and not met
        if alien or (reading.exact and order is not None and not is_exact(reading, order)):
            return Outcome("parked", "AMOUNT_MISMATCH")
        if known and known.isdisjoint(self._plans):
            return Outcome("parked", "PRICE_UNMAPPED", tuple(("price", price) for price in sorted(known)))
        if not known and not any(alias.kind == "subscription" for alias in reading.aliases):
            waits = tuple((alias.kind, alias.external_id) for alias in reading.aliases)
            return Outcome("parked", "ORDER_UNKNOWN", waits)
        if not met and (claimed := self._claims.note(reading)):
            return Outcome("parked", claimed)
        return None

    def _is_to_be_imported(self, reading: Reading) -> bool:
        """Whether an import is about to meet this subscription: it brings the key that the customer has.

        Asked at most once a pass, and only for a subscription that nobody bought here.
        """
        if self._bringing is not None or all(alias.kind != "subscription" for alias in reading.aliases):
            return False
        if self._importing is None:
            self._importing = imports.is_running(self.connection, self.account.id, self.now)
        return self._importing

    def _meet(self, met: Sequence[str]) -> Draft:
        """The purchase an event belongs to: the one it meets, a new one, or several made one."""
        if not met:
            draft = Draft(self.context.new_id("pur"), None)
            self._drafts[draft.id] = draft
            return draft
        # Ids sort by time: the older purchase wins, and with it the older license.
        draft = self._drafts[met[0]]
        for id_ in met[1:]:
            self._fold(self._drafts[id_], draft)
        return draft

    def _fold(self, younger: Draft, older: Draft) -> None:
        self._into[younger.id] = older
        older.state = purchase.merge(older.state, younger.state)
        older.absorbed += younger.absorbed
        older.tenant = older.tenant or younger.tenant
        for alias, id_ in list(self._by_alias.items()):
            if id_ == younger.id:
                self._by_alias[alias] = older.id
        if younger.stored is not None:
            older.absorbed.append(younger.id)
            younger.state, younger.absorbed, younger.superseded = Purchase(), [], True
        else:
            del self._drafts[younger.id]

    def _tell_checkout(self, order: Checkout, fact: CheckoutSeen, draft: Draft) -> None:
        # One that expired beside one that was paid takes nothing back.
        told = draft.state.checkouts or {fact.session: fact}
        known = max(told.values(), key=lambda one: (one.state == "paid", one.stamp))
        settled = self.now if known.state == "paid" and order.settled_at is None else order.settled_at
        self._checkout_changes[order.reference] = {
            "reference": order.reference,
            "status": known.state,
            "purchase_id": draft.id,
            "settled_at": micros(settled),
        }

    # -- write --------------------------------------------------------------------------------------

    def _attach_customers(self, drafts: Sequence[Draft]) -> None:
        told = {d.id: holder_of(d.state) for d in drafts}
        orphans = [d for d in drafts if d.customer_id is None and not d.superseded]
        externals = [told[d.id]["customer"] for d in orphans if told[d.id].get("customer")]
        known = customers.find_by_external(self.connection, self.account.id, externals)
        made: dict[str, Customer] = {}
        for draft in orphans:
            external = told[draft.id].get("customer")
            found = known.get(external or "") or made.get(external or draft.id)
            if found is None:
                id_, email = self.context.new_id("cus"), told[draft.id].get("email")
                found = Customer(id_, self.account.tenant_id, email, None, self.now, external, draft.language)
                made[external or draft.id] = found
            draft.customer_id = found.id
        customers.insert(self.connection, list(made.values()), self.account.id)
        fresh = {c.id for c in made.values()}
        later = {d.customer_id or "": d.language for d in drafts if d.language and d.customer_id not in fresh}
        customers.speak(self.connection, later)
        self._learn(drafts, told, fresh)

    def _learn(self, drafts: Sequence[Draft], told: dict[str, dict[str, str]], fresh: set[str]) -> None:
        """Write an e-mail address that is new, and free the mails that waited for an address."""
        learned = {}
        for draft in drafts:
            before, now = holder_of(draft.before), told[draft.id]
            if draft.customer_id is None or draft.customer_id in fresh or "email" not in now:
                continue
            if before.get("email") != now["email"]:
                learned[draft.customer_id] = Customer(
                    draft.customer_id, self.account.tenant_id, now["email"], None, self.now
                )
        if learned:
            customers.learn(self.connection, list(learned.values()))
            if announcements.release_waiting(self.connection, sorted(learned), self.batch):
                self.owes = True

    def _write_purchases(self, drafts: Sequence[Draft]) -> None:
        tenant, account = self.account.tenant_id, self.account.id
        made = [
            StoredPurchase(d.id, tenant, account, d.customer_id, d.state, self.now, d.tenant, d.users)
            for d in drafts
        ]
        known = {d.id for d in drafts if d.stored is not None}
        purchases.insert(self.connection, [one for one in made if one.id not in known])
        purchases.update(self.connection, [one for one in made if one.id in known], self.now)
        for draft in drafts:
            purchases.lead(self.connection, draft.absorbed, draft.id)
        taken = [self._claims.stored(alias, self._by_alias[alias]) for alias in self.new_aliases]
        purchases.insert_aliases(self.connection, taken)

    def _write_licenses(self, drafts: Sequence[Draft], held: dict[str, list[License]]) -> None:
        if self._bringing is not None:
            self._bringing.know(self._by_alias)
        tenant = self.account.tenant_id
        issuing = Issuing(self.context, self.connection, tenant, self.now, self.batch, self._bringing)
        orders = self._orders_of(drafts, held)
        for draft in drafts:
            order = orders.get(draft.id)
            one = Granted(
                purchase_id=draft.id,
                customer_id=draft.customer_id,
                firm=order.firm if order is not None else None,
                event=draft.event,
                superseded=draft.superseded,
                was=draft.before,
                now=draft.state,
            )
            issuing.issue(one, worth(draft.state, self._plans), held.get(draft.id, ()))
        issuing.write()
        self.changes = issuing.changes
        self.owes = self.owes or issuing.owes
        devices.bind_due(
            self.context, self.connection, orders, held, issuing.written(), self._plans, self.now
        )

    def _orders_of(self, drafts: Sequence[Draft], held: dict[str, list[License]]) -> dict[str, Checkout]:
        """Purchase -> checkout. One without a license may get it by an event that names no checkout."""
        told = {d.id: d.state.ordered for d in drafts if not d.superseded}
        named = {id_: ordered.reference for id_, ordered in told.items() if ordered is not None}
        missing = {reference for id_, reference in named.items() if not held.get(id_)} - self._orders.keys()
        self._orders |= checkouts.find_many(self.connection, self.account.tenant_id, sorted(missing))
        return {id_: self._orders[name] for id_, name in named.items() if name in self._orders}

    def _write_links(self) -> None:
        """Remember which purchase each event was about, and which money it spoke of."""
        purchases.link_events(
            self.connection,
            self.account.tenant_id,
            {
                work.inbox_id: (self._final(draft).id, transaction_of(work.reading.facts))
                for work, draft in self._met
            },
        )

    def _final(self, draft: Draft) -> Draft:
        """The purchase that a draft has become part of in this pass; itself, as a rule."""
        while draft.id in self._into:
            draft = self._into[draft.id]
        return draft

    def _hear_of(self, person: HolderSeen) -> Outcome:
        """A customer changed, and no purchase: only the address matters."""
        if person.customer is None or person.email is None:
            return Outcome("ignored", "NOTHING_NEW")
        known = self._told.get(person.customer)
        if known is None or person.stamp > known.stamp:
            self._told[person.customer] = person
        return Outcome("applied")

    def _tell_customers(self) -> None:
        """Write addresses that customers changed, and free the mails that waited for one."""
        changed = customers.tell(
            self.connection,
            self.account.id,
            [(p.customer or "", p.email or "", p.stamp.at) for p in self._told.values()],
        )
        if changed and announcements.release_waiting(self.connection, sorted(changed), self.batch):
            self.owes = True


def waits_of(wanted: Sequence[Refetch]) -> tuple[tuple[str, str], ...]:
    """What an accepted event waits for."""
    return tuple((f"fetch:{one.kind}", one.external_id) for one in wanted)
