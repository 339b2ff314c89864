"""`/api/admin/webhook-endpoints`, `webhook-deliveries`: who is told what becomes of licenses."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Router, delete, get, patch, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, FromQuery, JSONBody

from keywright.flows import webhook_deliveries, webhooks
from keywright.flows.context import Context
from keywright.flows.operate import Act
from keywright.flows.webhook_deliveries import DeliveryPage, DeliveryRow
from keywright.flows.webhooks import Change, EndpointMade, EndpointPage, EndpointRow, Tried
from keywright.web.auth import actor_of, needs, token_of
from keywright.web.queries import present, refuse_unknown
from keywright.web.strict_body import StrictRequest

_ENDPOINTS = "/api/admin/webhook-endpoints"
_ENDPOINT = _ENDPOINTS + "/{endpoint_id:str}"
_DELIVERIES = "/api/admin/webhook-deliveries"


class EndpointBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`types` left out: every event."""

    url: str
    types: list[str] = []
    note: str = ""


class ChangeBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    url: str | None = None
    types: list[str] | None = None
    note: str | None = None
    enabled: bool | None = None


class RotateBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`overlap_hours`: for so long the secret before signs as well; 24 when left out."""

    overlap_hours: int | None = None


def routes(context: Context) -> list[Router]:
    """Every route, for the tenant of the token that asks. The address of a receiver may be a secret of its:
    endpoints are the administrators'."""
    shared: dict[str, Any] = {
        "sync_to_thread": True,
        "request_class": StrictRequest,
        "include_in_schema": True,
        "tags": ["webhooks"],
    }
    handlers = [
        *_endpoint_reads(context, shared),
        *_endpoint_acts(context, shared),
        *_deliveries(context, shared),
    ]
    # As one router: the framework wraps a handler anew for each method that its path gets later, and a
    # handler that runs in a thread survives that once.
    return [Router("/", route_handlers=handlers)]


def _endpoint_reads(context: Context, shared: dict[str, Any]) -> list[HTTPRouteHandler]:
    guards = [needs(context, "admin")]

    @get(_ENDPOINTS, guards=guards, **shared)
    def list_webhook_endpoints(request: StrictRequest) -> EndpointPage:
        refuse_unknown(request)
        return webhooks.list_endpoints(context, token_of(request).tenant_id)

    @get(_ENDPOINT, guards=guards, **shared)
    def get_webhook_endpoint(request: StrictRequest, endpoint_id: FromPath[str]) -> EndpointRow:
        return webhooks.show(context, token_of(request).tenant_id, endpoint_id)

    return [list_webhook_endpoints, get_webhook_endpoint]


def _endpoint_acts(context: Context, shared: dict[str, Any]) -> list[HTTPRouteHandler]:
    guards = [needs(context, "admin")]

    @post(_ENDPOINTS, guards=guards, status_code=201, **shared)
    def make_webhook_endpoint(request: StrictRequest, data: JSONBody[EndpointBody]) -> EndpointMade:
        return webhooks.create(
            context,
            token_of(request).tenant_id,
            data.url,
            data.types,
            data.note,
            act=Act(actor_of(request)),
        )

    @patch(_ENDPOINT, guards=guards, **shared)
    def change_webhook_endpoint(
        request: StrictRequest, endpoint_id: FromPath[str], data: JSONBody[ChangeBody]
    ) -> EndpointRow:
        types = None if data.types is None else tuple(data.types)
        told = Change(data.url, types, data.note, data.enabled)
        return webhooks.change(
            context, token_of(request).tenant_id, endpoint_id, told, act=Act(actor_of(request))
        )

    @delete(_ENDPOINT, guards=guards, status_code=204, **shared)
    def delete_webhook_endpoint(request: StrictRequest, endpoint_id: FromPath[str]) -> None:
        webhooks.delete(context, token_of(request).tenant_id, endpoint_id, act=Act(actor_of(request)))

    @post(f"{_ENDPOINT}/rotate-secret", guards=guards, status_code=200, **shared)
    def rotate_webhook_secret(
        request: StrictRequest, endpoint_id: FromPath[str], data: JSONBody[RotateBody | None] = None
    ) -> EndpointMade:
        hours = data.overlap_hours if data is not None else None
        tenant = token_of(request).tenant_id
        return webhooks.rotate_secret(
            context, tenant, endpoint_id, overlap_hours=hours, act=Act(actor_of(request))
        )

    @post(f"{_ENDPOINT}/test", guards=guards, status_code=200, **shared)
    def test_webhook_endpoint(request: StrictRequest, endpoint_id: FromPath[str]) -> Tried:
        return webhooks.try_out(context, token_of(request).tenant_id, endpoint_id, act=Act(actor_of(request)))

    return [
        make_webhook_endpoint,
        change_webhook_endpoint,
        delete_webhook_endpoint,
        rotate_webhook_secret,
        test_webhook_endpoint,
    ]


def _deliveries(context: Context, shared: dict[str, Any]) -> list[HTTPRouteHandler]:
    @get(_DELIVERIES, guards=[needs(context, "read")], **shared)
    def list_webhook_deliveries(
        request: StrictRequest,
        endpoint: FromQuery[str | None] = None,
        type: FromQuery[str | None] = None,  # noqa: A002  # the name of the filter in the API
        status: FromQuery[str | None] = None,
        cursor: FromQuery[str | None] = None,
        limit: FromQuery[int] = 50,
    ) -> DeliveryPage:
        refuse_unknown(request, *webhook_deliveries.FILTERS, "cursor", "limit")
        given = present({"endpoint": endpoint, "type": type, "status": status})
        tenant = token_of(request).tenant_id
        return webhook_deliveries.list_deliveries(context, tenant, given, cursor=cursor, limit=limit)

    @post(
        f"{_DELIVERIES}/{{delivery_id:str}}/redeliver",
        guards=[needs(context, "write")],
        status_code=200,
        **shared,
    )
    def redeliver_webhook(request: StrictRequest, delivery_id: FromPath[str]) -> DeliveryRow:
        tenant = token_of(request).tenant_id
        return webhook_deliveries.redeliver(context, tenant, delivery_id, act=Act(actor_of(request)))

    return [list_webhook_deliveries, redeliver_webhook]
