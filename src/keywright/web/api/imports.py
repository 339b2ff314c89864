"""`/api/admin/imports`: take over what is at a provider, in the background, and read what came of it."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from litestar import get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, FromQuery, JSONBody

from keywright.domain.errors import Invalid
from keywright.flows import asked_for, import_views, importing
from keywright.flows.context import Context
from keywright.flows.import_views import ConflictsPage, ImportsPage, Shown
from keywright.web.auth import actor_of, needs, token_of
from keywright.web.strict_body import StrictRequest

Rate = Annotated[float, msgspec.Meta(ge=0.1, le=100)]


class ImportBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`announce`: write to those whose license runs. `csv`: the text of a file with keys, machines, counts
    and dates. `rate`: requests a second, in place of what the provider takes as a rule."""

    provider: str
    dry_run: bool = False
    announce: bool = False
    csv: str | None = None
    rate: Rate | None = None


class Begun(msgspec.Struct, frozen=True):
    """The work, and the run: `GET /api/admin/imports/{id}` tells how far it has come."""

    workflow_id: str
    import_id: str


def routes(context: Context) -> list[HTTPRouteHandler]:
    """The routes, for the tenant of the token that asks."""
    shared: dict[str, Any] = {
        "sync_to_thread": True,
        "request_class": StrictRequest,
        "include_in_schema": True,
        "tags": ["imports"],
    }
    reads = [needs(context, "read")]

    @post("/api/admin/imports", status_code=202, guards=[needs(context, "write")], **shared)
    def start(request: StrictRequest, data: JSONBody[ImportBody]) -> Begun:
        own = context.of(token_of(request).tenant_id)
        wish = importing.Wish(
            data.provider, actor_of(request), None, data.dry_run, data.announce, a_second=data.rate
        )
        file = data.csv.encode() if data.csv is not None else None
        run, work = importing.enqueue(own, wish, file)
        asked_for.note_import(own, actor_of(request), wish, run, work=work)
        return Begun(work, run)

    @get("/api/admin/imports", guards=reads, **shared)
    def list_runs(
        request: StrictRequest, cursor: FromQuery[str | None] = None, limit: FromQuery[int] = 50
    ) -> ImportsPage:
        _check(request, "cursor", "limit")
        return import_views.list_runs(context, token_of(request).tenant_id, cursor=cursor, limit=limit)

    @get("/api/admin/imports/{import_id:str}", guards=reads, **shared)
    def get_run(request: StrictRequest, import_id: FromPath[str]) -> Shown:
        return import_views.show(context, token_of(request).tenant_id, import_id)

    @get("/api/admin/imports/{import_id:str}/conflicts", guards=reads, **shared)
    def list_conflicts(
        request: StrictRequest,
        import_id: FromPath[str],
        cursor: FromQuery[str | None] = None,
        limit: FromQuery[int] = 50,
    ) -> ConflictsPage:
        _check(request, "cursor", "limit")
        tenant = token_of(request).tenant_id
        return import_views.list_conflicts(context, tenant, import_id, cursor=cursor, limit=limit)

    return [start, list_runs, get_run, list_conflicts]


def _check(request: StrictRequest, *known: str) -> None:
    if unknown := sorted(set(request.query_params) - set(known)):
        raise Invalid(f"There is no parameter `{unknown[0]}` here.")
