"""Provisioning: tenants that are being made, each step with what happened; and made by hand, or once more."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final
from urllib.parse import quote, urlencode

from litestar import Response, get
from litestar.params import FromPath, FromQuery

from keywright.domain.errors import Invalid
from keywright.flows import provisioning, provisioning_desk, tenants
from keywright.flows.context import Context
from keywright.flows.provisioning import STEPS, StepName, Wish
from keywright.flows.provisioning_desk import ProvisioningSeen, StepSeen
from keywright.web.console import asking, words
from keywright.web.console.asking import REASON, Asked, Deal, Effect, Field, Steps
from keywright.web.console.gate import Web, needs, signed_of
from keywright.web.console.shell import Shell
from keywright.workflows.views import Works

_PAGE: Final = "/console/provisioning"
_ONE: Final = f"{_PAGE}/{{work:str}}"
_ABOVE: Final = "Provisioning"
_ROWS: Final = 50
_STATES: Final = {
    "running": ("wait", "Under way"),
    "done": ("", "Done"),
    "failed": ("bad", "Failed"),
    "canceled": ("still", "Ended by hand"),
}
_OF_STEP: Final = {"waiting": ("still", "To come"), "done": ("", "Done"), "failed": ("bad", "Failed")}
_TITLES: Final[dict[StepName, str]] = {
    "accept": "Write the wish down",
    "tenant": "Make the tenant",
    "staff": "Invite its first person",
    "customer": "Know it by its customer",
    "seats": "Begin with its users",
    "subscription": "Fetch its subscription",
    "mark_customer": "Write back to the customer",
    "mark_subscription": "Write back to the subscription",
    "release": "Apply what had waited",
}
_DONE: Final = {
    "begun": "The tenant is being made. Load this page again in a moment.",
    "again": "The work was taken up again.",
}


def routes(shell: Shell) -> list[Any]:
    """`/console/provisioning` and beneath it, for the staff of the master tenant alone."""
    works = Works(shell.context.database)
    return [
        _listing(shell),
        _showing(shell),
        *asking.routes_of(
            shell, f"{_PAGE}/new", "govern", Steps(_new_deal, _preview_new, _begin), proven=True
        ),
        *asking.routes_of(shell, f"{_ONE}/again", "decide", _again(works)),
    ]


# -- see ------------------------------------------------------------------------------------------------


def _listing(shell: Shell) -> Any:
    gate, context = shell.gate, shell.context

    @get(_PAGE, **needs(gate, "decide"))
    async def list_works(request: Web, before: FromQuery[str] = "") -> Response[Any]:
        tenants.demand_master(context, signed_of(request).staff.tenant_id)
        until = _moment(before)
        found = await gate.run(lambda: provisioning_desk.list_page(context, before=until, limit=_ROWS + 1))
        more = found[_ROWS - 1].created_at if len(found) > _ROWS else None
        return shell.page(
            request,
            "console_provisionings.html",
            rows=[_row(one) for one in found[:_ROWS]],
            onward=urlencode({"before": more.isoformat()}) if more is not None else "",
        )

    return list_works


def _moment(text: str) -> datetime | None:
    if not text:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise Invalid("`before` must be a time with its zone.")
    return found


def _row(one: ProvisioningSeen) -> dict[str, Any]:
    return {
        "id": one.id,
        "name": one.client_name,
        "badge": _STATES.get(one.status, ("still", one.status)),
        "customer": one.customer or "None",
        "tenant": one.tenant or "",
        "begun": words.short(one.created_at),
    }


def _showing(shell: Shell) -> Any:
    gate, context = shell.gate, shell.context

    @get(_ONE, **needs(gate, "decide"))
    async def show(request: Web, work: FromPath[str], done: FromQuery[str] = "") -> Response[Any]:
        tenants.demand_master(context, signed_of(request).staff.tenant_id)
        one = await gate.run(lambda: provisioning_desk.show(context, work))
        facts = [
            ("Id", one.id),
            ("First person", one.email),
            ("Customer", one.customer or "None"),
            ("Subscription", one.subscription or "None"),
            ("Asked for by", one.asked_by),
            ("Begun", words.moment(one.created_at)),
            ("Last change", words.moment(one.changed_at)),
        ]
        return shell.page(
            request,
            "console_provisioning.html",
            one=_row(one),
            facts=facts,
            steps=[_step(step) for step in one.steps],
            running=one.status == "running",
            notice=_DONE.get(done, ""),
        )

    return show


def _step(one: StepSeen) -> dict[str, Any]:
    title = next((told for name, told in _TITLES.items() if name == one.name), one.name)
    return {
        "name": one.name,
        "title": title,
        "badge": _OF_STEP.get(one.status, ("still", one.status)),
        "note": f"Failed with {one.error}." if one.error else one.note,
        "attempts": one.attempts,
        "at": words.moment(one.changed_at),
    }


# -- acts -----------------------------------------------------------------------------------------------


def _new_deal(context: Context, asked: Asked) -> Deal:
    tenants.demand_master(context, asked.tenant)
    return Deal(
        title="Provision a tenant",
        meaning="Makes a tenant of a customer, as a shop would ask for it by the API: invites its first "
        "person, knows it by its customer at Stripe, and takes its seats from its subscription.",
        back=_PAGE,
        above=_ABOVE,
        fields=(
            Field("email", "First person's address", "email", most=320, required=True),
            Field("client_name", "Firm", most=120, required=True),
            Field("stripe_customer_id", "Customer at Stripe", hint="cus_…; may be left out."),
            Field("stripe_subscription_id", "Subscription at Stripe", hint="sub_…; may be left out."),
            Field(
                "initial_license_count",
                "Users",
                "number",
                hint="Until a subscription says how many; may be left out.",
            ),
            REASON,
        ),
    )


def _wish_of(asked: Asked) -> Wish:
    told = {name: asked.told.get(name, "").strip() for name in Wish.__struct_fields__}
    count = told["initial_license_count"]
    if count and not (count.isascii() and count.isdigit() and len(count) <= 6):
        raise Invalid("`initial_license_count` must be a number.")
    return Wish(
        email=told["email"],
        client_name=told["client_name"],
        stripe_customer_id=told["stripe_customer_id"] or None,
        stripe_subscription_id=told["stripe_subscription_id"] or None,
        initial_license_count=int(count) if count else None,
    )


def _preview_new(context: Context, asked: Asked) -> Effect:
    tenants.demand_master(context, asked.tenant)
    wish = _wish_of(asked)
    provisioning.check(wish)
    slug = tenants.slug_for(wish.client_name) or "client"
    users = "as the subscription says" if wish.stripe_subscription_id else "not counted"
    if wish.initial_license_count is not None and not wish.stripe_subscription_id:
        users = str(wish.initial_license_count)
    return Effect(
        [("Tenant", "", wish.client_name), ("Pages", "", f"/t/{slug}"), ("Users", "", users)],
        [f"A mail goes to {wish.email}.", f"The work is called {provisioning.workflow_id(wish)}."],
    )


def _begin(context: Context, asked: Asked) -> str:
    tenants.demand_master(context, asked.tenant)
    work = provisioning.start(context, _wish_of(asked), by=asked.act.by)
    return f"{_of(work)}?done=begun"


def _of(work: str) -> str:
    return f"{_PAGE}/{quote(work, safe='')}"


def _again(works: Works) -> Steps:
    choices = (("", "Where it stopped"), *((name, _TITLES[name]) for name in STEPS))

    def deal(context: Context, asked: Asked) -> Deal:
        tenants.demand_master(context, asked.tenant)
        one = provisioning_desk.show(context, asked.named["work"])
        meaning = f"{one.client_name}: its steps go on. One that is done is done once more only when it is "
        meaning += "chosen, or comes after it; the tenant that is there stays."
        usual = asked.told.get("beginning", "")
        fields = (Field("beginning", "From", "choice", choices=choices, usual=usual), REASON)
        return Deal("Take up again", meaning, _of(one.id), one.client_name, fields)

    def preview(context: Context, asked: Asked) -> Effect:
        tenants.demand_master(context, asked.tenant)
        step = asked.told.get("beginning") or None
        works.may(asked.named["work"], "retry", step=step)
        one = provisioning_desk.show(context, asked.named["work"])
        started = step is None
        changes = []
        for known in one.steps:
            started = started or known.name == step
            if started and (step is not None or known.status != "done"):
                row = _step(known)
                changes.append(
                    (row["title"], row["badge"][1], "Once more" if known.status == "done" else "Next")
                )
        return Effect(changes)

    def do(context: Context, asked: Asked) -> str:
        tenants.demand_master(context, asked.tenant)
        work, step = asked.named["work"], asked.told.get("beginning") or None
        works.act(context, work, "retry", asked.act.by, asked.act.reason or "", step=step)
        return f"{_of(work)}?done=again"

    return Steps(deal, preview, do)
