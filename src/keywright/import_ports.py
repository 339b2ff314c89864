"""What an import needs from a provider: everything that there is, page by page, at the provider's pace."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

from keywright.ports import ChangePage, PriceSeen

Turn = Callable[[], None]
"""Waits until the next request may be sent. Called before each one, from any thread."""


class Existing(Protocol):
    """One listing of what a seller has at the provider. A cursor stays good when the process is gone."""

    def page(self, cursor: str | None) -> ChangePage:
        """The next page: subscriptions in every status with what tells who bought, and what is paid.

        `cursor` is the `next` of the page before, None for the first. Everything about one subscription is on
        one page, or may come in any order. Raises ProviderUnavailable, Misconfigured; Unsupported where the
        account may not list them; Invalid for a cursor that is none.
        """
        ...

    def find(self, subscription: str) -> ChangePage:
        """The same for one subscription. Raises NotFound as well."""
        ...

    def prices(self, ids: Sequence[str]) -> tuple[PriceSeen, ...]:
        """These prices, whether they are still sold or not; those that cannot be in a catalog left out.

        Raises ProviderUnavailable, Misconfigured.
        """
        ...


@runtime_checkable
class ImportApi(Protocol):
    """The side of a `PaymentApi` that an import asks."""

    @property
    def a_second(self) -> float:
        """How many requests a second it may send, with room left for the shop that goes on selling."""
        ...

    def existing(self, turn: Turn) -> Existing:
        """A listing that waits for its turn before every request."""
        ...
