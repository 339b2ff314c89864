"""Who opens a checkout: the holder of a portal session, or somebody for whom the seller's token vouches."""

from __future__ import annotations

import asyncio
from typing import Any

from litestar import Request

from keywright.domain.errors import Forbidden, Unauthorized
from keywright.flows import portal_sign_in, tokens
from keywright.flows.context import Context
from keywright.flows.renewing import NO_PROOF, Proof
from keywright.web.origin import is_ours
from keywright.web.rooted import SESSION, cookie_name


async def proof_of(context: Context, request: Request[Any, Any, Any]) -> Proof:
    """What the request proves beside what it asks for.

    Raises Unauthorized for a bearer token that is none of ours, Forbidden for one without scope `checkout`.
    """
    kind, _, text = request.headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer":
        token = await asyncio.to_thread(tokens.find, context, text.strip())
        if token is None or token.tenant_id != context.tenant.id:
            raise Unauthorized("This is no token of ours.")
        if not tokens.may(token, "checkout"):
            raise Forbidden(f"This token has scope {token.scope}; checkout is needed here.")
        return Proof(trusted=True)
    session = request.cookies.get(cookie_name(context, SESSION), "")
    # A page of another site may send our cookies along, but is not who is signed in.
    if not session or not is_ours(context.policy.base_url, request):
        return NO_PROOF
    visitor = await asyncio.to_thread(portal_sign_in.find_visitor, context, session)
    return NO_PROOF if visitor is None else Proof(people=visitor.people)
