"""The end of a tenant in the console: what would go, its slug typed once more, and no way back."""

from __future__ import annotations

from typing import Any, Final

from keywright.domain.errors import Forbidden
from keywright.flows import shredding, tenants
from keywright.flows.context import Context
from keywright.flows.operate import text_of
from keywright.flows.tenants import TenantSeen
from keywright.web.console.asking import REASON, Asked, Deal, Effect, Field, Steps, routes_of
from keywright.web.console.shell import Shell

_TENANTS: Final = "/console/tenants"
_PAGE: Final = f"{_TENANTS}/{{tenant_id:str}}/shred"


def routes(shell: Shell) -> list[Any]:
    """`/console/tenants/{id}/shred`, for owners of the master tenant alone."""
    return routes_of(shell, _PAGE, "govern", Steps(_deal, _preview, _shred), proven=True)


def _found(context: Context, asked: Asked) -> TenantSeen:
    """Raises Forbidden, NotFound."""
    tenants.demand_master(context, asked.tenant)
    one = tenants.show(context, asked.named["tenant_id"])
    if one.is_master:
        raise Forbidden("The master tenant keeps this installation: it cannot be shredded.")
    return one


def _deal(context: Context, asked: Asked) -> Deal:
    one = _found(context, asked)
    return Deal(
        title=f"Shred {one.name}",
        meaning="Its keys are destroyed, and its data is deleted. There is no way back: no program of its "
        "customers is answered any more. What its books need is kept, under ids.",
        back=f"{_TENANTS}/{one.id}",
        above=one.name,
        fields=(
            Field("slug", f"To confirm, type its slug: {one.slug}", most=48, required=True),
            REASON,
        ),
        grave=True,
    )


def _preview(context: Context, asked: Asked) -> Effect:
    one = _found(context, asked)
    text_of("reason", asked.act.reason)
    shredding.demand_confirmed(one.slug, asked.told.get("slug", ""))
    held = shredding.held_by(context, one.id)
    changes = [
        ("Its data key, and all that is sealed with it", "In the vault", "Destroyed"),
        ("Pages", one.base_url, "Gone, and the slug stays taken"),
        ("Licenses", f"{held.licenses:,}", "Unknown to every program"),
        ("Customers", f"{held.customers:,}", "Deleted"),
        ("Its staff", f"{held.people:,}", "Let in no more"),
    ]
    notes = [
        "Subscriptions at its providers go on: end them there first.",
        "Backups of before hold its key until they are deleted.",
        "With many licenses it takes minutes. When it is cut off, keywright tenant shred goes on.",
    ]
    return Effect(changes, notes)


def _shred(context: Context, asked: Asked) -> str:
    one = _found(context, asked)
    act = asked.act
    shredding.shred(context, one.id, confirmed=asked.told.get("slug", ""), by=act.by, why=act.reason)
    return f"{_TENANTS}?done=shredded"
