"""`/api/admin/*`: licenses, machines, events and tokens for staff and scripts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

import msgspec
from litestar import delete, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from keywright.domain.errors import Invalid, NotFound
from keywright.flows import asked_for, events, license_views, tokens
from keywright.flows.context import Context
from keywright.flows.events import EventPage, EventShown, Replayed
from keywright.flows.license_views import ActivationPage, LicensePage, LicenseRow, TimelinePage
from keywright.flows.replay import Difference
from keywright.store import tenants
from keywright.web.api import admin_reads, firms, license_acts, license_billing
from keywright.web.auth import actor_of, needs, token_of
from keywright.web.queries import present, refuse_unknown
from keywright.web.strict_body import StrictRequest

Asked = StrictRequest
Moment = Annotated[datetime, msgspec.Meta(tz=True)]
_PAGING = ("cursor", "limit")


class _Body(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A body whose unknown members are refused."""


class ReplayBody(_Body, frozen=True):
    dry_run: bool = False
    refetch: bool = False


class ReplayManyBody(_Body, frozen=True):
    """At least one filter: a replay of everything is not asked for by an empty body."""

    dry_run: bool = False
    refetch: bool = False
    status: str | None = None
    provider: str | None = None
    type: str | None = None
    since: str | None = None
    cursor: str | None = None
    limit: int = 50


class TokenBody(_Body, frozen=True):
    name: str
    scope: str = "read"


class TokenRow(msgspec.Struct, frozen=True):
    id: str
    name: str
    scope: str


class TokenPage(msgspec.Struct, frozen=True):
    items: list[TokenRow]
    next_cursor: str | None


class TokenMade(TokenRow, frozen=True):
    """With the token itself, which is shown this once."""

    token: str


def routes(context: Context) -> list[HTTPRouteHandler]:
    """Every route, for the tenant of the token that asks."""
    return [
        *_license_reads(context),
        *license_acts.routes(context),
        *license_billing.routes(context),
        *firms.admin_routes(context),
        *admin_reads.routes(context),
        *_event_routes(context),
        *_token_routes(context),
    ]


def _license_reads(context: Context) -> Sequence[HTTPRouteHandler]:
    reads: dict[str, Any] = {
        "guards": [needs(context, "read")],
        "sync_to_thread": True,
        "request_class": StrictRequest,
        "include_in_schema": True,
        "tags": ["licenses"],
    }

    # Named here: of two handlers at one path the framework describes the first by a name of its own.
    @get("/api/admin/licenses", summary="ListLicenses", operation_id="ApiAdminLicensesListLicenses", **reads)
    def list_licenses(
        request: Asked,
        email: FromQuery[str | None] = None,
        status: FromQuery[str | None] = None,
        plan: FromQuery[str | None] = None,
        product: FromQuery[str | None] = None,
        origin: FromQuery[str | None] = None,
        q: FromQuery[str | None] = None,
        cursor: FromQuery[str | None] = None,
        limit: FromQuery[int] = 50,
    ) -> LicensePage:
        refuse_unknown(request, *license_views.FILTERS, *_PAGING)
        given = {"email": email, "status": status, "plan": plan, "product": product, "origin": origin, "q": q}
        return license_views.list_licenses(
            context, token_of(request).tenant_id, present(given), cursor=cursor, limit=limit
        )

    @get("/api/admin/licenses/{license_id:str}", **reads)
    def get_license(request: Asked, license_id: FromPath[str]) -> LicenseRow:
        return license_views.show(context, token_of(request).tenant_id, license_id)

    @get("/api/admin/licenses/{license_id:str}/timeline", **reads)
    def get_timeline(
        request: Asked,
        license_id: FromPath[str],
        cursor: FromQuery[str | None] = None,
        limit: FromQuery[int] = 100,
    ) -> TimelinePage:
        refuse_unknown(request, *_PAGING)
        return license_views.timeline_of(
            context, token_of(request).tenant_id, license_id, cursor=cursor, limit=limit
        )

    @get("/api/admin/activations", **reads)
    def list_activations(
        request: Asked,
        license_id: Annotated[str | None, QueryParameter(name="license")] = None,
        cursor: FromQuery[str | None] = None,
        limit: FromQuery[int] = 50,
    ) -> ActivationPage:
        refuse_unknown(request, "license", *_PAGING)
        tenant = token_of(request).tenant_id
        return license_views.list_machines(context, tenant, license_id=license_id, cursor=cursor, limit=limit)

    return [list_licenses, get_license, get_timeline, list_activations]


