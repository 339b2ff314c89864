"""`/api/admin/licenses`: what staff do to licenses, one by one and many at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from litestar import delete, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, JSONBody

from keywright.flows import bulk, operate
from keywright.flows.bulk import BulkPage, Wish
from keywright.flows.context import Context
from keywright.flows.license_views import LicenseRow
from keywright.flows.operate import Act, Order
from keywright.web.auth import actor_of, needs, token_of
from keywright.web.strict_body import StrictRequest

Asked = StrictRequest
Moment = Annotated[datetime, msgspec.Meta(tz=True)]


class _Body(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A body whose unknown members are refused."""


class IssueBody(_Body, frozen=True):
    plan: str
    email: str
    seats: int | None = None
    until: Moment | None = None
    firm: str | None = None
    reason: str | None = None
    kind: Literal["staff", "comp", "trial"] = "staff"
    days: int | None = None
    again: bool = False


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


class SeatsBody(_Body, frozen=True):
    seats: int
    reason: str | None = None


class NoteBody(_Body, frozen=True):
    note: str


class BulkBody(_Body, frozen=True):
    """`filter` names at least one of the filters of the list of licenses."""

    act: str
    filter: dict[str, str]
    until: Moment | None = None
    reason: str | None = None
    dry_run: bool = False
    cursor: str | None = None
    limit: int = 50


class Issued(LicenseRow, frozen=True):
    """A new license with its key, which is shown this once."""

    key: str


_ALL = "/api/admin/licenses"
_ONE = f"{_ALL}/{{license_id:str}}"
_Simple = Callable[[Context, str, str, Act], LicenseRow]


def routes(context: Context) -> Sequence[HTTPRouteHandler]:
    """Every act, for the tenant of the token that asks."""
    return [
        *_many(context),
        *_with_a_body(context),
        *_machines(context),
        _simple(context, "suspend", lambda c, t, id_, act: operate.decide(c, t, id_, act, "suspend")),
        _simple(context, "reinstate", lambda c, t, id_, act: operate.decide(c, t, id_, act, "reinstate")),
        _simple(context, "revoke", lambda c, t, id_, act: operate.decide(c, t, id_, act, "revoke")),
        _simple(context, "resend", operate.resend),
        # The new key goes to the customer by mail and nowhere else.
        _simple(context, "rotate-key", lambda c, t, id_, act: operate.rotate_key(c, t, id_, act)[0]),
    ]


def _many(context: Context) -> Sequence[HTTPRouteHandler]:
    @post(_ALL, status_code=201, **_writes(context))
    def issue_license(request: Asked, data: JSONBody[IssueBody]) -> Issued:
        order = Order(
            plan=data.plan,
            email=data.email,
            seats=data.seats,
            until=data.until,
            firm=data.firm,
            kind=data.kind,
            days=data.days,
            again=data.again,
        )
        row, key = operate.issue(context, token_of(request).tenant_id, order, _act(request, data.reason))
        return Issued(**msgspec.structs.asdict(row), key=key)

    @post(f"{_ALL}/bulk", status_code=200, **_writes(context))
    def act_on_licenses(request: Asked, data: JSONBody[BulkBody]) -> BulkPage:
        return bulk.act_on_page(
            context,
            token_of(request).tenant_id,
            data.filter,
            Wish(data.act, data.until),
            _act(request, data.reason),
            dry_run=data.dry_run,
            cursor=data.cursor,
            limit=data.limit,
        )

    return [issue_license, act_on_licenses]


def _with_a_body(context: Context) -> Sequence[HTTPRouteHandler]:
    writes = _writes(context)

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

    @post(f"{_ONE}/give-seats", status_code=200, **writes)
    def give_seats(request: Asked, license_id: FromPath[str], data: JSONBody[SeatsBody]) -> LicenseRow:
        tenant, act = token_of(request).tenant_id, _act(request, data.reason)
        return operate.give_seats(context, tenant, license_id, act, data.seats)

    @post(f"{_ONE}/note", status_code=200, **writes)
    def note_on_license(request: Asked, license_id: FromPath[str], data: JSONBody[NoteBody]) -> LicenseRow:
        return operate.note(context, token_of(request).tenant_id, license_id, _act(request, data.note))

    return [extend_license, transfer_license, give_seats, note_on_license]


def _machines(context: Context) -> Sequence[HTTPRouteHandler]:
    @delete("/api/admin/activations/{activation_id:str}", status_code=204, **_writes(context))
    def release_activation(request: Asked, activation_id: FromPath[str]) -> None:
        tenant = token_of(request).tenant_id
        operate.release_activation(context, tenant, activation_id, _act(request, None))

    return [release_activation]


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


def _act(request: Asked, reason: str | None) -> Act:
    return Act(actor_of(request), reason)
