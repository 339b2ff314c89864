"""S19: who is erased at one tenant is nowhere in its rows, and the same person at another is untouched."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from keywright.domain.email_address import is_erased
from keywright.flows import activating, intake, licensing, portal_data
from keywright.flows.context import Context
from keywright.flows.licensing import Ask
from keywright.flows.portal_sign_in import Visitor
from keywright.store import customers as people
from keywright.store import licenses as stored
from keywright.store import personal_data
from keywright.store.tables import customers, licenses, metadata
from tests.life import stripe, world
from tests.life.sellers import Seller, with_sellers

BUYER = "Ada.Buyer@example.com"
MACHINE = "Ada's own desk"


class Mall:
    """Two tenants who have sold the same to the same person, and one of them a license for a tenant."""

    def __init__(self, context: Context) -> None:
        self.context, self.sellers = with_sellers(context, "one", "two")
        for seller in self.sellers.values():
            self._sell(seller)

    def _sell(self, seller: Seller) -> None:
        serving, now, id_ = seller.serving, self.context.clock.now(), seller.tenant.slug
        price = f"price_{seller.product}_month"
        bought = stripe.subscription(
            f"sub_{id_}", now, now + timedelta(days=30), price=price, customer=f"cus_{id_}"
        )
        bought["cancel_at_period_end"] = True
        told = stripe.session(
            f"cs_{id_}", mode="subscription", sub=f"sub_{id_}", customer=f"cus_{id_}", email=BUYER
        )
        channel = serving.channels["stripe"]
        for kind, found in (("customer.subscription.created", bought), ("checkout.session.completed", told)):
            event = stripe.encoded(stripe.event(kind, found, now))
            (outcome,) = intake.take_in(serving, [intake.arrive(channel, event, now)])
            assert not isinstance(outcome, Exception), outcome
        self._use(seller)
        self._provision(seller)

    def _use(self, seller: Seller) -> None:
        with self.context.database.read() as connection:
            query = sa.select(licenses.c.id).where(licenses.c.tenant_id == seller.tenant.id)
            (id_,) = connection.execute(query).scalars()
            held = stored.find(connection, seller.tenant.id, id_)
        assert held is not None
        ask = Ask(key=world.key_of(self.context, held), fingerprint="machine-0001", name=MACHINE)
        activating.activate(seller.serving, licensing.check(seller.serving, ask, fingerprint_needed=True))

    def _provision(self, seller: Seller) -> None:
        table, now, id_ = metadata.tables["provisionings"], self.context.clock.now(), seller.tenant.slug
        wish = {"email": BUYER.lower(), "client_name": "Firm", "stripe_customer_id": f"cus_{id_}"}
        row = {
            "id": f"create-tenant-cus_{id_}",
            "tenant_id": seller.tenant.id,
            "digest": "x",
            "status": "done",
            "wish": msgspec.json.encode(wish).decode(),
            "customer": f"cus_{id_}",
            "asked_by": "test",
            "created_at": now,
            "changed_at": now,
        }
        with self.context.database.write() as connection:
            connection.execute(sa.insert(table).values(**row))

    def visitor(self, name: str) -> Visitor:
        tenant = self.sellers[name].tenant.id
        with self.context.database.read() as connection:
            query = sa.select(customers.c.id, customers.c.email).where(customers.c.tenant_id == tenant)
            ((id_, email),) = connection.execute(query)
        return Visitor(tenant, id_, email, (id_,))

    def rows(self, name: str) -> dict[str, list[dict[str, Any]]]:
        """Everything of a tenant, by table."""
        tenant = self.sellers[name].tenant.id
        with self.context.database.read() as connection:
            return {
                table.name: [
                    dict(row)
                    for row in connection.execute(
                        sa.select(table)
                        .where(table.c.tenant_id == tenant)
                        .order_by(*table.primary_key.columns)
                    ).mappings()
                ]
                for table in metadata.tables.values()
                if "tenant_id" in table.c
            }


@pytest.fixture
def mall(context: Context) -> Mall:
    return Mall(context)


def tables_naming(rows: dict[str, list[dict[str, Any]]], *words: str) -> set[str]:
    return {
        name
        for name, found in rows.items()
        for row in found
        for value in row.values()
        for word in words
        if word.lower() in str(value).lower()
    }


def test_the_same_person_at_another_tenant_is_untouched(mall: Mall) -> None:
    named = {"customers", "purchases", "inbox", "activations", "provisionings"}
    for name in mall.sellers:
        assert tables_naming(mall.rows(name), BUYER, MACHINE) == named
    other = mall.rows("two")
    portal_data.erase(mall.sellers["one"].serving, mall.visitor("one"))
    assert tables_naming(mall.rows("one"), BUYER, MACHINE, "cus_one@") == set()
    assert mall.rows("two") == other
    (erased,) = mall.rows("one")["customers"]
    assert is_erased(erased["email"])
    assert mall.rows("one")["customer_accounts"] == []
    # What was bought, and what runs, is there as before.
    assert len(mall.rows("one")["licenses"]) == len(mall.rows("one")["activations"]) == 1
    portal_data.erase(mall.sellers["two"].serving, mall.visitor("two"))
    assert tables_naming(mall.rows("two"), BUYER, MACHINE) == set()


def test_what_is_handed_out_is_of_one_tenant(mall: Mall) -> None:
    for name, other in (("one", "two"), ("two", "one")):
        text = portal_data.export(mall.sellers[name].serving, mall.visitor(name)).decode()
        told = msgspec.json.decode(text)
        assert set(told["data"]) == set(personal_data.EXPORTED)
        for table in ("customers", "purchases", "inbox", "licenses", "activations", "provisionings"):
            assert told["data"][table], table
        assert told["data"]["provisionings"][0]["wish"]["email"] == BUYER.lower()
        assert f"sub_{name}" in text
        assert f"sub_{other}" not in text
        assert mall.sellers[other].tenant.id not in text


def test_people_are_found_by_their_tenant_alone(mall: Mall) -> None:
    """The portal asks by address: the same one leads to another person at each tenant."""
    with mall.context.database.read() as connection:
        found = {
            name: people.find_by_email(connection, seller.tenant.id, BUYER)
            for name, seller in mall.sellers.items()
        }
    assert found["one"] is not None
    assert found["two"] is not None
    assert found["one"].id != found["two"].id
