"""Types of events, their bodies, and the schedule."""

from __future__ import annotations

from base64 import b64decode
from datetime import timedelta

import pytest

from keywright.domain import rule, webhook


def test_every_kind_that_is_told_is_one_of_the_timeline() -> None:
    for kind in webhook._TYPE_OF_KIND:
        assert kind in rule._OF_CHANGES or kind in rule._OF_ACTS


@pytest.mark.parametrize(
    ("kind", "status", "event"),
    [
        ("license.issued", "active", "license.issued"),
        ("license.imported", "active", "license.issued"),
        ("license.extended", "active", "license.renewed"),
        ("license.refunded", "active", "license.refunded"),
        ("license.refunded", "revoked", "license.revoked"),
        ("activation.lapsed", "active", "activation.released"),
        ("mail.sent", "active", None),
        ("license.noted", "active", None),
    ],
)
def test_a_kind_has_one_type(kind: str, status: str, event: str | None) -> None:
    assert webhook.type_of(kind, status) == event  # type: ignore[arg-type]  # a status from the table above


def test_the_pauses_grow_for_three_days() -> None:
    pauses = [webhook.next_pause(made, 0, None) for made in range(1, webhook.ATTEMPTS)]
    assert [pause.total_seconds() for pause in pauses if pause is not None] == [
        *(5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400)
    ]
    assert webhook.next_pause(webhook.ATTEMPTS, 0, timedelta(seconds=1)) is None


def test_a_pause_differs_by_a_tenth_and_waits_for_what_was_asked() -> None:
    assert webhook.next_pause(2, 1, None) == timedelta(seconds=330)
    assert webhook.next_pause(2, -1, None) == timedelta(seconds=270)
    assert webhook.next_pause(1, 0, timedelta(hours=1)) == timedelta(hours=1)
    assert webhook.next_pause(2, 0, timedelta(seconds=1)) == timedelta(seconds=300)
    assert webhook.next_pause(1, 0, timedelta(days=400)) == timedelta(hours=24)


def test_a_secret_is_written_as_the_standard_has_it() -> None:
    made = webhook.make_secret(bytes(range(32)))
    assert made.startswith("whsec_")
    assert b64decode(made.removeprefix("whsec_")) == bytes(range(32))
