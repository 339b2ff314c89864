"""What the browser that bought can do on the result page: the mail again, a license file; and nobody else."""

from __future__ import annotations

import re

import httpx
import pytest

from keywright.domain.plan import Terms
from keywright.flows.context import Context
from keywright.store.tables import announcements
from tests.life import world
from tests.life.payments import PayDesk, selling_through
from tests.web.conftest import Client, Serve
from tests.web.test_pages import ORIGIN, field, order, reference_of

pytestmark = pytest.mark.parametrize("prepared", ["sqlite"], indirect=True)


@pytest.fixture
def shop(context: Context, desk: PayDesk) -> Context:
    """Sells `dashcaddy/plan-0`, with files that may travel, and `dashcaddy/plan-1` without."""
    free = Terms(term="perpetual", portable_file=True)
    world.stock(context, price_once=free, price_bound=Terms(term="perpetual"))
    return selling_through(context, desk)


def bought(shop: Context, client: Client, desk: PayDesk, choice: str = "plan-0/stripe/price_once") -> str:
    reference = reference_of(order(client, choice=choice))
    world.outcome(shop, desk.paid(reference))
    return reference


def posted(client: Client, reference: str, act: str, **more: str) -> httpx.Response:
    page = client.get(f"/checkout/{reference}").text
    found = re.search(rf'action="(/checkout/{reference}/licenses/lic_[0-9a-f]+)/mail"', page)
    assert found
    form = {"check": field(page, "check"), **more}
    return client.post(f"{found[1]}/{act}", data=form, headers=ORIGIN, follow_redirects=False)


def test_the_mail_is_owed_once_more(shop: Context, client: Client, desk: PayDesk) -> None:
    reference = bought(shop, client, desk)
    before = world.count(shop, announcements)
    answer = posted(client, reference, "mail")
    assert answer.headers["location"] == f"/checkout/{reference}?done=mailed"
    assert "on its way to you once more" in client.get(answer.headers["location"]).text
    assert world.count(shop, announcements) == before + 1
    posted(client, reference, "mail")
    assert posted(client, reference, "mail").status_code == 429


def test_a_file_that_may_travel_is_saved(shop: Context, client: Client, desk: PayDesk) -> None:
    answer = posted(client, bought(shop, client, desk), "file")
    assert answer.status_code == 200
    assert answer.headers["content-disposition"] == 'attachment; filename="license.lic"'
    assert "base-uri 'none'" in answer.headers["content-security-policy"]
    assert answer.text.startswith("-----BEGIN KEYWRIGHT LICENSE-----")


def test_a_file_for_a_machine_is_not_to_be_had_before_there_is_one(
    shop: Context, client: Client, desk: PayDesk
) -> None:
    reference = bought(shop, client, desk, "plan-1/stripe/price_bound")
    assert f"{reference}/licenses" in client.get(f"/checkout/{reference}").text
    assert "/file" not in client.get(f"/checkout/{reference}").text
    answer = posted(client, reference, "file")
    assert answer.status_code == 409
    assert "NO_FILE" in answer.text


def test_nobody_else_can(shop: Context, client: Client, serve: Serve, desk: PayDesk) -> None:
    reference = bought(shop, client, desk)
    assert posted(client, reference, "mail", check="x" * 43).status_code == 403
    page = client.get(f"/checkout/{reference}").text
    path = re.findall(r'action="(/checkout/[^"]+/mail)"', page)[0]
    form = {"check": field(page, "check")}
    assert client.post(path, data=form, headers={"origin": "https://evil.example"}).status_code == 403
    assert serve(shop).post(path, data=form, headers=ORIGIN).status_code == 403
    other = re.sub(r"lic_[0-9a-f]+", "lic_0123", path)
    assert client.post(other, data=form, headers=ORIGIN).status_code == 404
    for wrong in ("lic_", "evt_0123", "lic_%2e"):
        broken = re.sub(r"lic_[0-9a-f]+", wrong, path)
        assert client.post(broken, data=form, headers=ORIGIN).status_code == 404


def test_where_the_order_stands_a_way_on_is_shown(shop: Context, client: Client, serve: Serve) -> None:
    reference = reference_of(order(client, quantity="3"))
    page = client.get(f"/checkout/{reference}").text
    assert 'href="https://checkout.stripe.com/c/pay/cs_' in page
    assert "DashCaddy Plan-0 \N{MULTIPLICATION SIGN} 3" in page
    stranger = serve(shop).get(f"/checkout/{reference}").text
    assert "/c/pay/" not in stranger
    assert "Plan-0" not in stranger
