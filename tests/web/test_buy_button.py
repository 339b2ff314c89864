"""The buy button, and the order form that it leads to."""

from __future__ import annotations

import re

import pytest

from tests.web.conftest import Serve

only_sqlite = pytest.mark.parametrize("prepared", ["sqlite"], indirect=True)


@only_sqlite
def test_the_script_may_be_used_by_any_page_and_does_nothing_a_policy_forbids(serve: Serve) -> None:
    answer = serve().get("/buy.js")
    assert answer.headers["content-type"] == "text/javascript; charset=utf-8"
    assert answer.headers["cross-origin-resource-policy"] == "cross-origin"
    assert answer.headers["access-control-allow-origin"] == "*"
    code = re.sub(r"^//.*$", "", answer.text, flags=re.MULTILINE)
    assert "createElement" in code
    assert not re.search(r"eval|innerHTML|document\.write|style|cookie|fetch|setAttribute", code)


@only_sqlite
def test_the_demo_is_there_in_sandbox_mode_alone(serve: Serve) -> None:
    page = serve(sandbox=True).get("/demo/buy-button")
    assert 'src="/buy.js" data-plan="dashcaddy/plan-0"' in page.text
    assert serve().get("/demo/buy-button").status_code == 404


@only_sqlite
def test_the_order_form_takes_interval_and_quantity_from_the_address(serve: Serve) -> None:
    client = serve()
    page = client.get("/buy/dashcaddy?plan=plan-1&interval=month&quantity=7").text
    assert re.search(r'value="plan-1/[^"]+" required checked', page)
    assert 'name="quantity" value="7"' in page
    for wrong in ("0", "x", "9999999"):
        assert 'name="quantity" value="1"' in client.get(f"/buy/dashcaddy?quantity={wrong}").text
    assert "nothing was charged" in client.get("/buy/dashcaddy?canceled=yes").text
