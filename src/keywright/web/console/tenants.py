"""Tenants: the sellers that this installation serves, for the staff of the one who keeps it."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import urlencode

from litestar import Response, get
from litestar.params import FromPath, FromQuery

from keywright.domain.errors import Forbidden, Invalid
from keywright.domain.staff import ROLES
from keywright.flows import staff, tenants
from keywright.flows.context import Context
from keywright.flows.operate import text_of
from keywright.flows.staff_sessions import DOOR
from keywright.flows.tenants import Change, TenantSeen
from keywright.web.console import words
from keywright.web.console.asking import REASON, Asked, Deal, Effect, Field, Once, Steps, routes_of
from keywright.web.console.gate import Web, needs, signed_of
from keywright.web.console.shell import Shell
from keywright.web.storefront.words import provider_name

_PAGE: Final = "/console/tenants"
_ONE: Final = f"{_PAGE}/{{tenant_id:str}}"
_ROWS: Final = 50
_ABOVE: Final = "Tenants"
_DONE: Final = {
    "made": "The tenant is made, with keys of its own. Let its first person in, and set its providers up.",
    "changed": "The tenant was changed. Every process serves it so within seconds.",
    "shredded": "The tenant is shredded: its keys are destroyed, and its data is deleted.",
}


def routes(shell: Shell) -> list[Any]:
    """`/console/tenants` and beneath it, for the staff of the master tenant alone."""
    return [
        _listing(shell),
        _showing(shell),
        *routes_of(shell, f"{_PAGE}/new", "govern", Steps(_make_deal, _preview_make, _make), proven=True),
        *routes_of(shell, f"{_ONE}/change", "govern", Steps(_change_deal, _preview_change, _change)),
        *routes_of(
            shell, f"{_ONE}/invite", "govern", Steps(_invite_deal, _preview_invite, _invite), proven=True
        ),
    ]


# -- see ------------------------------------------------------------------------------------------------


def _listing(shell: Shell) -> Any:
    gate, context = shell.gate, shell.context

    @get(_PAGE, **needs(gate, "decide"))
    async def list_tenants(
        request: Web, q: FromQuery[str] = "", after: FromQuery[str] = "", done: FromQuery[str] = ""
    ) -> Response[Any]:
        tenants.demand_master(context, signed_of(request).staff.tenant_id)
        page = await gate.run(lambda: tenants.list_page(context, text=q, cursor=after or None, limit=_ROWS))
        query = {"q": q} if q else {}
        return shell.page(
            request,
            "console_tenants.html",
            rows=[_row(one) for one in page.items],
            text=q,
            notice=_DONE.get(done, ""),
            onward=urlencode({**query, "after": page.next_cursor}) if page.next_cursor else "",
        )

    return list_tenants


def _row(one: TenantSeen) -> dict[str, str]:
    return {
        "id": one.id,
        "name": one.name,
        "slug": one.slug,
        "providers": ", ".join(dict.fromkeys(provider_name(account.provider) for account in one.accounts)),
        "seats": "" if one.licensed_user_count is None else f"{one.licensed_user_count:,}",
        "since": words.short(one.created_at),
        "master": "yes" if one.is_master else "",
    }


def _showing(shell: Shell) -> Any:
    gate, context = shell.gate, shell.context

    @get(_ONE, **needs(gate, "decide"))
    async def show(request: Web, tenant_id: FromPath[str], done: FromQuery[str] = "") -> Response[Any]:
        tenants.demand_master(context, signed_of(request).staff.tenant_id)
        one = await gate.run(lambda: tenants.show(context, tenant_id))
        facts = [
            ("Pages", one.base_url),
            ("E-mail", one.email or "None"),
            ("Since", words.moment(one.created_at)),
            ("Seats", "Not counted" if one.licensed_user_count is None else f"{one.licensed_user_count:,}"),
            ("Web pages that may sell", ", ".join(one.website_origins) or "Its own alone"),
            ("Buyers may be sent back to", ", ".join(one.return_origins) or "Its own pages alone"),
        ]
        accounts = [
            (
                f"{provider_name(account.provider)}, {account.mode} mode{', connected' * account.connected}",
                tenants.webhook_address(context, one, account),
            )
            for account in one.accounts
        ]
        return shell.page(
            request,
            "console_tenant.html",
            one=_row(one),
            facts=facts,
            accounts=accounts,
            door=f"{context.policy.base_url}{DOOR}?at={one.slug}",
            notice=_DONE.get(done, ""),
        )

    return show


# -- make -----------------------------------------------------------------------------------------------


def _make_deal(context: Context, asked: Asked) -> Deal:
    tenants.demand_master(context, asked.tenant)
    return Deal(
        title="Make a tenant",
        meaning="A seller with a catalog, customers, licenses, staff and keys of its own. Nothing of it is "
        "visible to any other tenant.",
        back=_PAGE,
        above=_ABOVE,
        fields=(
            Field(
                "name", "Name", hint="Its customers read it on pages and in mails.", most=120, required=True
            ),
            Field(
                "slug",
                "Slug",
                hint="Stands in the address of its pages, and stays: small letters, digits, hyphens.",
                most=48,
                required=True,
            ),
            Field("email", "E-mail", kind="email", hint="Where the tenant itself is reached.", most=254),
            REASON,
        ),
    )


def _made_of(asked: Asked) -> tuple[str, str, str | None]:
    told = asked.told
    return told.get("name", ""), told.get("slug", "").strip(), told.get("email", "").strip() or None


def _preview_make(context: Context, asked: Asked) -> Effect:
    name, slug, email = _made_of(asked)
    plain = tenants.check(name, slug, email)
    text_of("reason", asked.act.reason)
    tenants.demand_free(context, slug)
    changes = [
        ("Tenant", "Not there", plain),
        ("Its pages", "Not there", f"{context.policy.base_url}/t/{slug}"),
        ("Its keys", "Not there", "A data key, and signing keys of each kind"),
    ]
    return Effect(changes, ["It sells nothing until it has a catalog and a provider."])


def _make(context: Context, asked: Asked) -> str:
    tenants.demand_master(context, asked.tenant)
    name, slug, email = _made_of(asked)
    made = tenants.create(context, name, slug, email, by=asked.act.by, why=asked.act.reason)
    return f"{_PAGE}/{made.id}?done=made"


# -- change ---------------------------------------------------------------------------------------------


def _found(context: Context, asked: Asked) -> TenantSeen:
    """Raises Forbidden, NotFound."""
    tenants.demand_master(context, asked.tenant)
    return tenants.show(context, asked.named["tenant_id"])


def _change_deal(context: Context, asked: Asked) -> Deal:
    one = _found(context, asked)
    if one.is_master:
        raise Forbidden("The environment describes the master tenant: SELLER_NAME and its neighbors.")
    return Deal(
        title=f"Change {one.name}",
        meaning="What its customers read, and where its checkout may be called from.",
        back=f"{_PAGE}/{one.id}",
        above=one.name,
        fields=(
            Field("name", "Name", usual=one.name, most=120, required=True),
            Field("email", "E-mail", kind="email", usual=one.email or "", most=254),
            Field(
                "website_origins",
                "Web pages that may sell",
                hint="Origins such as https://shop.example, with commas between them.",
                usual=", ".join(one.website_origins),
                most=2000,
            ),
            Field(
                "return_origins",
                "Buyers may be sent back to",
                hint="Likewise.",
                usual=", ".join(one.return_origins),
                most=2000,
            ),
            REASON,
        ),
    )


def _wanted(asked: Asked) -> Change:
    told = asked.told
    return Change(
        name=told.get("name", ""),
        email=told.get("email", "").strip() or None,
        website_origins=tuple(told.get("website_origins", "").split(",")),
        return_origins=tuple(told.get("return_origins", "").split(",")),
    )


_LABELS: Final = {
    "name": "Name",
    "email": "E-mail",
    "website_origins": "Web pages that may sell",
    "return_origins": "Buyers may be sent back to",
}


def _preview_change(context: Context, asked: Asked) -> Effect:
    one = _found(context, asked)
    text_of("reason", asked.act.reason)
    changes = tenants.changed_by(context, one.id, _wanted(asked))
    if not changes:
        raise Invalid("That is how it is already.")
    return Effect([(_LABELS[name], now, then) for name, now, then in changes])


def _change(context: Context, asked: Asked) -> str:
    one = _found(context, asked)
    tenants.change(context, one.id, _wanted(asked), by=asked.act.by, why=asked.act.reason)
    return f"{_PAGE}/{one.id}?done=changed"


# -- let somebody in ------------------------------------------------------------------------------------


def _invite_deal(context: Context, asked: Asked) -> Deal:
    one = _found(context, asked)
    return Deal(
        title=f"Let somebody in at {one.name}",
        meaning="Whoever opens the link sets himself up with a password and a second factor, and then sees "
        f"what belongs to {one.name}, and nothing else.",
        back=f"{_PAGE}/{one.id}",
        above=one.name,
        fields=(
            Field("email", "E-mail", kind="email", usual=one.email or "", most=254, required=True),
            Field(
                "role",
                "Role",
                kind="choice",
                choices=tuple((role, words.ROLES[role]) for role in ROLES),
                usual="owner",
            ),
            REASON,
        ),
    )


def _preview_invite(context: Context, asked: Asked) -> Effect:
    one = _found(context, asked)
    text_of("reason", asked.act.reason)
    email, role = staff.check(asked.told.get("email", ""), asked.told.get("role", ""))
    return Effect(
        [(f"Staff of {one.name}", "Not there", f"{email}, {role}")],
        ["The set-up link is shown once, on the next page. Hand it over yourself."],
    )


def _invite(context: Context, asked: Asked) -> Once:
    one = _found(context, asked)
    email, role = asked.told.get("email", ""), asked.told.get("role", "")
    why = text_of("reason", asked.act.reason)
    made, link = staff.create(context, one.id, email, role, asked.act.by, why=why)
    return Once(
        title=f"The set-up link for {made.email}",
        meaning=f"It is good once and for {int(staff.LINK_LIVES.total_seconds()) // 3600} hours.",
        label="The link",
        secret=link,
    )
