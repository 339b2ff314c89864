"""The catalog: what is on sale, as a file, edited as text or a plan at a time, with the difference first."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final

from litestar import Response, get, post
from litestar.params import FromPath, FromQuery

from keywright.domain.errors import Conflict, Invalid
from keywright.flows import catalog_desk
from keywright.flows.catalog_desk import FIELDS, PRICE_FIELDS, Difference, PlanForm, Problem, TextRefused
from keywright.flows.catalog_file import CatalogPlan, CatalogPrice
from keywright.flows.toml_table import show_duration
from keywright.web.console.gate import Form, Web, act_of, needs, signed_of
from keywright.web.console.shell import Shell
from keywright.web.storefront.words import money, provider_name

_PAGE: Final = "/console/catalog"
_EDIT: Final = f"{_PAGE}/edit"
_PLAN: Final = f"{_PAGE}/plans/{{product:str}}/{{plan:str}}"
_PRICES_SHOWN: Final = 8
_NEW_PRICES: Final = 2
_MOST_PRICES: Final = 200
_AMOUNT: Final = re.compile(r"[0-9]{1,16}")
_CURRENCY: Final = re.compile(r"[A-Z]{3}")
_MOST_CHANGES: Final = 300
# Of a text that travels percent-encoded.
_LARGEST: Final = catalog_desk.MOST_TEXT * 3 + 64 * 1024
_MOST_PROBLEMS: Final = 100
_KINDS: Final = {"added": ("", "New"), "changed": ("wait", "Changed"), "removed": ("bad", "Off sale")}
_TERMS: Final = {"subscription": "Renews", "perpetual": "Perpetual"}
_DONE: Final = {"applied": "The catalog is changed."}

_CHOICES: Final = {
    "quantity": (("seats", "Seats: one license with that many"), ("keys", "Keys: that many licenses")),
    "over_limit": (("refuse", "Refuse it"), ("replace_oldest", "Let it take the place of the oldest")),
    "on_cancel": (("paid_through", "It runs until the paid time ends"), ("now", "It ends at once")),
    "on_refund": (("revoke", "It is revoked"), ("keep", "It stays")),
    "on_dispute": (("suspend", "It is suspended"), ("keep", "It stays")),
    "on_repurchase": (
        ("new", "Another license"),
        ("extend", "More time on the license that is there"),
        ("replace", "Another license, and the older one ends"),
    ),
}
_GROUPS: Final = (
    (
        "Plan",
        (
            ("name", "Name", ""),
            ("term", "Term", "subscription, perpetual, or a duration from the payment as 1y"),
            ("trial", "Trial", "Whole days, as 14d. Empty: none"),
            ("grace", "Grace", "How long it works on when a renewal did not come. Empty: 14d"),
        ),
    ),
    (
        "Seats and machines",
        (
            ("quantity", "What several bought make", ""),
            ("seats_per_unit", "Seats in each one bought", "Empty: 1"),
            ("max_activations", "Machines at a time", "0: any number. Empty: as many as seats"),
            ("over_limit", "A machine too many", ""),
            ("moves", "Moves of machines", "As 5/30d: five in thirty days. Empty: any number"),
            ("offline", "Longest time without contact", "Empty: 7d"),
            ("offline_file", "Longest life of a license file", "Empty: 30d"),
        ),
    ),
    (
        "What it grants",
        (
            ("entitlements", "Entitlements", "Named features, one a line"),
            ("limits", "Limits", "One a line, as projects = 100"),
        ),
    ),
    (
        "What happens when",
        (
            ("on_cancel", "A subscription is canceled", ""),
            ("on_refund", "All is refunded", ""),
            ("on_dispute", "A payment is disputed", ""),
            ("on_repurchase", "Somebody buys again", ""),
        ),
    ),
)


def routes(shell: Shell) -> list[Any]:
    """`/console/catalog` and beneath it."""
    return [_showing(shell), _export(shell), *_editing(shell), *_planning(shell)]


# -- see ------------------------------------------------------------------------------------------------


def _showing(shell: Shell) -> Any:
    gate, context = shell.gate, shell.context

    @get(_PAGE, **needs(gate, "look"))
    async def show(request: Web, done: FromQuery[str] = "", released: FromQuery[int] = 0) -> Response[Any]:
        tenant = signed_of(request).staff.tenant_id
        found = await gate.run(lambda: catalog_desk.load(context, tenant))
        notice = _DONE.get(done, "")
        if notice and released > 0:
            notice += f" {released:,} events that waited for its prices were applied."
        return shell.page(
            request,
            "console_catalog.html",
            notice=notice,
            products=[
                (one.slug, one.name, one.key_prefix, [_shown(plan) for plan in one.plans])
                for one in found.products
            ],
        )

    return show


def _shown(plan: CatalogPlan) -> dict[str, Any]:
    terms, prices = plan.terms, plan.prices
    term = show_duration(terms.term) if isinstance(terms.term, int) else _TERMS[terms.term]
    return {
        "slug": plan.slug,
        "name": plan.name,
        "term": term,
        "sold": "Keys" if terms.quantity == "keys" else "Seats",
        "grants": ", ".join(
            [*terms.entitlements, *(f"{name} {most:,}" for name, most in terms.limits.items())]
        ),
        "prices": [_price(one) for one in prices[:_PRICES_SHOWN]],
        "more": max(0, len(prices) - _PRICES_SHOWN),
    }


def _price(one: CatalogPrice) -> str:
    every = f" a {one.interval}" if one.interval else ""
    return f"{money(one.amount, one.currency)}{every}, {provider_name(one.provider)}"


def _export(shell: Shell) -> Any:
    gate, context = shell.gate, shell.context

    @get(f"{_PAGE}.toml", **needs(gate, "look"))
    async def export(request: Web) -> Response[Any]:
        tenant = signed_of(request).staff.tenant_id
        text = await gate.run(lambda: catalog_desk.load_text(context, tenant))
        return shell.file("catalog.toml", "application/toml", _whole(text.encode()))

    return export


async def _whole(content: bytes) -> AsyncIterator[bytes]:
    yield content


# -- edit as text ---------------------------------------------------------------------------------------


def _editing(shell: Shell) -> list[Any]:
    gate, context = shell.gate, shell.context
    declared = {**needs(gate, "decide", form=True), "request_max_body_size": _LARGEST}

    def editor(
        request: Web, text: str, reason: str = "", problems: Sequence[Problem] = (), status: int = 200
    ) -> Response[Any]:
        return shell.page(
            request,
            "console_catalog_edit.html",
            status=status,
            text=text,
            reason=reason,
            problems=[(one.line, _upper(one.message)) for one in problems[:_MOST_PROBLEMS]],
            more=max(0, len(problems) - _MOST_PROBLEMS),
            lines=text.count("\n") + 1,
        )

    @get(_EDIT, **declared)
    async def form(request: Web) -> Response[Any]:
        tenant = signed_of(request).staff.tenant_id
        return editor(request, await gate.run(lambda: catalog_desk.load_text(context, tenant)))

    @post(_EDIT, status_code=200, **declared)
    async def edit(request: Web) -> Response[Any]:
        told = await gate.act_form(request)
        text, reason = told.get("text", "").replace("\r\n", "\n"), told.get("reason", "").strip()
        tenant, act = signed_of(request).staff.tenant_id, act_of(request, reason)
        problem = ""
        try:
            if told.get("step") == "do":
                try:
                    released = await gate.run(
                        lambda: catalog_desk.apply(context, tenant, text, told.get("mark", ""), act)
                    )
                except Conflict as error:
                    problem = error.detail
                else:
                    return shell.go(f"{_PAGE}?done=applied&released={released}")
            found = await gate.run(lambda: catalog_desk.compare(context, tenant, text))
        except TextRefused as error:
            return editor(request, text, reason, error.problems, error.status)
        except Invalid as error:
            return editor(request, text, "", [Problem(None, error.detail)], error.status)
        return _difference(shell, request, found, text, reason, problem=problem)

    return [form, edit]


def _difference(
    shell: Shell, request: Web, found: Difference, text: str, reason: str, *, problem: str = ""
) -> Response[Any]:
    """What a text would change, with the button that does it."""
    changes = [
        (*_KINDS[one.kind], one.path, one.before or "", one.after or "")
        for one in found.changes[:_MOST_CHANGES]
    ]
    return shell.page(
        request,
        "console_catalog_preview.html",
        status=409 if problem else 200,
        problem=problem,
        changes=changes,
        more=max(0, len(found.changes) - _MOST_CHANGES),
        retires=any(one.kind == "removed" for one in found.changes),
        text=text,
        mark=found.mark,
        reason=reason,
    )


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]


# -- edit a plan ----------------------------------------------------------------------------------------


def _planning(shell: Shell) -> list[Any]:
    gate, context = shell.gate, shell.context
    declared = needs(gate, "decide", form=True)

    def show(
        request: Web, product: str, plan: str, form: PlanForm, problems: Sequence[Problem] = ()
    ) -> Response[Any]:
        return shell.page(
            request,
            "console_catalog_plan.html",
            status=422 if problems else 200,
            product=product,
            plan=plan,
            # The lines are those of a file that nobody has seen.
            problems=[_upper(one.message) for one in problems[:_MOST_PROBLEMS]],
            more=max(0, len(problems) - _MOST_PROBLEMS),
            groups=[
                (
                    title,
                    [
                        (name, label, hint, FIELDS[name], _CHOICES.get(name, ()), form.fields.get(name, ""))
                        for name, label, hint in fields
                    ],
                )
                for title, fields in _GROUPS
            ],
            prices=[*form.prices, *({} for _ in range(_NEW_PRICES))],
            spelled=[*map(_spelled, form.prices), *("" for _ in range(_NEW_PRICES))],
        )

    @get(_PLAN, **declared)
    async def begin(request: Web, product: FromPath[str], plan: FromPath[str]) -> Response[Any]:
        tenant = signed_of(request).staff.tenant_id
        found = await gate.run(lambda: catalog_desk.get_plan(context, tenant, product, plan))
        return show(request, product, plan, catalog_desk.form_of(found))

    @post(_PLAN, status_code=200, **declared)
    async def change(request: Web, product: FromPath[str], plan: FromPath[str]) -> Response[Any]:
        told = await gate.act_form(request)
        tenant, typed = signed_of(request).staff.tenant_id, _typed(told)
        text = await gate.run(lambda: catalog_desk.text_with(context, tenant, product, plan, typed))
        try:
            found = await gate.run(lambda: catalog_desk.compare(context, tenant, text))
        except TextRefused as error:
            return show(request, product, plan, typed, error.problems)
        return _difference(shell, request, found, text, told.get("reason", "").strip())

    return [begin, change]


def _spelled(price: Mapping[str, str]) -> str:
    """The amount as buyers read it, so that a zero too many is seen; empty where it is none."""
    amount, currency = price.get("amount", "").strip(), price.get("currency", "").strip().upper()
    if not _AMOUNT.fullmatch(amount) or not _CURRENCY.fullmatch(currency):
        return ""
    return money(int(amount), currency)


def _typed(told: Form) -> PlanForm:
    prices = []
    for number in range(_MOST_PRICES):
        row = {name: told.get(f"{name}-{number}", "").strip() for name in PRICE_FIELDS}
        if f"key-{number}" not in told:
            break
        if any(row.values()) and told.get(f"drop-{number}") != "yes":
            prices.append(row)
    return PlanForm({name: told.get(name, "") for name in FIELDS}, prices)
