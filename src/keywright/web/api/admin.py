"""`/api/admin/*`: licenses, machines, events and tokens for staff and scripts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Annotated, Any

import msgspec
from litestar import delete, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from keywright.domain.errors import Invalid, NotFound
from keywright.flows import events, license_views, operate, tokens
from keywright.flows.context import Context
from keywright.flows.events import EventPage, EventShown, Replayed
from keywright.flows.license_views import ActivationPage, LicensePage, LicenseRow, TimelinePage
from keywright.flows.operate import Act, Order
from keywright.flows.replay import Difference
from keywright.store import tenants
from keywright.web.api import license_billing
from keywright.web.auth import actor_of, needs, token_of
from keywright.web.strict_body import StrictRequest

Asked = StrictRequest
Moment = Annotated[datetime, msgspec.Meta(tz=True)]
_PAGING = ("cursor", "limit")


class _Body(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A body whose unknown members are refused."""


class IssueBody(_Body, frozen=True):
    plan: str
    email: str
    seats: int | None = None
    until: Moment | None = None
    firm: str | None = None
    reason: str | None = None


class ReasonBody(_Body, frozen=True):
    reason: str | None = None


class ExtendBody(_Body, frozen=True):
    until: Moment | None = None
    days: int | None = None
    reason: str | None = None


class TransferBody(_Body, frozen=True):
    email: str
    keep_machines: bool = False
    reason: str | None = None


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


