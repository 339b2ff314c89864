"""Where web callers open checkouts and have them verified: on threads of its own, within limits.

A provider that hangs holds these threads for a minute, and nobody else's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from keywright.domain.errors import Unavailable
from keywright.flows import checkout
from keywright.flows.checkout import Ask, Opened, Standing
from keywright.flows.context import Context
from keywright.flows.renewing import NO_PROOF, Proof
from keywright.web.limits import AddressLimit, Limit

T = TypeVar("T")

_THREADS = 8
_MOST_WAITING = 64
_OPENED_A_MINUTE = 120  # from one address, which may be a shop's own server
_VERIFIED_A_MINUTE = 6  # of one checkout


class Till:
    """One per process."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self._opened = AddressLimit(_OPENED_A_MINUTE)
        self._verified = Limit(_VERIFIED_A_MINUTE)
        self._threads = ThreadPoolExecutor(max_workers=_THREADS, thread_name_prefix="checkout")
        self._busy = 0

    async def open(
        self,
        ask: Ask,
        idempotency_key: str | None,
        address: str,
        proof: Proof = NO_PROOF,
        language: str | None = None,
    ) -> Opened:
        """Open a checkout. Raises what `open_checkout` raises, TooMany, Unavailable."""
        self._opened.count(address)
        return await self._run(
            lambda: checkout.open_checkout(
                self.context, ask, idempotency_key=idempotency_key, proof=proof, language=language
            )
        )

    async def verify(self, reference: str) -> Standing:
        """Ask the provider. Raises what `verify_now` raises, TooMany, Unavailable."""
        self._verified.count(reference)
        return await self._run(lambda: checkout.verify_now(self.context, reference))

    async def look(self, reference: str, claim_token: str | None) -> Standing:
        """How a checkout stands; with a claim token, the keys."""
        if claim_token is None:
            return await asyncio.to_thread(checkout.status, self.context, reference)
        return await asyncio.to_thread(checkout.claim, self.context, reference, claim_token)

    async def _run(self, call: Callable[[], T]) -> T:
        if self._busy >= _MOST_WAITING:
            raise Unavailable("The payment provider is slow at the moment. Please try again.", retry_after=5)
        self._busy += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, call)
        finally:
            self._busy -= 1
