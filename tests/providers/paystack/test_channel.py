"""What the settings make of Paystack."""

from __future__ import annotations

from typing import Any

import pytest

from keywright import bootstrap
from keywright.flows.context import Context
from keywright.providers.paystack.api import access_code_of
from tests.conftest import Prepared, test_settings

KEYS = {"paystack_secret_key": "sk_test_new,sk_test_old", "paystack_public_key": "pk_test_1"}


def built(prepared: Prepared, **more: Any) -> Context:
    made = test_settings(prepared.url, prepared.folder, **more)
    database = bootstrap.open_database(made)
    try:
        return bootstrap.build(made, database)
    finally:
        database.dispose()


def test_without_a_key_there_is_no_paystack(prepared: Prepared) -> None:
    assert "paystack" not in built(prepared).channels


def test_the_new_key_asks_and_both_are_heard(prepared: Prepared) -> None:
    context = built(prepared, **KEYS)
    channel = context.channels["paystack"]
    assert channel.secrets == ("sk_test_new", "sk_test_old")
    assert channel.api is not None
    assert channel.billing is not None
    assert channel.account.live is False
    assert channel.needs_email
    assert context.policy.publishable_keys["paystack"] == "pk_test_1"
    assert "https://checkout.paystack.com" in context.policy.pay_origins


def test_the_checkout_in_the_page_needs_the_public_key_and_paystack_itself(prepared: Prepared) -> None:
    inline = built(prepared, **KEYS).channels["paystack"].inline
    assert inline is not None
    assert (inline.script, inline.frame) == (
        "https://js.paystack.co/v2/inline.js",
        "https://checkout.paystack.com",
    )
    assert inline.code_of("https://checkout.paystack.com/3ni8kdavz62431k") == "3ni8kdavz62431k"
    unnamed = {**KEYS, "paystack_public_key": None}
    sandbox = {**KEYS, "paystack_api_base": "http://127.0.0.1:9/paystack", "keywright_mode": "sandbox"}
    for more in (unnamed, sandbox):
        context = built(prepared, **more)
        assert context.channels["paystack"].inline is None
    assert "http://127.0.0.1:9/paystack" in context.policy.pay_origins


@pytest.mark.parametrize(
    "url", ["https://checkout.paystack.com/", "https://x.example/a b", "https://x.example"]
)
def test_an_address_without_a_code_opens_nothing(url: str) -> None:
    assert access_code_of(url) is None
