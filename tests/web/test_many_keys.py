"""A page and an answer show a thousand keys at most, and say when there are more."""

from __future__ import annotations

import pytest

from keywright.domain.plan import Terms
from keywright.flows import claiming
from keywright.flows.context import Context
from tests.life import world
from tests.life.payments import PayDesk
from tests.web.conftest import Client
from tests.web.test_public import claim


@pytest.mark.parametrize(("bought", "shown", "more"), [(3, 3, False), (4, 3, True)])
def test_more_keys_than_are_shown(
    shop: Context,
    client: Client,
    desk: PayDesk,
    monkeypatch: pytest.MonkeyPatch,
    bought: int,
    shown: int,
    more: bool,
) -> None:
    monkeypatch.setattr(claiming, "_MOST_CLAIMED", 3)
    world.add_plan(shop, "box", "price_box", Terms(term="perpetual", quantity="keys"))
    body = {"plan": "dashcaddy/box", "quantity": bought}
    opened = client.post("/api/checkout/session", json=body).json()
    assert world.outcome(shop, desk.paid(opened["reference"])) == "applied"
    told = claim(client, opened).json()
    assert (len(told["licenses"]), told.get("more", False)) == (shown, more)
    cookie = {"cookie": f"keywright_claim={opened['claim_token']}"}
    page = client.get(f"/checkout/{opened['reference']}", headers=cookie).text
    assert page.count('class="key"') == shown
    assert ("more keys than these" in page) == more
