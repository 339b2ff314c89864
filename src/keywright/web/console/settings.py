"""Settings: provider accounts with their set-up and a test, mail with a test, API tokens."""

from __future__ import annotations

from typing import Any, Final

from litestar import Response, get, post
from litestar.params import FromPath, FromQuery

from keywright.domain.errors import Conflict, KeywrightError, NotFound, ProviderUnavailable, Refused
from keywright.domain.errors import Misconfigured as WrongSetting
from keywright.flows import mail_trial, provider_desk, tokens
from keywright.flows.context import Context
from keywright.flows.operate import text_of
from keywright.flows.provider_desk import Standing, Tried
from keywright.web.console import words
from keywright.web.console.asking import REASON, Asked, Deal, Effect, Field, Once, Steps, routes_of
from keywright.web.console.gate import Form, Web, act_of, needs, signed_of
from keywright.web.console.shell import Shell
from keywright.web.storefront.words import provider_name

_PAGE: Final = "/console/settings"
_PROVIDER: Final = f"{_PAGE}/providers/{{provider:str}}"
_NEW_TOKEN: Final = f"{_PAGE}/tokens/new"
_END_TOKEN: Final = f"{_PAGE}/tokens/{{token_id:str}}/revoke"
_ABOVE: Final = "Settings"
_UNFIT: Final = 422

_LABELS: Final = {
    "STRIPE_SECRET_KEY": ("Secret key", "Begins with sk_ or rk_. Stripe: Developers, API keys."),
    "PAYSTACK_SECRET_KEY": ("Secret key", "Begins with sk_. Paystack: Settings, API Keys & Webhooks."),
    "PAYPAL_CLIENT_ID": ("Client id", "PayPal: Developer Dashboard, Apps & Credentials."),
    "PAYPAL_CLIENT_SECRET": ("Client secret", "Beside the client id, of the same app."),
    "STRIPE_WEBHOOK_SECRET": ("Webhook secret", ""),
    "PAYPAL_WEBHOOK_ID": ("Webhook id", ""),
}
_SCOPES: Final = (
    ("read", "Read: see licenses and events"),
    ("checkout", "Checkout: open checkouts, and read nothing"),
    ("write", "Write: read, and change licenses"),
    ("admin", "Admin: all of it, the audit and tokens too"),
)
_STATES: Final = {"ok": ("", "Well"), "note": ("still", "Note"), "wrong": ("bad", "Wrong")}
_DONE: Final = {
    "mail": "The mail left this server. Look into your inbox, and into the folder for spam.",
    "token-revoked": "The token is revoked. Whatever uses it is refused from now on.",
}


def routes(shell: Shell) -> list[Any]:
    """`/console/settings` and beneath it."""
    making = Steps(_token_deal, _preview_token, _make_token)
    ending = Steps(_end_deal, _preview_end, _end_token)
    return [
        _showing(shell),
        _trying(shell),
        *_setting_up(shell),
        _mailing(shell),
        *routes_of(shell, _NEW_TOKEN, "govern", making, proven=True),
        # Whoever sees that a token got out must be able to end it, and at once.
        *routes_of(shell, _END_TOKEN, "decide", ending),
    ]


# -- see ------------------------------------------------------------------------------------------------


def _showing(shell: Shell) -> Any:
    @get(_PAGE, **needs(shell.gate, "decide"))
    async def show(request: Web, done: FromQuery[str] = "") -> Response[Any]:
        outbox = shell.context.policy.outbox
        notice = _DONE.get(done, "")
        if done == "mail" and outbox is not None:
            notice = (
                f"No mail server is set, so the mail did not leave: it is a file in {outbox}. See SMTP_URL."
            )
        return await _page(shell, request, notice=notice)

    return show


async def _page(
    shell: Shell, request: Web, *, notice: str = "", problem: str = "", status: int = 200
) -> Response[Any]:
    gate, context = shell.gate, shell.context
    signed, policy = signed_of(request), shell.context.policy
    tenant = signed.staff.tenant_id
    standings = await gate.run(lambda: provider_desk.list_standings(context, tenant))
    good = await gate.run(lambda: tokens.list_seen(context, tenant))
    return shell.page(
        request,
        "console_settings.html",
        status=status,
        notice=notice,
        problem=problem,
        providers=[_shown(one) for one in standings],
        # The server and who is alarmed are the business of those who keep the installation.
        mail=[
            ("Sender", policy.mail_from),
            ("Mail server", policy.mail_server or f"None: mails are files in {policy.outbox}"),
            ("Alerts go to", policy.alert_email or "Nobody: set ALERT_EMAIL"),
        ][: None if signed.tenant.is_master else 1],
        leaves=policy.mail_server is not None,
        you=signed.staff.email,
        tokens=[(one.id, one.name, one.scope, words.short(one.created_at)) for one in good],
    )


