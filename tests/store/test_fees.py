"""The platform's fees: by month, whatever order they are told in, and however often."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import permutations

from keywright.domain.facts import FeeSeen, Stamp
from keywright.flows.context import Context
from keywright.store import fees
from keywright.store.connect_tables import platform_fees
from keywright.store.fees import Got

JANUARY = datetime(2027, 1, 20, tzinfo=UTC)
MARCH = datetime(2027, 3, 2, tzinfo=UTC)


def seen(fee: str, back: int, at: datetime, amount: int = 900) -> FeeSeen:
    return FeeSeen(Stamp(at, back, "0" * 64), fee, "acct_1", amount, back, "USD", JANUARY, "ch_1")


def test_fees_count_in_the_month_they_were_taken_and_given_back(context: Context) -> None:
    told = [seen("fee_1", 0, JANUARY), seen("fee_1", 300, JANUARY), seen("fee_1", 900, MARCH)]
    master, platform = context.master.id, context.channels["stripe"].account.id
    wanted = [Got(False, "2027-01", "USD", 900, 300), Got(False, "2027-03", "USD", 0, 600)]
    for order in permutations(told):
        with context.database.write() as connection:
            for one in order:
                fees.note(connection, master, platform, [one])
            fees.note(connection, master, platform, list(order))
            assert fees.since(connection, master, "2027-01") == wanted
            connection.execute(platform_fees.delete())
    with context.database.write() as connection:
        fees.note(connection, master, platform, [seen("fee_2", 100, MARCH, 250)])
        assert fees.since(connection, master, "2027-01") == [
            Got(False, "2027-01", "USD", 250, 0),
            Got(False, "2027-03", "USD", 0, 100),
        ]
        assert fees.since(connection, master, "2027-02") == [Got(False, "2027-03", "USD", 0, 100)]
        assert fees.since(connection, "ten_other", "2027-01") == []
