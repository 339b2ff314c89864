"""Webhooks: raw bytes in, an outcome out. Nothing is parsed here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from litestar import asgi

from keywright.domain.errors import BadSignature
from keywright.flows.connect_intake import receive_connected
from keywright.flows.connecting import CONNECT_PATH
from keywright.flows.intake import LARGEST_BODY, Intake
from keywright.web import wire
from keywright.web.straight import STRAIGHT
from keywright.web.watch import Watch

if TYPE_CHECKING:
    from litestar.handlers import ASGIRouteHandler
    from litestar.types import Receive, Scope, Send

_PROVIDERS = ("stripe", "paystack", "paypal")
_FREQUENT = ("applied", "duplicate")
_FREQUENT_BODIES = {name: wire.encode({"received": True, "outcome": name}) for name in _FREQUENT}


def routes(intake: Intake, watch: Watch) -> list[ASGIRouteHandler]:
    def hook(path: str, provider: str) -> ASGIRouteHandler:
        named = path.endswith("}")

        connected = path == CONNECT_PATH

        @asgi(path, copy_scope=False, opt=STRAIGHT)
        async def receive_webhook(scope: Scope, receive: Receive, send: Send) -> None:
            async def take(scope: Scope, receive: Receive) -> tuple[int, bytes]:
                raw = await wire.body_of(scope, receive, LARGEST_BODY)
                account = scope["path"].rpartition("/")[2] if named else None
                headers = wire.headers_of(scope)
                try:
                    if connected:
                        outcome = await receive_connected(intake, provider, raw, headers)
                    else:
                        outcome = await intake.receive(provider, raw, headers, account)
                except BadSignature:
                    watch.bad_signature(provider)
                    raise
                watch.event(provider, outcome.outcome)
                return 200, _body(outcome.outcome, outcome.reason)

            await wire.post(scope, receive, send, take)

        return receive_webhook

    return [
        *(hook(f"/api/webhooks/{name}", name) for name in _PROVIDERS),
        hook(CONNECT_PATH, "stripe"),
        # Each account of each tenant has an address of its own; the ones above are the master tenant's.
        *(hook(f"/api/webhooks/{name}/{{account:str}}", name) for name in _PROVIDERS),
        # Where sellers who come from elsewhere have pointed their provider to.
        hook("/api/stripe/webhook", "stripe"),
        hook("/api/billing/webhook/paystack", "paystack"),
    ]


def _body(outcome: str, reason: str | None) -> bytes:
    if reason is None and (made := _FREQUENT_BODIES.get(outcome)) is not None:
        return made
    shown = {"received": True, "outcome": outcome}
    return wire.encode(shown if reason is None else {**shown, "reason": reason})
