"""`/api/admin/tenants/{id}/connect`: accounts that sell through the platform, and their fee.

For tokens of the master tenant alone.
"""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Router, get, patch, post
from litestar.params import FromPath, JSONBody

from keywright.domain.fee import FeeRule
from keywright.flows import connect_views, connecting, tenants
from keywright.flows.connect_views import ConnectShown, Started
from keywright.flows.context import Context
from keywright.flows.fee_text import checked
from keywright.flows.operate import Act
from keywright.web.auth import actor_of, needs, token_of
from keywright.web.queries import refuse_unknown
from keywright.web.strict_body import StrictRequest


class StartBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`account`: the provider's name of an account that was made there already, where accounts are."""

    provider: str = "stripe"
    account: str | None = None
    reason: str | None = None


class FeeBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole rule: what is left out of it is not taken."""

    fee: FeeRule
    reason: str | None = None


class ReasonBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    reason: str | None = None


def routes(context: Context) -> list[Router]:
    """The routes. Raises Forbidden for a token of another tenant than the master."""
    path = "/api/admin/tenants/{tenant_id:str}/connect"
    shared: dict[str, Any] = {
        "guards": [needs(context, "admin")],
        "sync_to_thread": True,
        "request_class": StrictRequest,
        "include_in_schema": True,
        "tags": ["tenants"],
    }

    def named(request: StrictRequest, tenant: str) -> str:
        tenants.demand_master(context, token_of(request).tenant_id)
        return tenants.show(context, tenant).id

    @get(path, **shared)
    def show_connect(request: StrictRequest, tenant_id: FromPath[str]) -> ConnectShown:
        refuse_unknown(request)
        return connect_views.show(context, named(request, tenant_id))

    @post(path, status_code=200, **shared)
    def start_connect(
        request: StrictRequest, tenant_id: FromPath[str], data: JSONBody[StartBody]
    ) -> Started | ConnectShown:
        tenant, act = named(request, tenant_id), Act(actor_of(request), data.reason)
        if data.account is not None:
            connecting.attach(context, tenant, data.provider, data.account, act)
            return connect_views.show(context, tenant)
        again, back = connect_views.console_pages(context, tenant, data.provider)
        url = connecting.start(context, tenant, data.provider, act, refresh_url=again, return_url=back)
        return Started(data.provider, url)

    @patch(path, **shared)
    def set_connect_fee(
        request: StrictRequest, tenant_id: FromPath[str], data: JSONBody[FeeBody]
    ) -> ConnectShown:
        tenant = named(request, tenant_id)
        connecting.set_fee(context, tenant, checked(data.fee), Act(actor_of(request), data.reason))
        return connect_views.show(context, tenant)

    @post(f"{path}/{{provider:str}}/look", status_code=200, **shared)
    def look_connect(
        request: StrictRequest, tenant_id: FromPath[str], provider: FromPath[str]
    ) -> ConnectShown:
        tenant = named(request, tenant_id)
        connecting.look(context, tenant, provider)
        return connect_views.show(context, tenant)

    @post(f"{path}/{{provider:str}}/disconnect", status_code=200, **shared)
    def end_connect(
        request: StrictRequest, tenant_id: FromPath[str], provider: FromPath[str], data: JSONBody[ReasonBody]
    ) -> ConnectShown:
        tenant = named(request, tenant_id)
        connecting.disconnect(context, tenant, provider, Act(actor_of(request), data.reason))
        return connect_views.show(context, tenant)

    # A router: handlers of one path that are registered one by one are wrapped twice, and answer nothing.
    return [
        Router("/", route_handlers=[show_connect, start_connect, set_connect_fee, look_connect, end_connect])
    ]
