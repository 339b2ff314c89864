"""The stand-in for PayPal over HTTP: its API, the page a buyer agrees on, and the levers behind it."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from urllib.parse import urlencode

import msgspec
from litestar import Controller, Request, Response, get, post, route
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from litestar.response import Redirect
from litestar.types import ControllerRouterHandler

from keywright.sandbox import paypal_api
from keywright.sandbox import paypal_orders as orders
from keywright.sandbox import paypal_subscriptions as subscriptions
from keywright.sandbox.control import Answer
from keywright.sandbox.guards import json_only
from keywright.sandbox.pay_page import page
from keywright.sandbox.paypal import WEBHOOK_ID
from keywright.sandbox.paypal_state import Obj, PayPalRefusal, PayPalState, visible
from keywright.sandbox.sandbox import Sandbox
from keywright.sandbox.stripe_api import ApiRequest

Box = NamedDependency[Sandbox]
Web = Request[Any, Any, Any]
Funding = Literal["pays", "declines", "echeck"]


@route(
    [
        "/v1/oauth2/{rest:path}",
        "/v1/billing/{rest:path}",
        "/v1/catalogs/{rest:path}",
        "/v1/customer/{rest:path}",
        "/v1/notifications/{rest:path}",
        "/v1/payments/{rest:path}",
        "/v2/{rest:path}",
    ],
    http_method=["GET", "POST", "DELETE"],
)
async def paypal_call(request: Web, sandbox: Box) -> Response[bytes]:
    """Everything that is PayPal's under /v1 and /v2."""
    answer = sandbox.paypal.api.answer(
        ApiRequest(
            method=request.method,
            path=request.url.path.rstrip("/"),
            query=request.url.query or "",
            body=await request.body(),
            headers={name.lower(): value for name, value in request.headers.items()},
        )
    )
    headers = dict(answer.headers)
    return Response(
        answer.body, status_code=answer.status, media_type=headers.pop("Content-Type"), headers=headers
    )


class ApprovalController(Controller):
    """The page on which the buyer agrees to an order, a subscription, or a change of one."""

    path = "/paypal/approve/{object_id:str}"

    @get("/")
    async def show(self, object_id: FromPath[str], sandbox: Box) -> Response[str]:
        """What it is about, and the form."""
        return _page(sandbox.paypal.state, object_id)

    @post("/", status_code=200)
    async def submit(self, object_id: FromPath[str], request: Web, sandbox: Box) -> Response[Any]:
        """Agree, or go back to the shop."""
        state = sandbox.paypal.state
        form = {name: str(value).strip() for name, value in (await request.form()).items()}
        _find(state, object_id)
        terms = state.terms[object_id]
        if form.get("act") == "cancel":
            return _back(terms.cancel_url, object_id)
        if "@" not in form.get("email", ""):
            return _page(state, object_id, "Your email is incomplete.")
        try:
            approve(state, object_id, form["email"], form.get("funding", "pays"))
        except PayPalRefusal as refusal:
            return _page(state, object_id, refusal.message)
        return _back(terms.return_url, object_id)


def approve(state: PayPalState, object_id: str, email: str, funding: str) -> Obj:
    """What the page does when the buyer agrees. Returns what was agreed to."""
    kind, found = _find(state, object_id)
    if kind == "order":
        orders.approve(state, found, email, funding)
    elif state.terms[object_id].revision is not None:
        subscriptions.agree(state, found)
    else:
        subscriptions.approve(state, found, email, funding)
    return found


def _find(state: PayPalState, object_id: str) -> tuple[str, Obj]:
    order = state.find("order", object_id)
    return ("order", order) if order is not None else ("subscription", state.get("subscription", object_id))


def _page(state: PayPalState, object_id: str, problem: str | None = None) -> Response[str]:
    kind, found = _find(state, object_id)
    if kind == "order":
        amount = found["purchase_units"][0]["amount"]
        total, open_ = f"{amount['value']} {amount['currency_code']}", orders.is_open(state, found)
        what = "Pay"
    else:
        price, currency = paypal_api.price_of(state.get("plan", found["plan_id"]))
        revision = state.terms[object_id].revision
        quantity = (revision or found)["quantity"]
        total, what = f"{price * int(quantity):.2f} {currency} a cycle, for {quantity}", "Subscribe"
        open_ = found["status"] == "APPROVAL_PENDING" or revision is not None
    return page(
        "paypal.html",
        status=402 if problem else 200,
        leads_to=state.terms[object_id].return_url or None,
        id=object_id,
        what=what,
        total=total,
        open=open_,
        problem=problem,
    )


