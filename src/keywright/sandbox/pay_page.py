"""The pages people see: hosted checkout, 3-D Secure, customer portal, and the index of what there is.

Server-rendered, without a line of JavaScript. What is typed into the card fields is looked at and
dropped: it is not kept, not logged, and not shown again when a card is declined.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from litestar import Controller, Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import Redirect

from keywright.sandbox import stripe_checkout as checkout
from keywright.sandbox import stripe_sessions as sessions
from keywright.sandbox import stripe_subscriptions as subscriptions
from keywright.sandbox.cards import Card, Decline, code_problem, expiry_problem, read_card
from keywright.sandbox.sandbox import Sandbox
from keywright.sandbox.stripe_errors import StripeRefusal
from keywright.sandbox.stripe_shapes import Obj
from keywright.sandbox.stripe_state import StripeState

Box = NamedDependency[Sandbox]
Web = Request[Any, Any, Any]

_HERE = Path(__file__).parent
STYLESHEET = (_HERE / "static" / "sandbox.css").read_bytes()
_ZERO_DECIMAL = frozenset(
    ("bif", "clp", "djf", "gnf", "jpy", "kmf", "krw", "mga", "pyg", "rwf", "vnd", "vuv", "xaf", "xof", "xpf")
)
_THREE_DECIMAL = frozenset(("bhd", "jod", "kwd", "omr", "tnd"))


def money(amount: int, currency: str) -> str:
    """An amount in Stripe's minor units as people read it: `50.00 USD`, `500 JPY`, `1.500 KWD`."""
    digits = 0 if currency in _ZERO_DECIMAL else 3 if currency in _THREE_DECIMAL else 2
    whole, part = divmod(abs(amount), 10**digits)
    fraction = f".{part:0{digits}d}" if digits else ""
    return f"{'-' if amount < 0 else ''}{whole:,}{fraction} {currency.upper()}"


def _every(price: Obj) -> str:
    terms = price["recurring"]
    if terms is None:
        return "once"
    count = terms["interval_count"]
    return f"every {terms['interval']}" if count == 1 else f"every {count} {terms['interval']}s"


_TEMPLATES = Environment(
    loader=FileSystemLoader(_HERE / "templates"), autoescape=True, undefined=StrictUndefined
)
_TEMPLATES.globals.update(money=money, every=_every)


def page(template: str, *, status: int = 200, leads_to: str | None = None, **values: Any) -> Response[str]:
    """Render a template under a strict policy; `leads_to` is where the page's form may redirect."""
    # Browsers apply form-action to the redirect after a form too, so the seller's own page must be named.
    target = f" {_origin(leads_to)}" if leads_to else ""
    policy = (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; base-uri 'none'; "
        f"frame-ancestors 'none'; form-action 'self'{target}"
    )
    headers = {
        "Content-Security-Policy": policy,
        "Cache-Control": "no-store",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
    }
    html = _TEMPLATES.get_template(template).render(**values)
    return Response(html, media_type="text/html", status_code=status, headers=headers)


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


class PayController(Controller):
    """The hosted checkout page of a session."""

    path = "/c/pay/{session_id:str}"

    @get("/")
    async def show(self, session_id: FromPath[str], sandbox: Box) -> Response[str]:
        """The order and the form."""
        state = sandbox.world_with("checkout.session", session_id)
        return _pay_page(state, state.get("checkout.session", session_id))

    @post("/", status_code=200)
    async def submit(self, session_id: FromPath[str], request: Web, sandbox: Box) -> Response[Any]:
        """Pay, decline, or go on to 3-D Secure."""
        state = sandbox.world_with("checkout.session", session_id)
        session = state.get("checkout.session", session_id)
        form = dict(await request.form())
        if session["status"] != "open":
            return _pay_page(state, session)
        buyer = checkout.Buyer(_field(form, "email"), _field(form, "name") or None)
        try:
            _take_quantities(state, session, form)
            method = _payment_method(sandbox, session, form)
        except StripeRefusal as refusal:
            return _pay_page(state, session, refusal.message, buyer)
        if isinstance(method, Decline):
            return _pay_page(state, session, method.message, buyer)
        outcome = checkout.pay(state, session_id, method, buyer)
        if outcome.status == "authenticate":
            return Redirect(f"/c/pay/{session_id}/authenticate", status_code=303)
        return _after(state, session, outcome, buyer)

    @get("/authenticate")
    async def ask(self, session_id: FromPath[str], sandbox: Box) -> Response[str]:
        """The bank's question."""
        state = sandbox.world_with("checkout.session", session_id)
        session = state.get("checkout.session", session_id)
        waiting = state.terms[session_id].waiting
        if session["status"] != "open" or waiting is None:
            return _pay_page(state, session)
        return page("authenticate.html", session=session, card=waiting.card, leads_to=session["success_url"])

    @post("/authenticate", status_code=200)
    async def answer(self, session_id: FromPath[str], request: Web, sandbox: Box) -> Response[Any]:
        """The buyer's answer."""
        state = sandbox.world_with("checkout.session", session_id)
        session = state.get("checkout.session", session_id)
        waiting = state.terms[session_id].waiting
        if session["status"] != "open" or waiting is None:
            return _pay_page(state, session)
        passed = _field(dict(await request.form()), "answer") == "authenticate"
        outcome = checkout.authenticate(state, session_id, passed=passed)
        return _after(state, session, outcome, checkout.Buyer(waiting.email, waiting.name))


def _field(form: dict[str, Any], name: str) -> str:
    value = form.get(name, "")
    return value.strip() if isinstance(value, str) else ""


