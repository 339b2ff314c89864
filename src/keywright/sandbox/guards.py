"""Who may pull the levers."""

from __future__ import annotations

from typing import Any

from litestar.connection import ASGIConnection
from litestar.exceptions import ClientException
from litestar.handlers import BaseRouteHandler


def json_only(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
    """A page of another site cannot send JSON here without asking first, so nothing else is taken."""
    kind = connection.headers.get("content-type", "")
    if (
        connection.scope.get("method") != "GET"
        and kind.partition(";")[0].strip().lower() != "application/json"
    ):
        raise ClientException("The control interface takes application/json.", status_code=415)
