"""Who asks: bearer tokens and their scopes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from litestar.connection import ASGIConnection, Request
from litestar.handlers import BaseRouteHandler

from keywright.domain.errors import Forbidden, Invalid, Unauthorized
from keywright.flows import tokens
from keywright.flows.context import Context
from keywright.flows.tokens import Scope
from keywright.store.tenants import Token
from keywright.web.walled import wall_in

Connection = ASGIConnection[Any, Any, Any, Any]
Guard = Callable[[Connection, BaseRouteHandler], Awaitable[None]]


def needs(context: Context, scope: Scope) -> Guard:
    """A guard: it runs before the body is read, so strangers learn nothing from how their body is refused.

    Raises Unauthorized without a token that is ours, Forbidden when it lacks the scope.
    """

    async def guard(connection: Connection, _handler: BaseRouteHandler) -> None:
        kind, _, text = connection.headers.get("authorization", "").partition(" ")
        token = None
        if kind.lower() == "bearer":
            loop = asyncio.get_running_loop()
            token = await loop.run_in_executor(None, tokens.find, context, text.strip())
        if token is None:
            raise Unauthorized("A bearer token is needed here: Authorization: Bearer kw_...")
        if not tokens.may(token, scope):
            raise Forbidden(f"This token has scope {token.scope}; {scope} is needed here.")
        if "\x00" in connection.scope["path"] or b"%00" in connection.scope["query_string"]:
            raise Invalid("There is a NUL in the address.")  # PostgreSQL cannot even be asked for it
        connection.scope["auth"] = token
        wall_in(connection, token.tenant_id)

    return guard


def token_of(request: Request[Any, Any, Any]) -> Token:
    """The token that a guard let through."""
    token: Token = request.scope["auth"]
    return token


def actor_of(request: Request[Any, Any, Any]) -> str:
    """Who acts, for the timeline. The id alone: a token may be named after a person."""
    return f"token {token_of(request).id}"
