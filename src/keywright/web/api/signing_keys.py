"""`/api/admin/keys`: the signing keys, and what becomes of them. Private halves are in no answer."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, JSONBody

from keywright.domain.errors import Invalid
from keywright.flows import signing_keys
from keywright.flows.context import Context
from keywright.flows.signing_keys import Changed, KeyAct, KeysShown
from keywright.web.auth import actor_of, needs, token_of
from keywright.web.strict_body import StrictRequest


class RotateBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`type` None: the keys of every type. `force`: though the offline root has not signed for the next."""

    type: str | None = None
    force: bool = False
    reason: str | None = None


class RevokeBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    reason: str | None = None


def routes(context: Context) -> list[HTTPRouteHandler]:
    """The routes, for the tenant of the token that asks."""
    shared: dict[str, Any] = {
        "sync_to_thread": True,
        "request_class": StrictRequest,
        "include_in_schema": True,
        "tags": ["keys"],
    }
    acts = {"guards": [needs(context, "admin")], "status_code": 200, **shared}

    @get("/api/admin/keys", guards=[needs(context, "read")], **shared)
    def list_keys(request: StrictRequest) -> KeysShown:
        if unknown := sorted(request.query_params):
            raise Invalid(f"There is no parameter `{unknown[0]}` here.")
        return signing_keys.show(context, token_of(request).tenant_id)

    @post("/api/admin/keys/rotate", **acts)
    def rotate_keys(request: StrictRequest, data: JSONBody[RotateBody | None] = None) -> Changed:
        told = data or RotateBody()
        act = KeyAct(actor_of(request), told.reason)
        tenant = token_of(request).tenant_id
        return signing_keys.rotate(context, tenant, act, token_type=told.type, force=told.force)

    @post("/api/admin/keys/{kid:str}/revoke", **acts)
    def revoke_key(
        request: StrictRequest, kid: FromPath[str], data: JSONBody[RevokeBody | None] = None
    ) -> Changed:
        act = KeyAct(actor_of(request), data.reason if data is not None else None)
        return signing_keys.revoke(context, token_of(request).tenant_id, kid, act)

    return [list_keys, rotate_keys, revoke_key]
