"""Fills the database before the server starts: licenses as a year of sales would have left them.

    python -m benchmarks.seed --count 100000 --output licenses.json

Each license has its purchase, its customer, two timeline entries and one activated machine with the lease
that its activation signed. A server hands a stored lease out again while more than half of its life is left,
which is what nearly every validation meets. The output lists license key and fingerprint of each.
"""

import argparse
import gc
import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import datetime, timedelta
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import msgspec
import sqlalchemy as sa

from benchmarks import spool
from keywright import bootstrap
from keywright.domain import fingerprint, license_key, license_token, purchase
from keywright.domain.activation import Activation
from keywright.domain.facts import HolderSeen, Item, Stamp, SubscriptionSeen
from keywright.domain.grant import worth
from keywright.domain.license import License, granted
from keywright.domain.purchase import Purchase
from keywright.flows import claims, licensing
from keywright.flows.context import Context
from keywright.flows.license_writes import clocks_of, sealed
from keywright.store import catalog, customers, licenses, purchases, rows, tables, timeline
from keywright.store.catalog import Offer
from keywright.store.customers import Customer
from keywright.store.engine import Database
from keywright.store.licenses import Found
from keywright.store.purchases import StoredAlias, StoredPurchase
from keywright.store.rows import micros
from keywright.store.tenants import ProviderAccount

SEATS = 5
"""Room for the machine that is there and those that a bench activates."""

FIRST_BUYER = 10_000_000
"""Beyond the buyers of any spool of purchases."""

_AT_ONCE = 2_500
_PROCESSES = 2
_PAID_FOR = timedelta(days=30)


class Sold(msgspec.Struct, frozen=True):
    """One seeded sale: all its rows, and what its owner knows."""

    customer: Customer
    purchase: StoredPurchase
    alias: StoredAlias
    license: License
    entries: tuple[timeline.Entry, ...]
    activation: dict[str, Any]
    key: str
    fingerprint: str


class Seller:
    """Makes sales without storing them."""

    def __init__(self, context: Context, account: ProviderAccount, offer: Offer, now: datetime) -> None:
        self._context = context
        self._account = account
        self._offer = offer
        self._now = now
        # All bought the same at the same moment
        self._grant = worth(self._paid(0, ""), {spool.PRICE_ID: offer.plan})[0]

    def sell(self, number: int) -> Sold:
        context, account, now = self._context, self._account, self._now
        external = spool.identifier("cus", "customer", number)
        customer = Customer(
            context.new_id("cus"), account.tenant_id, spool.email_of(number), None, now, external
        )
        state = self._paid(number, external)
        bought = StoredPurchase(context.new_id("pur"), account.tenant_id, account.id, customer.id, state, now)
        subscription = spool.identifier("sub", "subscription", number)
        realm = claims.realm_of(account)
        alias = StoredAlias(account.id, "subscription", subscription, account.tenant_id, bought.id, realm)
        key = license_key.make(self._offer.product.key_prefix, os.urandom(license_key.RANDOM_BYTES))
        held = granted(self._blank(bought, key), self._grant)
        machine = hashlib.blake2b(b"machine:%d" % number, digest_size=16).hexdigest()
        held = sealed(context, held)
        activation = self._activation(held, machine)
        detail = {"event": "customer.subscription.created", "purchase": bought.id, "after": clocks_of(held)}
        held, issued = timeline.append(held, "license.issued", detail, now)
        held, bound = timeline.append(held, "activation.created", {"activation": activation["id"]}, now)
        return Sold(customer, bought, alias, held, (issued, bound), activation, key, machine)

    def _paid(self, number: int, customer: str) -> Purchase:
        item = Item(spool.PRICE_ID, SEATS, self._now, self._now + _PAID_FOR)
        stamp = Stamp(self._now, 6, hashlib.sha256(b"%d" % number).hexdigest())
        state = purchase.absorb(Purchase(), SubscriptionSeen(stamp, "active", (item,)))
        holder = HolderSeen(stamp, customer=customer, email=spool.email_of(number))
        return purchase.absorb(state, holder)

    def _blank(self, bought: StoredPurchase, key: str) -> License:
        vault, id_ = self._context.vault, self._context.new_id("lic")
        canonical = license_key.canonical(key) or ""
        return License(
            id=id_,
            tenant_id=bought.tenant_id,
            purchase_id=bought.id,
            product_id=self._offer.product.id,
            plan_id=self._offer.plan.id,
            unit=0,
            customer_id=bought.customer_id,
            key_hash=vault.blind("license-key-lookup", canonical),
            key_last5=license_key.last5(canonical),
            key_sealed=vault.seal(bought.tenant_id, "license-key", id_, canonical),
            seats=0,
            entitled_until=None,
            active_until=None,
            grace_until=None,
            lost_until=None,
            standing="ok",
            reason="",
            trial=False,
            canceling=False,
            past_due=False,
            created_at=self._now,
        )

    def _activation(self, held: License, machine: str) -> dict[str, Any]:
        context, now = self._context, self._now
        offline = timedelta(seconds=self._offer.plan.terms.offline)
        lease = context.signer.sign(held.tenant_id, "lease+jwt", self._claims(held, machine, now + offline))
        return {
            "id": context.new_id("act"),
            "tenant_id": held.tenant_id,
            "license_id": held.id,
            "fingerprint_hash": context.vault.blind("fingerprint", machine),
            "name": None,
            "activated_at": micros(now),
            "last_seen_at": micros(now),
            "released_at": None,
            "lease": lease,
            "lease_until": micros(now + offline / 2),
            "lease_mark": self._mark(held, machine, lease),
        }

    def _mark(self, held: License, machine: str, lease: str) -> str:
        fingerprint_hash = self._context.vault.blind("fingerprint", machine)
        bound = Activation("", held.id, held.tenant_id, fingerprint_hash, None, self._now)
        found = Found(held, self._offer.plan, self._offer.product.slug, bound)
        return licensing.lease_mark(self._context, found, "VALID", lease)

    def _claims(self, held: License, machine: str, until: datetime) -> dict[str, Any]:
        plan, product = self._offer.plan, self._offer.product
        second = int(self._now.timestamp())
        return license_token.lease_claims(
            iss=self._context.issuer(held.tenant_id),
            sub=held.id,
            aud=product.slug,
            iat=second,
            nbf=second,
            exp=int(until.timestamp()),
            jti=self._context.new_id("lse"),
            plan=plan.slug,
            seats=held.seats,
            entitlements=plan.terms.entitlements,
            limits=plan.terms.limits,
            status="active",
            firm=None,
            mid=fingerprint.mid(product.slug, machine),
            lexp=int(until.timestamp()),
            srv=second,
            seq=second * 1000,
            nonce=None,
            code="VALID",
            entitled_until=_second(held.entitled_until),
            grace_until=_second(held.grace_until),
        )


