"""The console's pages about webhooks, with somebody on this machine who receives them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace

import httpx
import pytest

from keywright.delivery.safe_http import SafeHttp
from keywright.delivery.webhook import HttpWebhooks, sign
from keywright.domain import webhook
from keywright.domain.errors import TooMany
from keywright.flows import staff_factors, webhook_deliveries, webhooks
from keywright.flows.context import Context
from keywright.flows.operate import Act
from keywright.flows.webhooks import EndpointMade
from keywright.web.console.webhooks import at_most_two
from tests.life.receiver import Receiver, receiving
from tests.web.test_console import Colleague, House, send

LIST = "/console/webhooks"
SECRET = re.compile(r"whsec_[A-Za-z0-9+/]{43}=")
only_sqlite = pytest.mark.parametrize("prepared", ["sqlite"], indirect=True)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as one:
        yield one


@pytest.fixture
def house(context: Context, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    with ExitStack() as stack:
        made = House(replace(context, webhooks=HttpWebhooks(SafeHttp(allow_private=True))), stack)
        monkeypatch.setattr(staff_factors, "phone_time", lambda: made.phone)
        yield made


def act(who: Colleague, path: str, **fields: str) -> httpx.Response:
    """Fill in a form, look at what it would do, and do it."""
    page = send(who.client, path, who.client.get(path), **fields)
    assert "Nothing has changed yet" in page.text or "Nothing that is shown here" in page.text, page.text
    return send(who.client, path, page, step="do", **fields)


def listen(house: House, receiver: Receiver, *types: str) -> EndpointMade:
    context = house.context
    return webhooks.create(context, context.master.id, receiver.url, types, act=Act("a test"))


def secret_on(page: httpx.Response) -> str:
    found = SECRET.search(page.text.replace("&#43;", "+"))
    assert found, page.text
    return found[0]


def test_an_endpoint_from_its_beginning_to_its_end(house: House, receiver: Receiver) -> None:
    owner = house.colleague()
    assert "Nobody is told" in owner.client.get(LIST).text
    told = {"url": receiver.url, "note": "the shop", "reason": "ticket 7", "license.issued": "yes"}
    page = send(owner.client, f"{LIST}/new", owner.client.get(f"{LIST}/new"), **told)
    assert receiver.url in page.text
    assert webhooks.list_endpoints(house.context, house.context.master.id).items == []
    first = secret_on(send(owner.client, f"{LIST}/new", page, step="do", **told))
    [made] = webhooks.list_endpoints(house.context, house.context.master.id).items
    assert (made.types, made.note) == (("license.issued",), "the shop")
    one = f"{LIST}/{made.id}"
    assert first not in owner.client.get(one).text

    page = act(owner, f"{one}/test")
    assert "HTTP 204" in page.text
    assert "webhook.test" in page.text

    house.license()
    webhook_deliveries.send_due(house.context)
    assert receiver.types == ["webhook.test", "license.issued"]
    [again] = re.findall(
        r'href="(/console/webhooks/deliveries/msg_\w+)">license\.issued', owner.client.get(one).text
    )
    assert "Delivered" in owner.client.get(again).text
    assert "It is due now" in act(owner, f"{again}/redeliver", reason="lost there").text
    webhook_deliveries.send_due(house.context)
    assert len({got.headers["webhook-id"] for got in receiver.got[1:]}) == 1
    assert len(receiver.got) == 3

    second = secret_on(act(owner, f"{one}/rotate-secret", hours="24"))
    assert second != first
    act(owner, f"{one}/test")
    got = receiver.got[-1]
    stamp = int(got.headers["webhook-timestamp"])
    both = sign([second, first], got.headers["webhook-id"], stamp, got.body)
    assert got.headers["webhook-signature"] == both

    act(owner, f"{one}/change", url=receiver.url, note="the CRM", **{"license.revoked": "yes"})
    assert webhooks.show(house.context, house.context.master.id, made.id).types == ("license.revoked",)
    assert "Nothing is sent to it any more" in act(owner, f"{one}/pause").text
    assert (
        "Its endpoint is off"
        in send(owner.client, f"{again}/redeliver", owner.client.get(f"{again}/redeliver")).text
    )
    assert "It is told again" in act(owner, f"{one}/resume").text
    assert "The endpoint is gone" in act(owner, f"{one}/delete", reason="sold").text
    assert owner.client.get(one).status_code == 404
    assert house.acts()[-9:] == [
        "webhook_endpoint.created",
        "webhook_endpoint.tested",
        "webhook_delivery.redelivered",
        "webhook_endpoint.secret_rotated",
        "webhook_endpoint.tested",
        *("webhook_endpoint.changed",) * 3,
        "webhook_endpoint.deleted",
    ]


@only_sqlite
def test_an_address_that_cannot_be_is_told_in_the_form(house: House) -> None:
    owner = house.colleague()
    form = owner.client.get(f"{LIST}/new")
    for url in ("http://169.254.169.254/latest", "https://x:y@example.com/", "ftp://example.com/", ""):
        page = send(owner.client, f"{LIST}/new", form, url=url)
        assert page.status_code == 422, url
        assert "This address cannot be used" in page.text
    assert webhooks.list_endpoints(house.context, house.context.master.id).items == []


@only_sqlite
def test_what_a_receiver_and_staff_wrote_is_shown_as_text(house: House, receiver: Receiver) -> None:
    owner = house.colleague()
    hostile = '<script>alert("1")</script>'
    act(owner, f"{LIST}/new", url=f"{receiver.url}?x=<img/onerror=1>", note=hostile)
    receiver.answer(500, X_Says=hostile)
    [made] = webhooks.list_endpoints(house.context, house.context.master.id).items
    act(owner, f"{LIST}/{made.id}/test")
    for path in (LIST, f"{LIST}/{made.id}"):
        page = owner.client.get(path).text
        assert "<script>alert" not in page
        assert "<img/onerror" not in page


@only_sqlite
def test_support_sees_none_of_it(house: House, receiver: Receiver) -> None:
    made = listen(house, receiver)
    helper = house.colleague("help@example.com", "support")
    for path in (LIST, f"{LIST}/new", f"{LIST}/{made.id}", f"{LIST}/{made.id}/rotate-secret"):
        assert helper.client.get(path).status_code == 403
    assert LIST not in helper.client.get("/console").text


@only_sqlite
def test_one_that_fails_or_was_turned_off_says_why(house: House, receiver: Receiver) -> None:
    owner, made = house.colleague(), listen(house, receiver)
    receiver.answer(500)
    house.license()
    webhook_deliveries.send_due(house.context)
    one = f"{LIST}/{made.id}"
    assert "It has taken nothing since" in owner.client.get(one).text
    assert "HTTP 500" in owner.client.get(f"{one}?status=pending").text
    assert "None has this status" in owner.client.get(f"{one}?status=failed").text
    assert owner.client.get(f"{one}?status=lost").status_code == 422
    receiver.answer(410)
    again = webhook_deliveries.list_deliveries(house.context, house.context.master.id, {}).items[0]
    webhook_deliveries.redeliver(house.context, house.context.master.id, again.id, act=Act("a test"))
    webhook_deliveries.send_due(house.context)
    assert "It answered 410" in owner.client.get(one).text
    assert webhook.TYPES[0] in owner.client.get(f"{one}/change").text


def test_two_addresses_of_others_are_asked_at_a_time() -> None:
    outside = at_most_two()
    with outside(), outside(), pytest.raises(TooMany), outside():
        pass
    with outside():
        pass