class Issued(LicenseRow, frozen=True):
    """A new license with its key, which is shown this once."""

    key: str


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
        *_license_acts(context),
        *license_billing.routes(context),
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

    @get("/api/admin/licenses", **reads)
    def list_licenses(
        request: Asked,
        email: FromQuery[str | None] = None,
        status: FromQuery[str | None] = None,
        plan: FromQuery[str | None] = None,
        product: FromQuery[str | None] = None,
        q: FromQuery[str | None] = None,
        cursor: FromQuery[str | None] = None,
        limit: FromQuery[int] = 50,
    ) -> LicensePage:
        _refuse_unknown(request, *license_views.FILTERS, *_PAGING)
        given = {"email": email, "status": status, "plan": plan, "product": product, "q": q}
        return license_views.list_licenses(
            context, token_of(request).tenant_id, _present(given), cursor=cursor, limit=limit
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
        _refuse_unknown(request, *_PAGING)
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
        _refuse_unknown(request, "license", *_PAGING)
        tenant = token_of(request).tenant_id
        return license_views.list_machines(context, tenant, license_id=license_id, cursor=cursor, limit=limit)

    return [list_licenses, get_license, get_timeline, list_activations]


_ONE = "/api/admin/licenses/{license_id:str}"
_Simple = Callable[[Context, str, str, Act], LicenseRow]


def _license_acts(context: Context) -> Sequence[HTTPRouteHandler]:
    writes = _writes(context)

    @post("/api/admin/licenses", status_code=201, **writes)
    def issue_license(request: Asked, data: JSONBody[IssueBody]) -> Issued:
        order = Order(data.plan, data.email, data.seats, data.until, data.firm)
        row, key = operate.issue(context, token_of(request).tenant_id, order, _act(request, data.reason))
        return Issued(**msgspec.structs.asdict(row), key=key)

    @post(f"{_ONE}/extend", status_code=200, **writes)
    def extend_license(request: Asked, license_id: FromPath[str], data: JSONBody[ExtendBody]) -> LicenseRow:
        tenant, act = token_of(request).tenant_id, _act(request, data.reason)
        return operate.extend(context, tenant, license_id, act, until=data.until, days=data.days)

    @post(f"{_ONE}/transfer", status_code=200, **writes)
    def transfer_license(
        request: Asked, license_id: FromPath[str], data: JSONBody[TransferBody]
    ) -> LicenseRow:
        tenant, act = token_of(request).tenant_id, _act(request, data.reason)
        keep = data.keep_machines
        return operate.transfer(context, tenant, license_id, act, email=data.email, keep_machines=keep)

    @delete("/api/admin/activations/{activation_id:str}", status_code=204, **writes)
    def release_activation(request: Asked, activation_id: FromPath[str]) -> None:
        tenant = token_of(request).tenant_id
        operate.release_activation(context, tenant, activation_id, _act(request, None))

    return [
        issue_license,
        extend_license,
        transfer_license,
        release_activation,
        _simple(context, "suspend", lambda c, t, id_, act: operate.decide(c, t, id_, act, "suspend")),
        _simple(context, "reinstate", lambda c, t, id_, act: operate.decide(c, t, id_, act, "reinstate")),
        _simple(context, "revoke", lambda c, t, id_, act: operate.decide(c, t, id_, act, "revoke")),
        _simple(context, "resend", operate.resend),
        # The new key goes to the customer by mail and nowhere else.
        _simple(context, "rotate-key", lambda c, t, id_, act: operate.rotate_key(c, t, id_, act)[0]),
    ]


def _simple(context: Context, name: str, do: _Simple) -> HTTPRouteHandler:
    """The route of an act that asks for nothing but a reason, and not even for that."""

    @post(f"{_ONE}/{name}", status_code=200, summary=name.capitalize(), operation_id=name, **_writes(context))
    def act_on_license(
        request: Asked, license_id: FromPath[str], data: JSONBody[ReasonBody | None] = None
    ) -> LicenseRow:
        reason = data.reason if data is not None else None
        return do(context, token_of(request).tenant_id, license_id, _act(request, reason))

    return act_on_license


def _writes(context: Context) -> dict[str, Any]:
    return {
        "guards": [needs(context, "write")],
        "sync_to_thread": True,
        "request_class": StrictRequest,
        "include_in_schema": True,
        "tags": ["licenses"],
    }


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
        _refuse_unknown(request, *events.FILTERS, *_PAGING)
        given = {"status": status, "provider": provider, "type": type, "since": since}
        return events.list_events(
            context, token_of(request).tenant_id, _present(given), cursor=cursor, limit=limit
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
        return events.replay_one(context, tenant, event_id, dry_run=told.dry_run, refetch=told.refetch)

    @post("/api/admin/events/replay", status_code=200, guards=writes, **shared)
    def replay_events(request: Asked, data: JSONBody[ReplayManyBody]) -> Replayed:
        given = {"status": data.status, "provider": data.provider, "type": data.type, "since": data.since}
        filters = _present(given)
        if not filters:
            raise Invalid("Give at least one of `status`, `provider`, `type` and `since`.")
        return events.replay_page(
            context,
            token_of(request).tenant_id,
            filters,
            dry_run=data.dry_run,
            refetch=data.refetch,
            cursor=data.cursor,
            limit=data.limit,
        )

    return [list_events, get_event, replay_event, replay_events]


def _token_routes(context: Context) -> Sequence[HTTPRouteHandler]:
    shared: dict[str, Any] = {
        "guards": [needs(context, "admin")],
        "sync_to_thread": True,
        "request_class": StrictRequest,
        "include_in_schema": True,
        "tags": ["tokens"],
    }

    @get("/api/admin/tokens", **shared)
    def list_tokens(request: Asked) -> TokenPage:
        _refuse_unknown(request)
        known = tokens.list_all(context, token_of(request).tenant_id)
        return TokenPage([TokenRow(t.id, t.name, t.scope) for t in known], None)

    @post("/api/admin/tokens", status_code=201, **shared)
    def make_token(request: Asked, data: JSONBody[TokenBody]) -> TokenMade:
        with context.database.read() as connection:
            tenant = tenants.find(connection, token_of(request).tenant_id)
        if tenant is None:
            raise NotFound("There is no such tenant.", code="TENANT_UNKNOWN")
        made, text = tokens.create(context, tenant, data.name, data.scope)
        return TokenMade(made.id, made.name, made.scope, text)

    @delete("/api/admin/tokens/{token_id:str}", status_code=204, **shared)
    def revoke_token(request: Asked, token_id: FromPath[str]) -> None:
        tokens.revoke(context, token_of(request).tenant_id, token_id)

    return [list_tokens, make_token, revoke_token]


def _act(request: Asked, reason: str | None) -> Act:
    return Act(actor_of(request), reason)


def _present(given: dict[str, str | None]) -> dict[str, str]:
    return {name: value for name, value in given.items() if value is not None}


def _refuse_unknown(request: Asked, *known: str) -> None:
    """A misspelled filter must not answer with everything. Raises Invalid."""
    if unknown := sorted(set(request.query_params) - set(known)):
        raise Invalid(f"There is no parameter `{unknown[0]}` here.")
