"""`/_sandbox/`: a shop that was there before, and how many requests a provider takes."""

from __future__ import annotations

import random
from typing import Annotated, Any, Literal

import msgspec
from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.params import JSONBody

from keywright.sandbox import paypal_fill, paystack_fill, stripe_fill
from keywright.sandbox.guards import json_only
from keywright.sandbox.rate_limits import RETRY_AFTER, Provider
from keywright.sandbox.sandbox import Sandbox

Box = NamedDependency[Sandbox]
Answer = dict[str, Any]

_MOST = 20_000


class FillWish(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How many subscriptions at which provider; the same `seed` makes the same shop."""

    provider: Literal["stripe", "paystack", "paypal"]
    subscriptions: Annotated[int, msgspec.Meta(ge=1, le=_MOST)]
    seed: int | None = None


class LimitWish(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Requests a second that a provider takes; None: as many as come."""

    provider: Literal["stripe", "paystack", "paypal"]
    a_second: Annotated[float, msgspec.Meta(gt=0, le=10_000)] | None = None


class FillController(Controller):
    """Each lever answers with what it did."""

    path = "/_sandbox"
    guards = (json_only,)

    @post("/fill", status_code=200)
    async def fill(self, data: JSONBody[FillWish], sandbox: Box) -> Answer:
        """Have so many subscriptions, of every status and age, with nothing sent."""
        seed = data.seed if data.seed is not None else random.randrange(2**31)  # noqa: S311  # no secret
        if data.provider == "stripe":
            prices = stripe_fill.fill(sandbox.state, data.subscriptions, seed)
        elif data.provider == "paystack":
            prices = paystack_fill.fill(sandbox.paystack.state, data.subscriptions, seed)
        else:
            prices = paypal_fill.fill(sandbox.paypal.state, data.subscriptions, seed)
        return {"subscriptions": data.subscriptions, "seed": seed, "prices": prices}

    @post("/limits", status_code=200)
    async def limit(self, data: JSONBody[LimitWish], sandbox: Box) -> Answer:
        """From now on the provider takes so many requests a second, and answers 429 to the others."""
        sandbox.limits.set(data.provider, data.a_second)
        return {"provider": data.provider, "a_second": data.a_second}

    @get("/requests")
    async def requests(self, sandbox: Box) -> Answer:
        """How many requests came to each provider since its limit was set, and how many were refused."""
        return {name: msgspec.to_builtins(seen) for name, seen in sandbox.limits.seen.items()}


def refusal(sandbox: Sandbox, path: str) -> Response[Answer] | None:
    """What a request that comes too fast is answered; None for one that may pass."""
    refused = sandbox.limits.refuse(path)
    if refused is None:
        return None
    provider: Provider = refused[0]
    headers = {"Retry-After": str(RETRY_AFTER)}
    if provider == "stripe":
        headers["Stripe-Rate-Limited-Reason"] = "global-rate"
    return Response(refused[1], status_code=429, headers=headers, media_type="application/json")
