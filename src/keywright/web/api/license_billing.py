"""`/api/admin/licenses/{id}/...`: what a seller changes at the provider, and why a license is what it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from litestar import get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, JSONBody

from keywright.flows import billing, explain
from keywright.flows.billing import Accepted, PortalLink
from keywright.flows.context import Context
from keywright.flows.explain import Explained
from keywright.flows.operate import Act
from keywright.flows.tokens import Scope
from keywright.ports import Preview
from keywright.web.auth import actor_of, needs, token_of
from keywright.web.strict_body import StrictRequest

Asked = StrictRequest
_ONE = "/api/admin/licenses/{license_id:str}"


class _Body(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A body whose unknown members are refused."""


class SeatsBody(_Body, frozen=True):
    """`quantity` as bought. `expected`: the preview's `due_now`; nothing is done when it has become more."""

    quantity: int
    preview: bool = False
    expected: int | None = None
    reason: str | None = None


class ReasonBody(_Body, frozen=True):
    reason: str | None = None


class RefundBody(_Body, frozen=True):
    """`amount` in ISO minor units; without it all that is left. Without `payment`: the newest one."""

    amount: int | None = None
    payment: str | None = None
    reason: str | None = None


class PortalBody(_Body, frozen=True):
    return_url: str
    reason: str | None = None


def routes(context: Context) -> Sequence[HTTPRouteHandler]:
    """Every route, for the tenant of the token that asks."""
    return [_explain(context), *_changes(context), *_money(context)]


def _explain(context: Context) -> HTTPRouteHandler:
    @get(f"{_ONE}/explain", **_shared(context, "read"))
    def explain_license(request: Asked, license_id: FromPath[str]) -> Explained:
        return explain.explain(context, token_of(request).tenant_id, license_id)

    return explain_license


def _changes(context: Context) -> Sequence[HTTPRouteHandler]:
    writes = _shared(context, "write")

    @post(f"{_ONE}/seats", status_code=200, **writes)
    def change_seats(
        request: Asked, license_id: FromPath[str], data: JSONBody[SeatsBody]
    ) -> Preview | Accepted:
        tenant = token_of(request).tenant_id
        if data.preview:
            return billing.preview_seats(context, tenant, license_id, data.quantity)
        return billing.change_seats(
            context,
            tenant,
            license_id,
            _act(request, data.reason),
            data.quantity,
            expected=data.expected,
            key=_key(request),
        )

    @post(f"{_ONE}/cancel", status_code=200, **writes)
    def cancel_license(
        request: Asked, license_id: FromPath[str], data: JSONBody[ReasonBody | None] = None
    ) -> Accepted:
        act = _act(request, data.reason if data is not None else None)
        return billing.cancel(context, token_of(request).tenant_id, license_id, act, key=_key(request))

    @post(f"{_ONE}/resume", status_code=200, **writes)
    def resume_license(
        request: Asked, license_id: FromPath[str], data: JSONBody[ReasonBody | None] = None
    ) -> Accepted:
        act = _act(request, data.reason if data is not None else None)
        return billing.resume(context, token_of(request).tenant_id, license_id, act, key=_key(request))

    return [change_seats, cancel_license, resume_license]


def _money(context: Context) -> Sequence[HTTPRouteHandler]:
    writes = _shared(context, "write")

    @post(f"{_ONE}/refund", status_code=200, **writes)
    def refund_license(
        request: Asked, license_id: FromPath[str], data: JSONBody[RefundBody | None] = None
    ) -> Accepted:
        told = data if data is not None else RefundBody()
        return billing.refund(
            context,
            token_of(request).tenant_id,
            license_id,
            _act(request, told.reason),
            amount=told.amount,
            payment=told.payment,
            key=_key(request),
        )

    @post(f"{_ONE}/portal", status_code=200, **writes)
    def open_portal(request: Asked, license_id: FromPath[str], data: JSONBody[PortalBody]) -> PortalLink:
        act = _act(request, data.reason)
        return billing.portal(context, token_of(request).tenant_id, license_id, act, data.return_url)

    return [refund_license, open_portal]


def _shared(context: Context, scope: Scope) -> dict[str, Any]:
    return {
        "guards": [needs(context, scope)],
        "sync_to_thread": True,
        "request_class": StrictRequest,
        "include_in_schema": True,
        "tags": ["licenses"],
    }


def _act(request: Asked, reason: str | None) -> Act:
    return Act(actor_of(request), reason)


def _key(request: Asked) -> str | None:
    return request.headers.get("idempotency-key")
