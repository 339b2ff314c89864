"""Lives as buyers, banks and sellers live them at the stand-ins: which step on which day, for each provider.

What a provider cannot do is not in its list, and `LEFT_OUT` says why.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

from keywright.domain.license import Status

LAST_DAY = 96.0


class Actor(Protocol):
    """Who lives: buys at the shop, and pays, disputes or gives back at the provider."""

    def buy(self, plan: str, quantity: int = 1) -> None: ...
    def seats(self, quantity: int) -> None: ...
    def upgrade(self, plan: str) -> None: ...
    def card(self, *, pays: bool) -> None: ...
    def cancel(self) -> None: ...
    def resume(self) -> None: ...
    def refund(self, share: float, *, purchase: int = -1, arrives: bool = True) -> None: ...
    def fail_refund(self) -> None: ...
    def dispute(self) -> None: ...
    def resolve(self, *, won: bool) -> None: ...


class Held(NamedTuple):
    """What a license must be on that day, in the life that is told in order. Purchases count from 0."""

    status: Status
    seats: int = 1
    purchase: int = 0


Step = Callable[[Actor], None] | Held
Life = Callable[[], list[tuple[float, Step]]]


def trial_seats_failure_recovery_cancel() -> list[tuple[float, Step]]:
    return [
        (0, lambda it: it.buy("tryout", 2)),
        (4, Held("active", 2)),
        (20, lambda it: it.seats(5)),
        (21, Held("active", 5)),
        (40, lambda it: it.card(pays=False)),
        (46, Held("grace", 5)),
        (48, lambda it: it.card(pays=True)),
        (51, Held("active", 5)),
        (60, lambda it: it.cancel()),
        (LAST_DAY, Held("expired", 5)),
    ]


def failure_recovery_cancel() -> list[tuple[float, Step]]:
    """The same where there are neither trials nor seats, and a failed charge is tried again a month later."""
    return [
        (0, lambda it: it.buy("pro")),
        (31, Held("active")),
        (40, lambda it: it.card(pays=False)),
        (60, Held("grace")),
        (62, lambda it: it.card(pays=True)),
        (91, Held("active")),
        (92, lambda it: it.cancel()),
        (LAST_DAY, Held("active")),
    ]


def never_recovered() -> list[tuple[float, Step]]:
    return [
        (31, lambda it: it.buy("pro")),
        (40, lambda it: it.card(pays=False)),
        (60, Held("grace")),
        (LAST_DAY, Held("expired")),
    ]


def refund_in_halves() -> list[tuple[float, Step]]:
    return [
        (70, lambda it: it.buy("pro")),
        (72, lambda it: it.refund(0.5)),
        (73, Held("active")),
        (74, lambda it: it.refund(0.5)),
        (75, Held("revoked")),
        (LAST_DAY, Held("revoked")),
    ]


def refund_that_failed() -> list[tuple[float, Step]]:
    return [
        (70, lambda it: it.buy("pro")),
        (72, lambda it: it.refund(1, arrives=False)),
        (76, lambda it: it.fail_refund()),
        (LAST_DAY, Held("active")),
    ]


def half_of_a_refund_failed() -> list[tuple[float, Step]]:
    return [
        (70, lambda it: it.buy("pro")),
        (72, lambda it: it.refund(0.5, arrives=False)),
        (74, lambda it: it.fail_refund()),
        (76, lambda it: it.refund(0.5)),
        (77, Held("active")),
        (78, lambda it: it.refund(0.5)),
        (LAST_DAY, Held("revoked")),
    ]


def a_renewal_refunded() -> list[tuple[float, Step]]:
    return [
        (40, lambda it: it.buy("pro")),
        (70, Held("active")),
        (72, lambda it: it.refund(1)),
        (73, Held("revoked")),
        (LAST_DAY, Held("revoked")),
    ]


def dispute_won() -> list[tuple[float, Step]]:
    return [
        (70, lambda it: it.buy("pro")),
        (72, lambda it: it.dispute()),
        (73, Held("suspended")),
        (76, lambda it: it.resolve(won=True)),
        (LAST_DAY, Held("active")),
    ]


def dispute_lost() -> list[tuple[float, Step]]:
    return [
        (70, lambda it: it.buy("pro")),
        (72, lambda it: it.dispute()),
        (73, Held("suspended")),
        (76, lambda it: it.resolve(won=False)),
        (LAST_DAY, Held("revoked")),
    ]


def resubscribed() -> list[tuple[float, Step]]:
    return [
        (31, lambda it: it.buy("pro")),
        (40, lambda it: it.cancel()),
        (60, Held("expired")),
        (70, lambda it: it.buy("pro")),
        (LAST_DAY, Held("expired")),
        (LAST_DAY, Held("active", 1, 1)),
    ]


def upgraded() -> list[tuple[float, Step]]:
    return [
        (70, lambda it: it.buy("pro", 2)),
        (71, Held("active", 2)),
        (72, lambda it: it.upgrade("team")),
        (LAST_DAY, Held("active", 10)),
    ]


def fewer_seats() -> list[tuple[float, Step]]:
    return [
        (40, lambda it: it.buy("pro", 9)),
        (48, lambda it: it.seats(4)),
        (51, Held("active", 9)),
        (70, Held("active", 4)),
        (LAST_DAY, Held("active", 4)),
    ]


def two_purchases_of_one_customer() -> list[tuple[float, Step]]:
    return [
        (70, lambda it: it.buy("pro")),
        (72, lambda it: it.buy("pro")),
        (74, lambda it: it.buy("once")),
        (76, lambda it: it.refund(1, purchase=0)),
        (LAST_DAY, Held("revoked")),
        (LAST_DAY, Held("active", 1, 1)),
        (LAST_DAY, Held("active", 1, 2)),
    ]


def one_off() -> list[tuple[float, Step]]:
    return [
        (70, lambda it: it.buy("once")),
        (72, lambda it: it.refund(0.5)),
        (74, lambda it: it.dispute()),
        (76, lambda it: it.resolve(won=True)),
        (LAST_DAY, Held("active")),
    ]


def one_off_refunded() -> list[tuple[float, Step]]:
    return [
        (70, lambda it: it.buy("once")),
        (72, lambda it: it.refund(0.5)),
        (74, lambda it: it.refund(0.5)),
        (LAST_DAY, Held("revoked")),
    ]


def canceled_and_resumed() -> list[tuple[float, Step]]:
    return [
        (70, lambda it: it.buy("pro")),
        (72, lambda it: it.cancel()),
        (73, Held("active")),
        (76, lambda it: it.resume()),
        (LAST_DAY, Held("active")),
    ]


_EVERYWHERE: tuple[Life, ...] = (
    never_recovered,
    refund_in_halves,
    a_renewal_refunded,
    dispute_won,
    dispute_lost,
    resubscribed,
    two_purchases_of_one_customer,
    one_off,
    one_off_refunded,
)
_FAILING: tuple[Life, ...] = (refund_that_failed, half_of_a_refund_failed)
_SEATS: tuple[Life, ...] = (trial_seats_failure_recovery_cancel, upgraded, fewer_seats)

LIVES: dict[str, tuple[Life, ...]] = {
    "stripe": (*_EVERYWHERE, *_FAILING, *_SEATS, canceled_and_resumed),
    "paystack": (*_EVERYWHERE, *_FAILING, failure_recovery_cancel),
    "paypal": (*_EVERYWHERE, *_SEATS),
}
LEFT_OUT: dict[str, dict[Life, str]] = {
    "stripe": {failure_recovery_cancel: "it is lived with a trial and seats"},
    "paystack": {
        trial_seats_failure_recovery_cancel: "no trials, no quantity on a plan: lived without them",
        upgraded: "a subscription cannot change its plan",
        fewer_seats: "no quantity on a plan",
        canceled_and_resumed: "resuming is told to nobody: the comparison finds it",
    },
    "paypal": {
        refund_that_failed: "a refund is done, or refused at once",
        half_of_a_refund_failed: "a refund is done, or refused at once",
        canceled_and_resumed: "a canceled subscription is over",
        failure_recovery_cancel: "it is lived with a trial and seats",
    },
}
