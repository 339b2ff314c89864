"""Wrong keys are limited by address; a right key from the same address is always answered."""

from __future__ import annotations

import pytest

from keywright.domain import license_key
from keywright.flows import operate
from keywright.flows.context import Context
from tests.life import world
from tests.web.conftest import Serve

WRONG = license_key.make("DC", bytes(15))


@pytest.mark.parametrize("call", ["validate", "activate", "deactivate"])
def test_a_right_key_is_answered_where_wrong_ones_are_refused(shop: Context, serve: Serve, call: str) -> None:
    client = serve(failures_a_minute=3, per_key_a_minute=1000)

    def ask(key: str, what: str = call) -> int:
        body = {"key": key, "fingerprint": "machine-0001"}
        return client.post(f"/api/license/{what}", json=body).status_code

    order = operate.Order("dashcaddy/plan-0", "ann@example.com")
    _, right = operate.issue(shop, shop.master.id, order, operate.Act("tests"))
    # A minute may end between two calls, so more wrong keys are sent than two minutes allow.
    assert 429 in [ask(WRONG) for _ in range(7)]
    assert ask(right, "activate") == 200
    assert ask(right, "validate") == 200
    assert ask(right, "deactivate") == 200
    assert ask(WRONG) in (429, 200, 404)
    assert world.the_license(shop).seats == 1
