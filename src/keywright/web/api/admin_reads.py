"""`/api/admin/*`: what else is read there: the catalog, customers, the audit, the store, the work."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from litestar import get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, FromQuery, JSONBody

from keywright.flows import admin_views
from keywright.flows.admin_views import (
    AccountPage,
    AuditPage,
    CustomerPage,
    CustomerSeen,
    PlanPage,
    PricePage,
    ProductPage,
    StoreSeen,
)
from keywright.flows.context import Context
from keywright.flows.operate import text_of
from keywright.flows.tokens import Scope
from keywright.web.auth import actor_of, needs, token_of
from keywright.web.queries import present, refuse_unknown
from keywright.web.strict_body import StrictRequest
from keywright.workflows.views import Hand, Work, WorkPage, Works, unknown_work

Asked = StrictRequest


def routes(context: Context) -> Sequence[HTTPRouteHandler]:
    """Every route, for the tenant of the token that asks."""
    return [*_catalog(context), *_people(context), *_audit(context), *_work(context)]


def _catalog(context: Context) -> Sequence[HTTPRouteHandler]:
    reads = _shared(context, "read", "catalog")

    @get("/api/admin/products", **reads)
    def list_products(request: Asked) -> ProductPage:
        refuse_unknown(request)
        return admin_views.list_products(context, token_of(request).tenant_id)

    @get("/api/admin/plans", **reads)
    def list_plans(request: Asked) -> PlanPage:
        refuse_unknown(request)
        return admin_views.list_plans(context, token_of(request).tenant_id)

    @get("/api/admin/prices", **reads)
    def list_prices(request: Asked) -> PricePage:
        refuse_unknown(request)
        return admin_views.list_prices(context, token_of(request).tenant_id)

    @get("/api/admin/provider-accounts", **reads)
    def list_accounts(request: Asked) -> AccountPage:
        refuse_unknown(request)
        return admin_views.list_accounts(context, token_of(request).tenant_id)

    return [list_products, list_plans, list_prices, list_accounts]


def _people(context: Context) -> Sequence[HTTPRouteHandler]:
    reads = _shared(context, "read", "customers")

    @get("/api/admin/customers", **reads)
    def list_customers(
        request: Asked,
        email: FromQuery[str | None] = None,
        cursor: FromQuery[str | None] = None,
        limit: FromQuery[int] = 50,
    ) -> CustomerPage:
        refuse_unknown(request, "email", "cursor", "limit")
        tenant = token_of(request).tenant_id
        return admin_views.list_customers(context, tenant, email=email, cursor=cursor, limit=limit)

    @get("/api/admin/customers/{customer_id:str}", **reads)
    def get_customer(request: Asked, customer_id: FromPath[str]) -> CustomerSeen:
        return admin_views.show_customer(context, token_of(request).tenant_id, customer_id)

    return [list_customers, get_customer]


def _audit(context: Context) -> Sequence[HTTPRouteHandler]:
    @get("/api/admin/audit", **_shared(context, "admin", "audit"))
    def list_audit(
        request: Asked,
        act: FromQuery[str | None] = None,
        actor: FromQuery[str | None] = None,
        subject: FromQuery[str | None] = None,
        cursor: FromQuery[str | None] = None,
        limit: FromQuery[int] = 50,
    ) -> AuditPage:
        refuse_unknown(request, *admin_views.AUDIT_FILTERS, "cursor", "limit")
        filters = present({"act": act, "actor": actor, "subject": subject})
        tenant = token_of(request).tenant_id
        return admin_views.list_audit(context, tenant, filters, cursor=cursor, limit=limit)

    @get("/api/admin/debug/store", **_shared(context, "admin", "audit"))
    def look_at_store(request: Asked) -> StoreSeen:
        refuse_unknown(request)
        return admin_views.look_at_store(context, token_of(request).tenant_id)

    return [list_audit, look_at_store]


def _work(context: Context) -> Sequence[HTTPRouteHandler]:
    works = Works(context.database)
    reads, acts = _shared(context, "read", "workflows"), _shared(context, "admin", "workflows")

    @get("/api/admin/workflows", **reads)
    def list_workflows(
        request: Asked,
        status: FromQuery[str | None] = None,
        name: FromQuery[str | None] = None,
        cursor: FromQuery[str | None] = None,
        limit: FromQuery[int] = 50,
    ) -> WorkPage:
        refuse_unknown(request, "status", "name", "cursor", "limit")
        if not _sees_work(context, request):
            return WorkPage([], None)
        return works.list_page(status=status, name=name, cursor=cursor, limit=limit)

    @get("/api/admin/workflows/{workflow_id:str}", **reads)
    def get_workflow(request: Asked, workflow_id: FromPath[str]) -> Work:
        if not _sees_work(context, request):
            raise unknown_work()
        return works.show(workflow_id)

    return [list_workflows, get_workflow, *(_hand(context, works, act, acts) for act in ("retry", "cancel"))]


class HandBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`step`: with `retry`, of a tenant's own work: from which step on it is done once more."""

    step: str | None = None
    reason: str | None = None


def _hand(context: Context, works: Works, act: Hand, shared: dict[str, Any]) -> HTTPRouteHandler:
    @post(f"/api/admin/workflows/{{workflow_id:str}}/{act}", status_code=200, operation_id=act, **shared)
    def act_on_workflow(
        request: Asked, workflow_id: FromPath[str], data: JSONBody[HandBody | None] = None
    ) -> Work:
        if not _sees_work(context, request):
            raise unknown_work()
        asked = data or HandBody()
        why = text_of("reason", asked.reason) or ""
        return works.act(context, workflow_id, act, actor_of(request), why, step=asked.step)

    return act_on_workflow


def _sees_work(context: Context, request: Asked) -> bool:
    """The work of all tenants is one list: it is the master tenant's."""
    return token_of(request).tenant_id == context.master.id


def _shared(context: Context, scope: Scope, tag: str) -> dict[str, Any]:
    return {
        "guards": [needs(context, scope)],
        "sync_to_thread": True,
        "request_class": StrictRequest,
        "include_in_schema": True,
        "tags": [tag],
    }
