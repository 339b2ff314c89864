"""Where web callers open checkouts and have them verified: on threads of its own, within limits.

A provider that hangs holds these threads for a minute, and nobody else's.
"""

from __future__ import annotations

import asyncio
import copy
from typing import Self

from keywright.flows import checkout
from keywright.flows.checkout import Ask, Opened, Standing
from keywright.flows.context import Context
from keywright.flows.renewing import NO_PROOF, Proof
from keywright.web.limits import AddressLimit, Limit
from keywright.web.pool import Pool

_THREADS = 8
_MOST_WAITING = 64
_OPENED_A_MINUTE = 120  # from one address, which may be a shop's own server
_VERIFIED_A_MINUTE = 6  # of one checkout


class Till:
    """One for each tenant, with the limits and the threads of the process."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self._opened = AddressLimit(_OPENED_A_MINUTE)
        self._verified = Limit(_VERIFIED_A_MINUTE)
        self._pool = Pool(
            "checkout",
            threads=_THREADS,
            most_waiting=_MOST_WAITING,
            full="The payment provider is slow at the moment. Please try again.",
        )

    def of(self, context: Context) -> Self:
        """The till of another tenant: whoever asks there has asked here, and the threads are the same."""
        other = copy.copy(self)
        other.context = context
        return other

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
        return await self._pool.start(
            lambda: checkout.open_checkout(
                self.context, ask, idempotency_key=idempotency_key, proof=proof, language=language
            )
        )

    async def verify(self, reference: str) -> Standing:
        """Ask the provider. Raises what `verify_now` raises, TooMany, Unavailable."""
        self._verified.count(reference)
        return await self._pool.start(lambda: checkout.verify_now(self.context, reference))

    async def look(self, reference: str, claim_token: str | None) -> Standing:
        """How a checkout stands; with a claim token, the keys."""
        if claim_token is None:
            return await asyncio.to_thread(checkout.status, self.context, reference)
        return await asyncio.to_thread(checkout.claim, self.context, reference, claim_token)
