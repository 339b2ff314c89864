"""What customers take along, change and have forgotten: seats, files, address, personal data."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta

import pytest
import sqlalchemy as sa

from keywright.domain import fingerprint, license_file
from keywright.domain.email_address import is_erased
from keywright.flows.context import Context
from keywright.store import personal_data, timeline
from keywright.store.tables import customer_accounts, customers, metadata
from tests.conftest import TurnableClock
from tests.contract.test_data_page import rows, section
from tests.life import stripe, world
from tests.life.billing import BillDesk
from tests.web.conftest import Client
from tests.web.test_portal import BUYER, House, act, check_of, is_in, send

NEW = "new@example.com"


@pytest.fixture
def house(context: Context, clock: TurnableClock) -> Iterator[House]:
    with ExitStack() as stack:
        yield House(context, BillDesk(clock), stack)


def seats(client: Client, house: House, **fields: str) -> str:
    return client.get(f"/portal/licenses/{house.bought.id}/seats", params=fields).text


def you(client: Client, act_: str, **fields: str) -> str:
    return send(client, f"/portal/you/{act_}", client.get("/portal/you").text, **fields).text


# -- seats ----------------------------------------------------------------------------------------------


# At no provider is the change paid at once.
SHOWN = (
    "Added for the rest of this period",
    "$42",
    "Then, at each renewal",
    "$250",
    "Nothing is charged now",
)


def test_seats_are_added_for_the_price_that_was_shown(house: House) -> None:
    client, path = house.visitor(), f"/portal/licenses/{house.bought.id}/seats"
    assert "2 now" in seats(client, house)
    page = seats(client, house, quantity="5")
    assert tuple(t for t in SHOWN if t in page) == SHOWN
    once = re.findall(r'name="once" value="([^"]+)"', page)[0]
    form = {"quantity": "5", "expected": "4200", "once": once}
    for _ in range(2):  # pressed twice, it is one change
        answer = send(client, path, page, **form)
        there = answer.headers["location"]
        assert there == f"/portal/licenses?done=seats&held={house.bought.id}&number=5"
    shown = client.get(there).text
    assert all(told in shown for told in ("2; 5 asked for", "portal.js", 'http-equiv="refresh"'))
    arrived = client.get(there.replace("number=5", "number=2")).text
    assert ("The new number is here now." in arrived, "portal.js" in arrived) == (True, False)
    assert house.desk.quantity == 5
    assert [told[0] for told in house.desk.heard].count("seats") == 1
    house.desk.due_now = 9900
    dearer = send(client, path, page, **{**form, "once": "x" * 24, "quantity": "6"})
    assert (dearer.status_code, "The price has changed" in dearer.text) == (409, True)
    assert house.desk.quantity == 5


@pytest.mark.parametrize("wrong", ["0", "-1", "x", "1e3", "9999999", "٣"])
@pytest.mark.parametrize("prepared", ["sqlite"], indirect=True)
def test_what_is_no_number_is_refused(house: House, wrong: str) -> None:
    assert "Please enter a whole number" in seats(house.visitor(), house, quantity=wrong)
    assert house.desk.heard == []


# -- files ----------------------------------------------------------------------------------------------


def test_a_license_file_is_bound_to_the_machine(house: House) -> None:
    house.bind(house.bought, "Desk")
    client = house.visitor()
    (machine,) = house.machine_ids(house.bought)
    answer = act(client, house.bought, f"machines/{machine}/file")
    assert answer.headers["content-disposition"] == 'attachment; filename="license.lic"'
    payload = license_file.unwrap(answer.text).split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(payload + "=="))
    assert claims["mid"] == fingerprint.mid("dashcaddy", "machine-Desk")
    assert claims["sub"] == house.bought.id
    portable = act(client, house.bought, "file")
    assert (portable.status_code, "There is no file" in portable.text) == (409, True)
    assert act(client, house.bought, "hmac-key").status_code == 404
    assert "license.file_issued" in dict(house.kinds(house.bought))


@pytest.mark.parametrize("prepared", ["sqlite"], indirect=True)
def test_another_customers_things_are_as_unknown_as_none(house: House) -> None:
    foreign = house.issue("other@example.com")
    house.bind(foreign, "Desk")
    client = house.visitor()
    (machine,) = house.machine_ids(foreign)
    page = client.get("/portal/licenses").text
    for path in ("seats", "file", "hmac-key", f"machines/{machine}/file"):
        form = {"quantity": "3", "expected": "0", "once": "x" * 24}
        assert send(client, f"/portal/licenses/{foreign.id}/{path}", page, **form).status_code == 404, path
    mine = f"/portal/licenses/{house.bought.id}/machines/{machine}/file"
    assert send(client, mine, page).status_code == 404
    assert client.get(f"/portal/licenses/{foreign.id}/seats").status_code == 404


# -- address --------------------------------------------------------------------------------------------


def move_links(house: House) -> list[str]:
    house.deliver()
    found = (re.search(r"(/portal/address/\S+)", mail.text) for mail in house.post.sent)
    return [match[1] for match in found if match]


def test_a_new_address_counts_when_its_owner_has_confirmed_it(house: House) -> None:
    client, other = house.visitor(), house.visitor()
    assert "A link is on its way" in you(client, "address", email=NEW)
    (link,) = move_links(house)
    assert house.post.sent[-1].to == NEW
    assert other.get(link).status_code == 410  # his other session may not, and looking uses nothing up
    moved = send(client, link, client.get(link).text)
    assert moved.headers["location"] == "/portal/licenses?done=address"
    assert NEW in client.get("/portal/licenses").text
    assert not is_in(other)
    house.deliver()
    told = house.post.sent[-1]
    assert (told.to, NEW in told.text) == (BUYER, False)
    assert client.get(link).status_code == 410
    assert "license.address_changed" in dict(house.kinds(house.bought))
    # What the provider says of an earlier time does not bring the old one back.
    world.hand_in(house.context, house.desk.told())
    assert NEW in client.get("/portal/you").text


def test_a_link_to_a_new_address_lives_ten_minutes(house: House, clock: TurnableClock) -> None:
    client = house.visitor()
    you(client, "address", email=NEW)
    (link,) = move_links(house)
    page = client.get(link).text
    clock.turn(minutes=10)
    refused = send(client, link, page)
    assert (refused.status_code, "no good any more" in refused.text) == (409, True)
    for wrong in ("x", BUYER, "a@erased.invalid"):
        you(client, "address", email=wrong)
    assert len(move_links(house)) == 1
    with house.context.database.read() as connection:
        kept = [str(row) for row in connection.execute(sa.select(metadata.tables["announcements"]))]
    assert [row for row in kept if NEW in row] == []


# -- personal data --------------------------------------------------------------------------------------


def personal() -> set[str]:
    """`table.column` of all that the page calls personal, but for what is the seller's or the staff's."""
    found = set()
    for part in re.split(r"^### ", section("## Tables"), flags=re.MULTILINE)[1:]:
        table = part.split("`")[1]
        for column, _, data in rows(part, 3):
            if data.rstrip(" |") not in ("no", "the seller's") and not table.startswith("staff"):
                found.add(f"{table}.{column}")
    return found


def test_every_personal_column_is_handed_out_or_said_why_not() -> None:
    exported = {f"{table}.{one}" for table, found in personal_data.EXPORTED.items() for one in found}
    assert len(personal()) > 30
    assert personal() - exported - set(personal_data.WITHHELD) == set()
    assert exported & set(personal_data.WITHHELD) == set()
    columns = {f"{table.name}.{one.name}" for table in metadata.tables.values() for one in table.c}
    assert (exported | set(personal_data.WITHHELD)) - columns == set()


def test_all_that_is_stored_about_a_customer_is_exported(house: House) -> None:
    house.bind(house.bought, "Ada's desk")
    house.issue("other@example.com")
    client = house.visitor()
    answer = send(client, "/portal/you/export", client.get("/portal/you").text)
    assert answer.headers["content-disposition"] == 'attachment; filename="personal-data.json"'
    told = answer.json()
    assert (told["address"], set(told["data"])) == (BUYER, set(personal_data.EXPORTED))
    for table in ("customers", "purchases", "purchase_aliases", "inbox", "licenses", "timeline"):
        assert told["data"][table], table
    assert told["data"]["activations"][0]["name"] == "Ada's desk"
    assert told["data"]["purchases"][0]["state"]["holder"]["email"]["value"] == BUYER
    assert "other@example.com" not in answer.text
    assert world.key_of(house.context, house.bought) not in answer.text


def everything(context: Context) -> str:
    with context.database.read() as connection:
        return "".join(
            str(row) for table in metadata.tables.values() for row in connection.execute(sa.select(table))
        )


def test_whoever_is_erased_is_nowhere_any_more(house: House, clock: TurnableClock) -> None:
    house.bind(house.bought, "Ada's desk")
    client = house.visitor()
    assert "still renews" in you(client, "erase", sure="erase my data")
    clock.turn(minutes=1)
    house.desk.canceling = True
    world.hand_in(house.context, house.desk.told())
    assert "Nothing was erased" in you(client, "erase", sure="yes")
    assert {BUYER, "Ada's desk"} == {one for one in (BUYER, "Ada's desk") if one in everything(house.context)}
    assert "Your data is erased" in you(client, "erase", sure=" Erase my data ")
    assert not is_in(client)
    assert [one for one in (BUYER, "Ada's desk") if one in everything(house.context)] == []
    assert world.count(house.context, customer_accounts) == 0
    house.bind(house.bought, "Ada's desk")  # the program there runs on
    held = world.the_license(house.context)
    with house.context.database.read() as connection:
        chain = timeline.list_page(connection, held.tenant_id, held.id, after=0, limit=1000)
    assert "license.holder_erased" in [entry.kind for entry in chain]
    assert timeline.first_break(chain, held.head) is None
    # An event that comes later brings nothing back.
    start = clock.now()
    late = stripe.invoice("in_2", "sub_1", start, start + timedelta(days=30), quantity=2, amount=10000)
    world.hand_in(house.context, stripe.event("invoice.paid", late, start, id_="evt_late"))
    assert BUYER not in everything(house.context)
    with house.context.database.read() as connection:
        assert all(is_erased(one) for one in connection.execute(sa.select(customers.c.email)).scalars())
    house.deliver()
    assert [mail for mail in house.post.sent if is_erased(mail.to)] == []


# -- pages ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prepared", ["sqlite"], indirect=True)
def test_every_page_has_the_strict_policy(house: House) -> None:
    client = house.visitor()
    for path in ("/portal/you", f"/portal/licenses/{house.bought.id}/seats?quantity=3", "/portal/address/x"):
        answer = client.get(path)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'; script-src 'self'; style-src 'self';" in policy
        assert answer.headers["cache-control"] == "no-store"
        assert not re.search(r"<script|style=|onclick|<style", answer.text)
    check = check_of(client.get("/portal/you").text)
    for path in ("/portal/you/address", "/portal/you/export", "/portal/you/erase"):
        foreign = client.post(path, data={"check": check}, headers={"origin": "https://evil.example"})
        assert foreign.status_code == 403
