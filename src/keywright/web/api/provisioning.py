"""`POST /api/admin/tenants/provision`: a shop has sold seats, and its buyer is to be a tenant."""

from __future__ import annotations

import msgspec
from litestar import post
from litestar.handlers import HTTPRouteHandler
from litestar.params import JSONBody

from keywright.flows import provisioning, tenants
from keywright.flows.context import Context
from keywright.flows.provisioning import Wish
from keywright.web.auth import actor_of, needs, token_of
from keywright.web.strict_body import StrictRequest


class ProvisionBody(Wish, frozen=True, forbid_unknown_fields=True):
    """`email`: of the first person. `initial_license_count`: users until, or unless, a subscription says how
    many. The same customer asked for again with the same members is the same work, with others a 409."""


class Provisioning(msgspec.Struct, frozen=True):
    """The work that does it: `GET /api/admin/workflows/{id}` tells how far it is."""

    workflow_id: str


def routes(context: Context) -> list[HTTPRouteHandler]:
    """The route. Raises Forbidden for a token of another tenant than the master."""

    @post(
        "/api/admin/tenants/provision",
        status_code=202,
        guards=[needs(context, "admin")],
        sync_to_thread=True,
        request_class=StrictRequest,
        include_in_schema=True,
        tags=["tenants"],
    )
    def provision_tenant(request: StrictRequest, data: JSONBody[ProvisionBody]) -> Provisioning:
        tenants.demand_master(context, token_of(request).tenant_id)
        wish = Wish(**msgspec.structs.asdict(data))
        return Provisioning(provisioning.start(context, wish, by=actor_of(request)))

    return [provision_tenant]