def _back(url: str, object_id: str) -> Response[Any]:
    """To the shop, which must not believe what stands in the address."""
    name = "subscription_id" if object_id.startswith("I-") else "token"
    target = f"{url}{'&' if '?' in url else '?'}{urlencode({name: object_id})}" if url else "/"
    return Redirect(target, status_code=303, headers={"Referrer-Policy": "no-referrer"})


# ----------------------------------------------------------------------------------------------- levers


class _Wish(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A body that takes nothing else."""


class HookWish(_Wish, frozen=True):
    """Where events go, and the webhook id that signs them."""

    url: str
    webhook_id: str = WEBHOOK_ID
    events: list[str] | None = None


class ApproveWish(_Wish, frozen=True):
    """What the approval page would get."""

    id: str
    email: str = "buyer@example.com"
    funding: Funding = "pays"


class FundingWish(_Wish, frozen=True):
    """How the buyer pays from now on."""

    funding: Funding


class SettleWish(_Wish, frozen=True):
    """How a payment that is on its way ends."""

    outcome: Literal["succeeded", "failed"]


class DisputeWish(_Wish, frozen=True):
    """Which payment is contested."""

    charge: str
    stage: Literal["INQUIRY", "CHARGEBACK", "PRE_ARBITRATION", "ARBITRATION"] = "CHARGEBACK"


class OutcomeWish(_Wish, frozen=True):
    """How a dispute ends, in PayPal's words."""

    outcome: Annotated[str, msgspec.Meta(pattern=r"\A[A-Z_]{1,40}\Z")]


class PayPalControl(Controller):
    """The levers. Each answers with the object it moved."""

    path = "/_sandbox/paypal"
    guards = (json_only,)

    @post("/webhook", status_code=200)
    async def set_webhook(self, data: JSONBody[HookWish], sandbox: Box) -> Answer:
        """Deliver PayPal's events to this address."""
        return {"webhook_id": sandbox.paypal.register_webhook(data.url, data.webhook_id, data.events)}

    @post("/approve", status_code=200)
    async def approve(self, data: JSONBody[ApproveWish], sandbox: Box) -> Answer:
        """Do what the approval page does."""
        return visible(approve(sandbox.paypal.state, data.id, data.email, data.funding))

    @post("/funding/{object_id:str}", status_code=200)
    async def fund(self, object_id: FromPath[str], data: JSONBody[FundingWish], sandbox: Box) -> Answer:
        """From now on the buyer's money comes, or does not."""
        state = sandbox.paypal.state
        _find(state, object_id)
        state.terms[object_id].funding = data.funding
        return {"id": object_id, "funding": data.funding}

    @post("/settle/{charge_id:str}", status_code=200)
    async def settle(self, charge_id: FromPath[str], data: JSONBody[SettleWish], sandbox: Box) -> Answer:
        """A payment that was on its way arrives, or comes back."""
        ended = orders.settle(sandbox.paypal.state, charge_id, succeeded=data.outcome == "succeeded")
        return visible(ended)

    @post("/reverse/{charge_id:str}", status_code=200)
    async def reverse(self, charge_id: FromPath[str], sandbox: Box) -> Answer:
        """The bank takes a payment back."""
        return visible(orders.reverse(sandbox.paypal.state, charge_id))

    @post("/disputes", status_code=200)
    async def contest(self, data: JSONBody[DisputeWish], sandbox: Box) -> Answer:
        """A buyer contests a payment."""
        return visible(orders.open_dispute(sandbox.paypal.state, data.charge, data.stage))

    @post("/disputes/{dispute_id:str}/resolve", status_code=200)
    async def resolve(self, dispute_id: FromPath[str], data: JSONBody[OutcomeWish], sandbox: Box) -> Answer:
        """A dispute ends."""
        return visible(orders.resolve_dispute(sandbox.paypal.state, dispute_id, data.outcome))

    @post("/forget-tokens", status_code=200)
    async def forget_tokens(self, sandbox: Box) -> Answer:
        """Every access token ends before its time."""
        sandbox.paypal.api.forget_tokens()
        return {}


def refused(request: Web, refusal: PayPalRefusal) -> Response[Any]:
    """A refusal outside the API: JSON on the control interface, a page for people."""
    if request.url.path.startswith("/_sandbox"):
        body = {"error": refusal.message, "code": refusal.issue or refusal.name}
        return Response(body, status_code=refusal.status)
    return page("refused.html", status=refusal.status, message=refusal.message)


HANDLERS: tuple[ControllerRouterHandler, ...] = (paypal_call, ApprovalController, PayPalControl)
