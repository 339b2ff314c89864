"""Which requests of people and programs are one tenant's alone, and from when on.

Every request that a guard lets in is walled in with its tenant (`store/wall.py`), but for those listed here:
they are about the installation, or about more tenants than one.
"""

from __future__ import annotations

from typing import Any, Final

from litestar.connection import ASGIConnection

from keywright.store import wall

OUTSIDE: Final = (
    # The master tenant's staff and programs make, change and connect other tenants there.
    "/console/tenants",
    "/console/provisioning",
    "/api/admin/tenants",
    # An account at the platform's provider: its keys, and those connected to it, are the platform's.
    "/console/settings/connect",
    # What the workflow engine does, for all tenants in one list.
    "/console/work",
    "/api/admin/workflows",
    # A tenant as another one's customer: the subscription is the seller's.
    "/console/seats",
)
"""Addresses, with all that is beneath them. What is asked there names its tenant by the first wall alone."""


def wall_in(connection: ASGIConnection[Any, Any, Any, Any], tenant: str) -> None:
    """From here on the request is this tenant's alone, unless it is about more."""
    path = connection.scope["path"].rstrip("/")
    if not any(path == one or path.startswith(f"{one}/") for one in OUTSIDE):
        wall.enter(tenant)
