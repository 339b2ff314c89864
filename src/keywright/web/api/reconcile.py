"""`/api/admin/reconcile`: compare with the providers in the background, and read what was found."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import msgspec
from litestar import get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, FromQuery, JSONBody

from keywright.domain.errors import Invalid
from keywright.flows import asked_for, reconcile, reconciliation_views
from keywright.flows.context import Context
from keywright.flows.reconcile import Wish
from keywright.flows.reconciliation_views import AccountReport, ReconciliationPage
from keywright.web.auth import actor_of, needs, token_of
from keywright.web.strict_body import StrictRequest

Moment = Annotated[datetime, msgspec.Meta(tz=True)]


class ReconcileBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`since`: from when on; None: where the last run began. Without `fix` nothing changes."""

    provider: str | None = None
    since: Moment | None = None
    fix: bool = False


class Begun(msgspec.Struct, frozen=True):
    """The work that will do it. What it found stands in `GET /api/admin/reconciliations` afterwards."""

    workflow_id: str


def routes(context: Context) -> list[HTTPRouteHandler]:
    """The routes, for the tenant of the token that asks."""
    shared: dict[str, Any] = {
        "sync_to_thread": True,
        "request_class": StrictRequest,
        "include_in_schema": True,
        "tags": ["reconciliations"],
    }
    reads = [needs(context, "read")]

    @post("/api/admin/reconcile", status_code=202, guards=[needs(context, "write")], **shared)
    def start(request: StrictRequest, data: JSONBody[ReconcileBody | None] = None) -> Begun:
        asked, tenant = data or ReconcileBody(), token_of(request).tenant_id
        wish = Wish(asked.provider, asked.since, asked.fix, tenant=tenant)
        work = reconcile.enqueue(context, wish)
        asked_for.note_reconciliation(context, tenant, actor_of(request), wish, work=work)
        return Begun(work)

    @get("/api/admin/reconciliations", guards=reads, **shared)
    def list_runs(
        request: StrictRequest,
        provider: FromQuery[str | None] = None,
        cursor: FromQuery[str | None] = None,
        limit: FromQuery[int] = 50,
    ) -> ReconciliationPage:
        if unknown := sorted(set(request.query_params) - {"provider", "cursor", "limit"}):
            raise Invalid(f"There is no parameter `{unknown[0]}` here.")
        tenant = token_of(request).tenant_id
        return reconciliation_views.list_runs(context, tenant, provider=provider, cursor=cursor, limit=limit)

    @get("/api/admin/reconciliations/{run_id:str}", guards=reads, **shared)
    def get_run(request: StrictRequest, run_id: FromPath[str]) -> AccountReport:
        return reconciliation_views.show(context, token_of(request).tenant_id, run_id)

    return [start, list_runs, get_run]
