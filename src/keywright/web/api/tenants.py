"""`/api/admin/tenants`: the sellers that this installation serves. For tokens of the master tenant alone."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Router, get, patch, post
from litestar.params import FromPath, FromQuery, JSONBody

from keywright.flows import tenants
from keywright.flows.context import Context
from keywright.flows.tenants import Change, TenantPage, TenantSeen
from keywright.web.auth import actor_of, needs, token_of
from keywright.web.queries import refuse_unknown
from keywright.web.strict_body import StrictRequest


class TenantBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`slug`: small letters, digits and inner hyphens; part of the addresses of the tenant's pages."""

    name: str
    slug: str
    email: str | None = None
    reason: str | None = None


class ChangeBody(Change, frozen=True, forbid_unknown_fields=True):
    """What is left out stays as it is."""

    reason: str | None = None


def routes(context: Context) -> list[Router]:
    """The routes. Raises Forbidden for a token of another tenant than the master."""
    shared: dict[str, Any] = {
        "guards": [needs(context, "admin")],
        "sync_to_thread": True,
        "request_class": StrictRequest,
        "include_in_schema": True,
        "tags": ["tenants"],
    }

    @get("/api/admin/tenants", **shared)
    def list_tenants(
        request: StrictRequest,
        q: FromQuery[str | None] = None,
        cursor: FromQuery[str | None] = None,
        limit: FromQuery[int] = 50,
    ) -> TenantPage:
        refuse_unknown(request, "q", "cursor", "limit")
        tenants.demand_master(context, token_of(request).tenant_id)
        return tenants.list_page(context, text=q or "", cursor=cursor, limit=limit)

    @post("/api/admin/tenants", status_code=201, **shared)
    def create_tenant(request: StrictRequest, data: JSONBody[TenantBody]) -> TenantSeen:
        tenants.demand_master(context, token_of(request).tenant_id)
        by = actor_of(request)
        return tenants.create(context, data.name, data.slug, data.email, by=by, why=data.reason)

    @get("/api/admin/tenants/{tenant_id:str}", **shared)
    def get_tenant(request: StrictRequest, tenant_id: FromPath[str]) -> TenantSeen:
        refuse_unknown(request)
        tenants.demand_master(context, token_of(request).tenant_id)
        return tenants.show(context, tenant_id)

    @patch("/api/admin/tenants/{tenant_id:str}", **shared)
    def change_tenant(
        request: StrictRequest, tenant_id: FromPath[str], data: JSONBody[ChangeBody]
    ) -> TenantSeen:
        tenants.demand_master(context, token_of(request).tenant_id)
        return tenants.change(context, tenant_id, data, by=actor_of(request), why=data.reason)

    # A router: handlers of one path that are registered one by one are wrapped twice, and answer nothing.
    return [Router("/", route_handlers=[list_tenants, create_tenant, get_tenant, change_tenant])]