def _second(clock: datetime | None) -> int | None:
    return None if clock is None else int(clock.timestamp())


def store(connection: sa.Connection, sold: Sequence[Sold], account: ProviderAccount) -> None:
    """Writes the sales through the statements that the server itself uses."""
    customers.insert(connection, [one.customer for one in sold], account.id)
    purchases.insert(connection, [one.purchase for one in sold])
    purchases.insert_aliases(connection, [one.alias for one in sold])
    licenses.insert(connection, [one.license for one in sold])
    rows.insert(connection, tables.activations, [one.activation for one in sold])
    timeline.insert(connection, [entry for one in sold for entry in one.entries])


def _hurry(connection: Any, _record: object) -> None:
    """Seeding need not survive a power cut: no commit waits for the disk, and pages stay in memory."""
    connection.execute("PRAGMA synchronous=OFF")
    connection.execute("PRAGMA cache_size=-400000")
    connection.execute("PRAGMA wal_autocheckpoint=100000")


def settle(database: Database) -> None:
    """What PostgreSQL would long have done by itself had the sales come over a year."""
    if database.is_sqlite:
        return
    with database.read() as connection:
        connection.exec_driver_sql("VACUUM ANALYZE")
        connection.exec_driver_sql("CHECKPOINT")


def sell(start: int, stop: int) -> list[tuple[str, str]]:
    """Makes and stores the sales of these numbers; each call has a context of its own, in any process."""
    settings = bootstrap.read_settings()
    database = bootstrap.open_database(settings)
    if database.is_sqlite:
        sa.event.listen(database.engine, "connect", _hurry)
    context = bootstrap.build(settings, database)
    account = context.channels["stripe"].account
    with database.read() as connection:
        offer = catalog.find_offer(connection, account.tenant_id, "bench", "pro")
    assert offer is not None, "apply benchmarks/catalog.toml first"
    seller = Seller(context, account, offer, context.clock.now())
    gc.disable()  # nothing here is cyclic, and looking for it in a growing heap takes a quarter of the time
    known: list[tuple[str, str]] = []
    for first in range(start, stop, _AT_ONCE):
        sold = [seller.sell(number) for number in range(first, min(first + _AT_ONCE, stop))]
        with database.write() as connection:
            store(connection, sold, account)
        known += [(one.key, one.fingerprint) for one in sold]
    database.dispose()
    return known


def main() -> None:
    """Seeds the database of the environment."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.seed")
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--output", type=Path, required=True, help="JSON: [license key, fingerprint] of each")
    parser.add_argument("--skip", type=int, default=0, help="so many were seeded before")
    arguments = parser.parse_args()
    share, first = -(-arguments.count // _PROCESSES), FIRST_BUYER + arguments.skip
    starts = range(first, first + arguments.count, share)
    stops = [min(start + share, first + arguments.count) for start in starts]
    # Signing a hundred thousand leases is most of the work; `spawn`, so that no process inherits a database
    with ProcessPoolExecutor(_PROCESSES, mp_context=get_context("spawn")) as pool:
        known = [pair for part in pool.map(sell, starts, stops) for pair in part]
    database = bootstrap.open_database(bootstrap.read_settings())
    settle(database)
    database.dispose()
    arguments.output.write_bytes(msgspec.json.encode(known))


if __name__ == "__main__":
    main()
