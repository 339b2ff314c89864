"""A digest of ours must not be taken for a card number: that would refuse a payment for ever."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from keywright.domain.card_numbers import find_card_numbers
from keywright.providers.paystack.hook import PaystackEvents

AT = datetime(2026, 11, 21, tzinfo=UTC)


def test_no_digest_in_a_key_looks_like_a_card_number() -> None:
    looks_like_one = "5527267650395534"
    assert find_card_numbers(f"fetched.transaction:T1:1795168800:{looks_like_one}") == [looks_like_one]
    assert find_card_numbers(f"fetched.transaction:T1:1795168800:d{looks_like_one}") == []


def test_the_keys_of_what_is_fetched_carry_their_digest_behind_a_letter() -> None:
    told = {"event": "fetched.dispute", "at": AT.isoformat(), "data": {"id": 7, "status": "resolved"}}
    key = PaystackEvents().project(json.dumps(told).encode(), fetched=True).dedupe_key
    assert key.rpartition(":")[2].startswith("d")
