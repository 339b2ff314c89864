"""The console as one router: its pages, and how it refuses."""

from __future__ import annotations

from typing import Any

from litestar import Response, Router
from litestar.exceptions import HTTPException

from keywright.domain.errors import KeywrightError
from keywright.flows.context import Context
from keywright.web.console import (
    catalog,
    connect,
    events,
    firms,
    home,
    imports,
    keys,
    licenses,
    looks,
    mail,
    people,
    provisioning,
    reconcile,
    seats,
    settings,
    shred,
    sign_in,
    tenants,
    trail,
    webhooks,
    work,
    you,
)
from keywright.web.console.gate import Gate, Web
from keywright.web.console.shell import Shell
from keywright.web.storefront.pages import Pages


def routes(context: Context) -> list[Any]:
    """Everything under `/console`."""
    shell = Shell(Pages(context, pay=False), Gate(context))
    handlers = [
        *sign_in.routes(shell),
        *home.routes(shell),
        *licenses.routes(shell),
        *events.routes(shell),
        *mail.routes(shell),
        *work.routes(shell),
        *reconcile.routes(shell),
        *imports.routes(shell),
        *catalog.routes(shell),
        *keys.routes(shell),
        *firms.routes(shell),
        *looks.routes(shell),
        *webhooks.routes(shell),
        *settings.routes(shell),
        *trail.routes(shell),
        *people.routes(shell),
        *tenants.routes(shell),
        *shred.routes(shell),
        *connect.routes(shell),
        *provisioning.routes(shell),
        *seats.routes(shell),
        *you.routes(shell),
    ]

    # A function, not the bound method: routers are copied with all that hangs on them.
    def refused(request: Web, error: Exception) -> Response[Any]:
        return shell.refused(request, error)

    kinds: tuple[type[Exception], ...] = (KeywrightError, HTTPException, Exception)
    return [Router("/", route_handlers=handlers, exception_handlers=dict.fromkeys(kinds, refused))]
