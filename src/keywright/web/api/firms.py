"""`POST /api/license/hmac-key` for holders of a key, and what staff do about firms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from litestar import asgi, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, JSONBody

from keywright.domain.errors import NotFound
from keywright.flows import firms, license_views
from keywright.flows.context import Context
from keywright.flows.firms import FirmSecret
from keywright.flows.license_views import LicenseRow
from keywright.flows.operate import Act
from keywright.web import wire
from keywright.web.api.licensing import Desk
from keywright.web.auth import actor_of, needs, token_of
from keywright.web.strict_body import StrictRequest

if TYPE_CHECKING:
    from litestar.handlers import ASGIRouteHandler
    from litestar.types import Receive, Scope, Send


class SecretBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    firm: str
    product: str | None = None
    rotate: bool = False
    reason: str | None = None


class FirmBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    firm: str
    reason: str | None = None


def routes(desk: Desk) -> list[ASGIRouteHandler]:
    """The route, with the limits on keys and addresses that `activate` has."""

    async def answer(scope: Scope, receive: Receive) -> tuple[int, bytes]:
        asked, address = await desk.asked(scope, receive, fingerprint_needed=False)
        await desk.before_writing("hmac-key", asked, address)
        shown = await desk.write(firms.hmac_key_of, desk.context, asked)
        if shown is None:
            desk.failed(address)
            raise NotFound("No license has this key.")
        return 200, wire.encode(shown)

    @asgi("/api/license/hmac-key", copy_scope=False)
    async def hmac_key(scope: Scope, receive: Receive, send: Send) -> None:
        await wire.post(scope, receive, send, answer)

    return [hmac_key]


def admin_routes(context: Context) -> list[HTTPRouteHandler]:
    """For tokens. A firm's secret makes keys for that firm: it takes scope `admin`."""
    shared: dict[str, Any] = {
        "status_code": 200,
        "sync_to_thread": True,
        "request_class": StrictRequest,
        "include_in_schema": True,
        "tags": ["licenses"],
    }

    @post("/api/admin/firms/secret", guards=[needs(context, "admin")], **shared)
    def firm_secret(request: StrictRequest, data: JSONBody[SecretBody]) -> FirmSecret:
        act = Act(actor_of(request), data.reason)
        tenant = token_of(request).tenant_id
        return firms.secrets_of(context, tenant, data.firm, act, product=data.product, rotate=data.rotate)

    @post("/api/admin/licenses/{license_id:str}/firm", guards=[needs(context, "write")], **shared)
    def name_firm(request: StrictRequest, license_id: FromPath[str], data: JSONBody[FirmBody]) -> LicenseRow:
        tenant = token_of(request).tenant_id
        firms.name_firm(context, tenant, license_id, data.firm, Act(actor_of(request), data.reason))
        return license_views.show(context, tenant, license_id)

    return [firm_secret, name_firm]