def _event_routes(context: Context) -> Sequence[HTTPRouteHandler]:
    shared: dict[str, Any] = {
        "sync_to_thread": True,
        "request_class": StrictRequest,
        "include_in_schema": True,
        "tags": ["events"],
    }
    reads, writes = [needs(context, "read")], [needs(context, "write")]

    @get("/api/admin/events", guards=reads, **shared)
    def list_events(
        request: Asked,
        status: FromQuery[str | None] = None,
        provider: FromQuery[str | None] = None,
        type: FromQuery[str | None] = None,  # noqa: A002  # the name of the filter in the API
        since: FromQuery[str | None] = None,
        cursor: FromQuery[str | None] = None,
        limit: FromQuery[int] = 50,
    ) -> EventPage:
        refuse_unknown(request, *events.FILTERS, *_PAGING)
        given = {"status": status, "provider": provider, "type": type, "since": since}
        return events.list_events(
            context, token_of(request).tenant_id, present(given), cursor=cursor, limit=limit
        )

    @get("/api/admin/events/{event_id:str}", guards=reads, **shared)
    def get_event(request: Asked, event_id: FromPath[str]) -> EventShown:
        return events.show(context, token_of(request).tenant_id, event_id)

    @post("/api/admin/events/{event_id:str}/replay", status_code=200, guards=writes, **shared)
    def replay_event(
        request: Asked, event_id: FromPath[str], data: JSONBody[ReplayBody | None] = None
    ) -> Difference:
        told = data if data is not None else ReplayBody()
        tenant = token_of(request).tenant_id
        made = events.replay_one(context, tenant, event_id, dry_run=told.dry_run, refetch=told.refetch)
        if not told.dry_run:
            asked_for.note_replay(context, tenant, actor_of(request), made, refetch=told.refetch)
        return made

    @post("/api/admin/events/replay", status_code=200, guards=writes, **shared)
    def replay_events(request: Asked, data: JSONBody[ReplayManyBody]) -> Replayed:
        given = {"status": data.status, "provider": data.provider, "type": data.type, "since": data.since}
        filters = present(given)
        if not filters:
            raise Invalid("Give at least one of `status`, `provider`, `type` and `since`.")
        tenant = token_of(request).tenant_id
        how = {"dry_run": data.dry_run, "refetch": data.refetch}
        made = events.replay_page(context, tenant, filters, **how, cursor=data.cursor, limit=data.limit)
        if not data.dry_run:
            by = actor_of(request)
            asked_for.note_replays(context, tenant, by, filters, made.items, refetch=data.refetch)
        return made

    return [list_events, get_event, replay_event, replay_events]


def _token_routes(context: Context) -> Sequence[HTTPRouteHandler]:
    shared: dict[str, Any] = {
        "guards": [needs(context, "admin")],
        "sync_to_thread": True,
        "request_class": StrictRequest,
        "include_in_schema": True,
        "tags": ["tokens"],
    }

    @get("/api/admin/tokens", summary="ListTokens", operation_id="ApiAdminTokensListTokens", **shared)
    def list_tokens(request: Asked) -> TokenPage:
        refuse_unknown(request)
        known = tokens.list_all(context, token_of(request).tenant_id)
        return TokenPage([TokenRow(t.id, t.name, t.scope) for t in known], None)

    @post("/api/admin/tokens", status_code=201, **shared)
    def make_token(request: Asked, data: JSONBody[TokenBody]) -> TokenMade:
        with context.database.read() as connection:
            tenant = tenants.find(connection, token_of(request).tenant_id)
        if tenant is None:
            raise NotFound("There is no such tenant.", code="TENANT_UNKNOWN")
        made, text = tokens.create(context, tenant, data.name, data.scope, by=actor_of(request))
        return TokenMade(made.id, made.name, made.scope, text)

    @delete("/api/admin/tokens/{token_id:str}", status_code=204, **shared)
    def revoke_token(request: Asked, token_id: FromPath[str]) -> None:
        tokens.revoke(context, token_of(request).tenant_id, token_id, by=actor_of(request))

    return [list_tokens, make_token, revoke_token]
