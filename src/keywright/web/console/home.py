"""The first page: how things stand, and what waits for somebody."""

from __future__ import annotations

from typing import Any, Final

from litestar import Response, get
from litestar.params import FromPath

from keywright.domain.errors import NotFound
from keywright.flows import console
from keywright.web.console.gate import Web, needs, signed_of
from keywright.web.console.shell import Shell

_LICENSES: Final = (
    ("active", "Active"),
    ("grace", "In grace"),
    ("expired", "Expired"),
    ("suspended", "Suspended"),
    ("revoked", "Revoked"),
    ("pending", "Pending"),
)
_EVENTS: Final = (("failed", "Failed events"), ("dead", "Dead letters"), ("parked", "Parked events"))
_MAILS: Final = (
    ("failed", "Undeliverable mails"),
    ("pending", "Mails on their way"),
    ("waiting", "Mails without an address"),
)


def routes(shell: Shell) -> list[Any]:
    """`/console`, and the page for whatever is not there."""
    gate = shell.gate

    @get("/console", **needs(gate, "look"))
    async def home(request: Web) -> Response[Any]:
        tenant = signed_of(request).staff.tenant_id
        found = await gate.run(lambda: console.counts(shell.context, tenant))
        return shell.page(
            request,
            "console_home.html",
            licenses=[(name, label, found.licenses.get(name, 0)) for name, label in _LICENSES],
            events=[(name, label, found.events.get(name, 0)) for name, label in _EVENTS],
            mails=[(name, label, found.mails.get(name, 0)) for name, label in _MAILS],
        )

    @get("/console/{rest:path}", **needs(gate, "look"))
    async def nowhere(rest: FromPath[str]) -> Response[Any]:
        raise NotFound(f"There is nothing at {rest[:80]}.")

    return [home, nowhere]