def _payment_method(sandbox: Sandbox, session: Obj, form: dict[str, Any]) -> Card | Decline:
    """What the form pays with, or why it cannot."""
    if "@" not in _field(form, "email"):
        return Decline("email_invalid", None, "Your email is incomplete.")
    if _field(form, "method") == "bank_debit":
        return checkout.bank_account(sandbox.state)
    nothing_due = session["amount_total"] == 0 and session["payment_method_collection"] != "always"
    if nothing_due and not _field(form, "card_number"):
        return Card(payment_method=sandbox.state.ids.new("pm"))
    card = read_card(_field(form, "card_number"), sandbox.state.ids.new("pm"))
    if isinstance(card, Decline):
        return card
    expiry = expiry_problem(_field(form, "card_expiry"), sandbox.clock.now())
    return expiry or code_problem(_field(form, "card_code")) or card


def _take_quantities(state: StripeState, session: Obj, form: dict[str, Any]) -> None:
    for line in state.terms[session["id"]].lines:
        typed = _field(form, f"quantity_{line['id']}")
        if typed and line["adjustable_quantity"]:
            if not typed.isdecimal() or len(typed) > 6:
                raise StripeRefusal("This quantity is not on offer.", param="quantity")
            sessions.change_quantity(state, session, line["id"], int(typed))


def _after(
    state: StripeState, session: Obj, outcome: checkout.PayOutcome, buyer: checkout.Buyer
) -> Response[Any]:
    if outcome.decline is not None:
        return _pay_page(state, session, outcome.decline.message, buyer)
    target = session["success_url"].replace("{CHECKOUT_SESSION_ID}", session["id"])
    return Redirect(target, status_code=303, headers={"Referrer-Policy": "no-referrer"})


def _pay_page(
    state: StripeState, session: Obj, problem: str | None = None, buyer: checkout.Buyer | None = None
) -> Response[str]:
    if session["status"] != "open":
        return page("closed.html", session=session)
    email = buyer.email if buyer else (session["customer_details"] or {}).get("email")
    return page(
        "pay.html",
        leads_to=session["success_url"],
        status=402 if problem else 200,
        session=session,
        lines=state.terms[session["id"]].lines,
        trial_days=state.terms[session["id"]].subscription_data["trial_days"],
        problem=problem,
        email=email or "",
        name=(buyer.name if buyer else None) or "",
    )


class PortalController(Controller):
    """The customer portal: cancel, resume, change seats."""

    path = "/p/session/{session_id:str}"

    @get("/")
    async def show(self, session_id: FromPath[str], sandbox: Box) -> Response[str]:
        """The customer's subscriptions."""
        return _portal_page(sandbox.world_with("billing_portal.session", session_id), session_id)

    @post("/", status_code=200)
    async def submit(self, session_id: FromPath[str], request: Web, sandbox: Box) -> Response[Any]:
        """Do what was asked and show the result."""
        state = sandbox.world_with("billing_portal.session", session_id)
        form = dict(await request.form())
        portal = state.get("billing_portal.session", session_id)
        subscription = state.get("subscription", _field(form, "subscription"))
        if subscription["customer"] != portal["customer"]:
            raise StripeRefusal("No such subscription", status=404)
        try:
            subscriptions.update(state, subscription["id"], _portal_change(subscription, form))
        except StripeRefusal as refusal:
            return _portal_page(state, session_id, refusal.message)
        return Redirect(f"/p/session/{session_id}", status_code=303)


def _portal_change(subscription: Obj, form: dict[str, Any]) -> Obj:
    """The update the portal makes. In flexible billing it cancels by `cancel_at` alone."""
    flexible = subscription["billing_mode"]["type"] == "flexible"
    act = _field(form, "act")
    if act == "cancel":
        return {"cancel_at": "max_period_end"} if flexible else {"cancel_at_period_end": "true"}
    if act == "resume":
        return {"cancel_at": ""} if flexible else {"cancel_at_period_end": "false"}
    if act == "quantity":
        return {"items": [{"id": _field(form, "item"), "quantity": _field(form, "quantity")}]}
    raise StripeRefusal("The portal cannot do that.")


def _portal_page(state: StripeState, session_id: str, problem: str | None = None) -> Response[str]:
    portal = state.get("billing_portal.session", session_id)
    customer_id = portal["customer"]
    return page(
        "portal.html",
        portal=portal,
        customer=state.get("customer", customer_id),
        subscriptions=[each for each in state.every("subscription") if each["customer"] == customer_id],
        invoices=[each for each in state.every("invoice") if each["customer"] == customer_id][::-1][:12],
        products={product["id"]: product["name"] for product in state.every("product")},
        problem=problem,
    )


@get("/i/{invoice_id:str}")
async def hosted_invoice(invoice_id: FromPath[str], sandbox: Box) -> Response[str]:
    """An invoice to look at (`hosted_invoice_url`)."""
    state = sandbox.world_with("invoice", invoice_id)
    return page("invoice.html", invoice=state.get("invoice", invoice_id))


@get("/")
async def index(sandbox: Box) -> Response[str]:
    """What there is: the newest sessions, customers, subscriptions and deliveries."""
    state = sandbox.state
    kinds = ("checkout.session", "customer", "subscription")
    newest = {
        kind: [one for world in state.worlds() for one in world.every(kind)][::-1][:25] for kind in kinds
    }
    return page(
        "index.html",
        now=sandbox.clock.now(),
        offset=sandbox.clock.offset(),
        sessions=newest["checkout.session"],
        customers=newest["customer"],
        subscriptions=newest["subscription"],
        deliveries=sandbox.dispatcher.deliveries[::-1][:50],
    )


@get("/static/sandbox.css")
async def stylesheet() -> Response[bytes]:
    """The one stylesheet."""
    return Response(STYLESHEET, media_type="text/css", headers={"Cache-Control": "max-age=300"})