_CONNECTED: Final = (
    "Sells through an account that is connected to the platform: no key is needed here. To use a key of its "
    "own, disconnect the account first."
)


def _shown(one: Standing) -> dict[str, Any]:
    facts = [("Webhook address", one.webhook or "Made when it is set up")]
    facts += [(_LABELS[setting][0], "From the environment") for setting in one.environment]
    for kept in one.kept:
        mode = "live" if kept.live else "test"
        facts.append((_LABELS[kept.setting][0], f"In the vault, {mode}, since {words.short(kept.since)}"))
    label, badge = ("Connected", "") if one.connected else ("Not set up", "still")
    if one.problem or one.restart:
        label, badge = ("Cannot be used", "bad") if one.problem else ("Restart the server", "wait")
    elif one.live is not None:
        label, badge = ("Live", "") if one.live else ("Test mode", "wait")
    said = one.problem or (_CONNECTED if one.connected else "")
    if one.restart and not said:
        said = "The credentials were changed since this server started. Restart it, so that it takes them."
    elif one.live is not None and not one.sells and not said:
        said = "Webhooks only: without a key nothing is sold from here."
    elif one.sells and not one.listens and not said:
        said = "No webhook is believed yet: set it up."
    return {
        "id": one.provider,
        "name": provider_name(one.provider),
        "label": label,
        "badge": badge,
        "said": said,
        "facts": facts,
        "connected": one.connected,
        "is_there": one.live is not None or bool(one.problem),
    }


# -- providers ------------------------------------------------------------------------------------------


def _trying(shell: Shell) -> Any:
    gate, context = shell.gate, shell.context

    @post(f"{_PROVIDER}/test", status_code=200, **needs(gate, "decide"))
    async def try_out(request: Web, provider: FromPath[str]) -> Response[Any]:
        await gate.act_form(request)
        tenant = signed_of(request).staff.tenant_id
        lines = await gate.run(lambda: provider_desk.try_out(context, tenant, provider))
        return shell.page(
            request,
            "console_provider_test.html",
            name=provider_name(provider),
            provider=provider,
            is_well=all(line.state != "wrong" for line in lines),
            lines=[(_check(provider, line.check), *_STATES[line.state], _upper(line.says)) for line in lines],
        )

    return try_out


def _check(provider: str, check: str) -> str:
    """`stripe webhook`: Webhook."""
    return check.removeprefix(provider).strip().capitalize() or "API key"


def _setting_up(shell: Shell) -> list[Any]:
    gate, context = shell.gate, shell.context
    declared = needs(gate, "govern", proven=True, form=True)

    async def show(request: Web, provider: str, told: Form, problem: str = "", status: int = 200) -> Any:
        tenant = signed_of(request).staff.tenant_id
        fields = await gate.run(lambda: provider_desk.fields_of(context, tenant, provider))
        standings = await gate.run(lambda: provider_desk.list_standings(context, tenant))
        (standing,) = (one for one in standings if one.provider == provider)
        return shell.page(
            request,
            "console_provider.html",
            status=status,
            problem=problem,
            name=provider_name(provider),
            provider=provider,
            standing=_shown(standing),
            sells=standing.sells,
            environment=standing.environment,
            # What was typed never comes back, not even after a mistake.
            fields=[(name, *_LABELS[name]) for name in fields],
            told={name: told.get(name, "") for name in ("replace", "reason")},
        )

    @get(_PROVIDER, **declared)
    async def form(request: Web, provider: FromPath[str]) -> Response[Any]:
        answer: Response[Any] = await show(request, provider, {})
        return answer

    @post(_PROVIDER, status_code=200, **declared)
    async def set_up(request: Web, provider: FromPath[str]) -> Response[Any]:
        told = await gate.act_form(request)
        act, tenant = act_of(request, told.get("reason", "").strip()), signed_of(request).staff.tenant_id
        fields = await gate.run(lambda: provider_desk.fields_of(context, tenant, provider))
        keys = tuple(told.get(name, "") for name in fields)
        try:
            tried = await gate.run(
                lambda: provider_desk.set_up(
                    context, tenant, provider, keys, act, replace=told.get("replace") == "yes"
                )
            )
        except (Refused, WrongSetting, ProviderUnavailable) as error:
            answer: Response[Any] = await show(
                request, provider, told, problem=_sentence(error), status=min(error.status, _UNFIT)
            )
            return answer
        # Only the master tenant's credentials may stand in the environment, and are read at the start alone.
        restart = signed_of(request).tenant.is_master
        return shell.page(
            request, "console_provider_done.html", provider=provider, restart=restart, **_told(tried)
        )

    return [form, set_up]


