"""Connected accounts in the console: of any tenant for the platform's staff, of its own for a tenant's."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from litestar import Response, get, post
from litestar.params import FromQuery

from keywright.domain.errors import Conflict, KeywrightError, NotFound, ProviderUnavailable, Refused
from keywright.domain.errors import Misconfigured as WrongSetting
from keywright.domain.fee import FeeRule
from keywright.flows import connecting, tenants
from keywright.flows.connecting import Standing
from keywright.flows.context import Context
from keywright.flows.fee_text import amounts_text, percent_text, rule_from, rule_text
from keywright.flows.operate import text_of
from keywright.store.connected import Connected
from keywright.web.console import words
from keywright.web.console.asking import REASON, Asked, Deal, Effect, Field, Steps, routes_of
from keywright.web.console.connect_words import what_to_do, why_off
from keywright.web.console.gate import Web, act_of, needs, signed_of
from keywright.web.console.shell import Shell
from keywright.web.storefront.words import provider_name

_OWN: Final = "/console/settings/connect"
_OF_TENANT: Final = "/console/tenants/{tenant_id:str}/connect"
_UNFIT: Final = 422
_ONBOARDED: Final = ("stripe",)  # at the others somebody types the account's name
_DONE: Final = {
    "back": "You are back. This is how the account stands now, as the provider says it.",
    "again": "That page at the provider had run out: each opens once, and only for minutes. Go on below.",
    "looked": "The provider was asked. This is how the account stands now.",
    "ended": "Disconnected. Nothing is sold through the account any more, and licenses stay as they are.",
    "fee": "The fee was changed. It counts for what is sold from now on.",
    "attached": "The account is connected.",
}


def routes(shell: Shell) -> list[Any]:
    """`/console/settings/connect` and `/console/tenants/{id}/connect`, and beneath them."""
    made: list[Any] = []
    for page in (_OWN, _OF_TENANT):
        ending = Steps(_end_deal, _preview_end, _end)
        made += [
            _showing(shell, page),
            _starting(shell, page),
            _looking(shell, page),
            _returning(shell, page),
            *routes_of(shell, f"{page}/{{provider:str}}/disconnect", "govern", ending),
        ]
    fee, attach = Steps(_fee_deal, _preview_fee, _set_fee), Steps(_attach_deal, _preview_attach, _attach)
    return [
        *made,
        *routes_of(shell, f"{_OF_TENANT}/fee", "govern", fee, proven=True),
        *routes_of(shell, f"{_OF_TENANT}/{{provider:str}}/attach", "govern", attach, proven=True),
    ]


def _tenant_of(context: Context, request: Web) -> tuple[str, str]:
    """Whose accounts, and where the page about them is. The tenant in the address is the platform's alone to
    name: everybody else has his own."""
    own = signed_of(request).staff.tenant_id
    named = request.path_params.get("tenant_id")
    if named is None:
        return own, _OWN
    tenants.demand_master(context, own)
    return str(named), f"/console/tenants/{named}/connect"


def _target(context: Context, asked: Asked) -> str:
    named = asked.named.get("tenant_id")
    if named is None:
        return asked.tenant
    tenants.demand_master(context, asked.tenant)
    return named


def _page_of(asked: Asked) -> str:
    named = asked.named.get("tenant_id")
    return _OWN if named is None else f"/console/tenants/{named}/connect"


# -- see ------------------------------------------------------------------------------------------------


def _showing(shell: Shell, path: str) -> Any:
    @get(path, **needs(shell.gate, "decide"))
    async def show(request: Web, done: FromQuery[str] = "") -> Response[Any]:
        return await _page(shell, request, notice=_DONE.get(done, ""))

    return show


async def _page(
    shell: Shell, request: Web, *, notice: str = "", problem: str = "", status: int = 200
) -> Response[Any]:
    context = shell.context
    tenant, page = _tenant_of(context, request)
    found = await shell.gate.run(lambda: connecting.read(context, tenant))
    connected = {one.account.provider for one in found.accounts if one.left_at is None}
    return shell.page(
        request,
        "console_connect.html",
        status=status,
        notice=notice,
        problem=problem,
        page=page,
        name=found.name,
        platform=context.master.name,
        is_platform=tenant == context.master.id,
        of_other=page != _OWN,
        accounts=[_shown(one) for one in found.accounts],
        fee=rule_text(found.fee),
        offered=[
            (one, provider_name(one), one in _ONBOARDED)
            for one in found.offered
            if one not in connected and one not in found.own_keys
        ],
        own_keys=[provider_name(one) for one in found.own_keys],
    )


def _shown(one: Connected) -> dict[str, Any]:
    if one.left_at is not None:
        label, badge = "Disconnected", "bad"
        said = (
            f"Since {words.moment(one.left_at)} nothing can be asked of this account, and nothing is sold "
            "through it. Licenses that were sold stay as they are. To sell again, connect anew."
        )
    elif one.sells and not one.due:
        label, badge, said = "Sells", "", ""
    elif one.sells:
        label, badge, said = "Sells, something is asked for", "wait", "Payments stop if it is not handed in."
    else:
        label, badge = "Cannot sell yet", "wait"
        said = why_off(one.disabled_reason) or "The account's owner has to finish at the provider."
    return {
        "provider": one.account.provider,
        "name": provider_name(one.account.provider),
        "label": label,
        "badge": badge,
        "said": said,
        "left": one.left_at is not None,
        "due": what_to_do(one.due) if one.left_at is None else [],
        "onboarded": one.account.provider in _ONBOARDED,
        "facts": [
            ("Account", one.account.external_id or "None"),
            ("Mode", "Live" if one.account.live else "Test"),
            ("Takes payments", _yes(one.charges)),
            ("Is paid out", _yes(one.payouts)),
            ("Form handed in", _yes(one.submitted)),
            ("As of", words.moment(one.seen_at)),
        ],
    }


def _yes(is_so: bool) -> str:
    return "Yes" if is_so else "No"


# -- connect --------------------------------------------------------------------------------------------


def _starting(shell: Shell, path: str) -> Any:
    gate, context = shell.gate, shell.context

    @post(f"{path}/{{provider:str}}/start", status_code=200, **needs(gate, "govern"))
    async def start(request: Web) -> Response[Any]:
        told = await gate.act_form(request)
        tenant, page = _tenant_of(context, request)
        provider = str(request.path_params["provider"])
        act = act_of(request, told.get("reason", "").strip())
        back = f"{context.policy.base_url}{page}"
        try:
            url = await gate.run(
                lambda: connecting.start(
                    context,
                    tenant,
                    provider,
                    act,
                    refresh_url=f"{back}?done=again",
                    return_url=f"{back}/{provider}/back",
                )
            )
        except (Refused, WrongSetting, ProviderUnavailable) as error:
            status = min(error.status, _UNFIT)
            return await _page(shell, request, problem=_sentence(error), status=status)
        return shell.page(
            request,
            "console_connect_go.html",
            page=page,
            name=provider_name(provider),
            url=url,
        )

    return start


def _looking(shell: Shell, path: str) -> Any:
    gate, context = shell.gate, shell.context

    @post(f"{path}/{{provider:str}}/look", status_code=200, **needs(gate, "decide"))
    async def look(request: Web) -> Response[Any]:
        await gate.act_form(request)
        return await _asked_now(shell, context, request, "looked")

    return look


def _returning(shell: Shell, path: str) -> Any:
    """Whoever comes back proves nothing by it: the provider is asked."""
    gate, context = shell.gate, shell.context

    @get(f"{path}/{{provider:str}}/back", **needs(gate, "decide"))
    async def back(request: Web) -> Response[Any]:
        return await _asked_now(shell, context, request, "back")

    return back


async def _asked_now(shell: Shell, context: Context, request: Web, done: str) -> Response[Any]:
    tenant, page = _tenant_of(context, request)
    provider = str(request.path_params["provider"])
    try:
        await shell.gate.run(lambda: connecting.look(context, tenant, provider))
    except (WrongSetting, ProviderUnavailable) as error:
        return await _page(shell, request, problem=_sentence(error), status=_UNFIT)
    return shell.go(f"{page}?done={done}")


def _sentence(error: KeywrightError) -> str:
    detail = error.detail if error.detail.endswith(".") else f"{error.detail}."
    return detail[:1].upper() + detail[1:]


# -- attach, and disconnect -----------------------------------------------------------------------------


def _attach_deal(context: Context, asked: Asked) -> Deal:
    found = _standing(context, asked)
    name = provider_name(asked.named["provider"])
    return Deal(
        title=f"Connect {found.name} at {name}",
        meaning=f"Make a subaccount for it in your dashboard at {name} first, with its bank account. What is "
        "sold for it then goes there, and your part stays with you.",
        back=_page_of(asked),
        above="Connected accounts",
        fields=(
            Field("account", "Name of the subaccount", hint="Begins with ACCT_.", most=60, required=True),
            REASON,
        ),
    )


def _preview_attach(context: Context, asked: Asked) -> Effect:
    found = _standing(context, asked)
    text_of("reason", asked.act.reason)
    account = asked.told.get("account", "").strip()
    note = f"Every sale through it then pays: {rule_text(found.fee)}."
    return Effect([(f"Account of {found.name}", _now(found, asked), account)], [note])


def _now(found: Standing, asked: Asked) -> str:
    mine = [one for one in found.accounts if one.account.provider == asked.named["provider"]]
    return mine[0].account.external_id or "None" if mine else "None"


def _attach(context: Context, asked: Asked) -> str:
    account = asked.told.get("account", "").strip()
    connecting.attach(context, _target(context, asked), asked.named["provider"], account, asked.act)
    return f"{_page_of(asked)}?done=attached"


def _end_deal(context: Context, asked: Asked) -> Deal:
    found = _standing(context, asked)
    return Deal(
        title=f"Disconnect {found.name}",
        meaning="Nothing is sold through the account any more, and nothing is heard of it: renewals go on at "
        "the provider, and are not noticed here. Licenses stay as they are.",
        back=_page_of(asked),
        above="Connected accounts",
    )


def _preview_end(context: Context, asked: Asked) -> Effect:
    found = _standing(context, asked)
    text_of("reason", asked.act.reason)
    mine = [one for one in found.accounts if one.account.provider == asked.named["provider"]]
    if not mine or mine[0].left_at is not None:
        raise Conflict("It is not connected there.", code="NOT_CONNECTED")
    account = mine[0].account.external_id or ""
    return Effect([(f"Account {account}", "Connected", "Disconnected")])


def _end(context: Context, asked: Asked) -> str:
    connecting.disconnect(context, _target(context, asked), asked.named["provider"], asked.act)
    return f"{_page_of(asked)}?done=ended"


def _standing(context: Context, asked: Asked) -> Standing:
    if asked.named.get("provider", "stripe") not in context.doors:
        raise NotFound("There is no such provider.", code="PROVIDER_UNKNOWN")
    return connecting.read(context, _target(context, asked))


# -- the fee --------------------------------------------------------------------------------------------


def _fee_deal(context: Context, asked: Asked) -> Deal:
    found = _standing(context, asked)
    rule = found.fee
    return Deal(
        title=f"Change the fee of {found.name}",
        meaning="What you keep of each of its sales. Subscriptions that run go on with the fee they were "
        "sold with; at a subscription the amounts become a part of its price.",
        back=_page_of(asked),
        above="Connected accounts",
        fields=(
            Field("percent", "Percent of a charge", usual=percent_text(rule), most=8, hint="Two decimals."),
            Field("fixed", "And a fixed amount", usual=amounts_text(rule, "amount"), hint=_AMOUNTS),
            Field("least", "At least", usual=amounts_text(rule, "least"), hint=_AMOUNTS),
            Field("most", "At most", usual=amounts_text(rule, "most"), hint="Never more than the charge."),
            Field(
                "on_refund",
                "At a refund",
                kind="choice",
                choices=(("give_back", "Goes back with the money"), ("keep", "Stays with you")),
                usual=rule.on_refund,
            ),
            REASON,
        ),
    )


_AMOUNTS: Final = "By currency: 0.50 USD, 0.45 EUR."


def _told_rule(asked: Asked) -> FeeRule:
    names = ("percent", "fixed", "least", "most", "on_refund")
    return rule_from(*(asked.told.get(name, "") for name in names))


def _preview_fee(context: Context, asked: Asked) -> Effect:
    found, wanted = _standing(context, asked), _told_rule(asked)
    text_of("reason", asked.act.reason)
    if msgspec.json.encode(wanted) == msgspec.json.encode(found.fee):
        raise Conflict("That is the fee as it is.", code="NOTHING_NEW")
    note = "It counts for what is sold from now on. Subscriptions that run keep the fee they were sold with."
    return Effect([("Fee", rule_text(found.fee), rule_text(wanted))], [note])


def _set_fee(context: Context, asked: Asked) -> str:
    connecting.set_fee(context, _target(context, asked), _told_rule(asked), asked.act)
    return f"{_page_of(asked)}?done=fee"
