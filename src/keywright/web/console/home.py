"""The first page: how things stand, what came in, and what waits for somebody."""

from __future__ import annotations

from typing import Any, Final

from litestar import Response, get
from litestar.params import FromPath

from keywright.domain.errors import NotFound
from keywright.flows.numbers import Board, Numbers
from keywright.web.console import figures
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
    ("waiting", "Mails without an address"),
)


def routes(shell: Shell) -> list[Any]:
    """`/console`, and the page for whatever is not there."""
    gate, board = shell.gate, Board()

    @get("/console", **needs(gate, "look"))
    async def home(request: Web) -> Response[Any]:
        tenant = signed_of(request).staff.tenant_id
        found, kept = await gate.run(lambda: board.read(shell.context, tenant))
        return shell.page(
            request,
            "console_home.html",
            counted=f"{found.at:%H:%M:%S} UTC" if kept else "",
            licenses=[(name, label, found.licenses.get(name, 0)) for name, label in _LICENSES],
            moved=_moved(found),
            events=[(name, label, found.events.get(name, 0)) for name, label in _EVENTS],
            mails=[(name, label, found.mails.get(name, 0)) for name, label in _MAILS],
            live=found.live,
            revenue=figures.of_revenue(found),
            fees=figures.of_fees(found),
            more=figures.more_revenue(found),
            by_month=figures.of_licenses(found),
        )

    @get("/console/{rest:path}", **needs(gate, "look"))
    async def nowhere(rest: FromPath[str]) -> Response[Any]:
        raise NotFound(f"There is nothing at {rest[:80]}.")

    return [home, nowhere]


def _moved(found: Numbers) -> list[tuple[str, int, int]]:
    """What the running month brought and took, beside the one before."""
    return [
        ("New this month", found.made[-1], found.made[-2]),
        ("Lost this month", found.ended[-1], found.ended[-2]),
    ]