def _sentence(error: KeywrightError) -> str:
    return _upper(error.detail if error.detail.endswith(".") else f"{error.detail}.")


def _upper(text: str) -> str:
    """A sentence; what begins with an id or an address is left as it is."""
    return text[:1].upper() + text[1:] if text.partition(" ")[0].strip(",.:;").isalpha() else text


def _told(tried: Tried) -> dict[str, Any]:
    done = tried.done
    return {
        "name": provider_name(done.provider),
        "done": done,
        "mode": "live" if done.live else "test",
        "did": [_upper(one) for one in done.did],
        "notes": [_upper(one) for one in done.notes],
        "warnings": [_upper(one) for one in (*tried.warnings, *done.left)],
        "mapped": [
            (price.external_id, f"{price.plan} {price.key}", price.differs or "As in the catalog")
            for price in done.prices.mapped
        ]
        + [
            (price.external_id, f"{price.plan} {price.key}", "Not on sale there in this mode")
            for price in done.prices.unknown
        ],
        "lines": done.prices.lines,
    }


# -- mail -----------------------------------------------------------------------------------------------


def _mailing(shell: Shell) -> Any:
    gate, context = shell.gate, shell.context

    @post(f"{_PAGE}/mail/test", status_code=200, **needs(gate, "decide"))
    async def try_mail(request: Web) -> Response[Any]:
        await gate.act_form(request)
        signed = signed_of(request)
        try:
            tenant = signed.staff.tenant_id
            await gate.run(
                lambda: mail_trial.send(context.of(tenant), tenant, signed.staff.email, signed.actor)
            )
        except Conflict as error:
            return await _page(shell, request, problem=error.detail, status=error.status)
        return shell.go(f"{_PAGE}?done=mail")

    return try_mail


# -- tokens ---------------------------------------------------------------------------------------------


def _token_deal(_context: Context, _asked: Asked) -> Deal:
    return Deal(
        title="Make a token",
        meaning="For a program that talks to this server's API. Give each its own, with the least it needs: "
        "then one can be ended without the others.",
        back=_PAGE,
        above=_ABOVE,
        fields=(
            Field("name", "What it is for", most=100, required=True),
            Field("scope", "What it may", kind="choice", choices=_SCOPES, usual="read"),
            REASON,
        ),
    )


def _preview_token(_context: Context, asked: Asked) -> Effect:
    name, scope = asked.told.get("name", ""), asked.told.get("scope", "")
    tokens.check(name, scope)
    text_of("reason", asked.act.reason)
    return Effect(
        [(f"Token “{name.strip()}”", "Not there", dict(_SCOPES)[scope])],
        ["The token is shown once, on the next page, and never again."],
    )


def _make_token(context: Context, asked: Asked) -> Once:
    name, scope = asked.told.get("name", ""), asked.told.get("scope", "")
    why = text_of("reason", asked.act.reason)
    made, text = tokens.issue(context, asked.tenant, name, scope, by=asked.act.by, why=why)
    return Once(
        title=f"The token for {made.name}",
        meaning=f"{dict(_SCOPES)[made.scope]}. It goes into the header Authorization: Bearer.",
        label="The token",
        secret=text,
    )


def _named_token(context: Context, asked: Asked) -> tuple[str, str]:
    found = tokens.list_seen(context, asked.tenant)
    token = next((one for one in found if one.id == asked.named["token_id"]), None)
    if token is None:
        raise NotFound("There is no such token.", code="TOKEN_UNKNOWN")
    return token.name, token.scope


def _end_deal(context: Context, asked: Asked) -> Deal:
    name, _ = _named_token(context, asked)
    return Deal(
        title="Revoke the token",
        meaning=f"Whatever uses the token “{name}” is refused from then on. It cannot be brought back.",
        back=_PAGE,
        above=_ABOVE,
    )


def _preview_end(context: Context, asked: Asked) -> Effect:
    name, scope = _named_token(context, asked)
    text_of("reason", asked.act.reason)
    return Effect([(f"Token “{name}”", dict(_SCOPES).get(scope, scope), "Revoked")])


def _end_token(context: Context, asked: Asked) -> str:
    why = text_of("reason", asked.act.reason)
    tokens.revoke(context, asked.tenant, asked.named["token_id"], by=asked.act.by, why=why)
    return f"{_PAGE}?done=token-revoked"
