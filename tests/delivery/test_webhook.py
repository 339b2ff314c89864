"""Signatures as Standard Webhooks has them, with the constants of its reference libraries."""

from __future__ import annotations

import json
from pathlib import Path

from keywright.delivery.webhook import sign

GIVEN = json.loads(
    (Path(__file__).parents[1] / "fixtures" / "crypto" / "webhooks" / "standard_webhooks.json").read_text()
)["base"]


def test_the_known_signature() -> None:
    made = sign([GIVEN["secret"]], GIVEN["id"], GIVEN["timestamp"], GIVEN["payload"].encode())
    assert made == GIVEN["signature"]


def test_two_secrets_make_two_signatures_with_a_blank_between() -> None:
    other = "whsec_" + "A" * 43 + "="
    both = sign([other, GIVEN["secret"]], GIVEN["id"], GIVEN["timestamp"], GIVEN["payload"].encode())
    assert both.split(" ")[1] == GIVEN["signature"]
    assert both.split(" ")[0].startswith("v1,")
