"""Paystack over HTTP: the API, the pay page, the page for a subscription, and the levers."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from urllib.parse import urlencode

import msgspec
from litestar import Controller, Request, Response, get, post, route
from litestar.params import FromPath, JSONBody
from litestar.response import Redirect

from keywright.sandbox import paystack_flow as flow
from keywright.sandbox.guards import json_only
from keywright.sandbox.pay_page import Box, page
from keywright.sandbox.paystack_api import answer
from keywright.sandbox.paystack_state import Obj, PaystackRefusal, PaystackState

Web = Request[Any, Any, Any]
Answer = dict[str, Any]

PAYS = "4084084084084081"
DECLINES = "4084080000005408"
"""Paystack's published test cards. A number is looked at once and dropped."""

_NOT_A_TEST_CARD = "This is a sandbox: it takes Paystack's test cards and no other."


@route("/paystack/{rest:path}", http_method=["GET", "POST", "PUT"])
async def paystack_call(request: Web, sandbox: Box) -> Response[Answer]:
    """Everything else under /paystack is Paystack's API."""
    stand_in = sandbox.paystack
    status, body = answer(
        stand_in.state,
        stand_in.secret_key,
        request.method,
        request.url.path.removeprefix("/paystack").rstrip("/"),
        dict(request.query_params.items()),
        await request.body(),
        request.headers.get("authorization", ""),
    )
    return Response(body, status_code=status, media_type="application/json")


# -- pages --------------------------------------------------------------------------------------------


class PaystackPayController(Controller):
    """The hosted checkout of a transaction."""

    path = "/paystack/pay/{access_code:str}"

    @get("/")
    async def show(self, access_code: FromPath[str], sandbox: Box) -> Response[str]:
        """The order and the form."""
        return _pay_page(sandbox.paystack.state, access_code)

    @post("/", status_code=200)
    async def submit(self, access_code: FromPath[str], request: Web, sandbox: Box) -> Response[Any]:
        """Pay, or be declined and stay."""
        state = sandbox.paystack.state
        form = dict(await request.form())
        digits = "".join(str(form.get("card_number", "")).split())
        transaction = flow.by_access_code(state, access_code)
        if transaction["status"] in ("success", "reversed"):
            return _pay_page(state, access_code)
        if digits != PAYS:
            known = digits == DECLINES
            if known:
                flow.pay(state, transaction, declined=True)
            problem = (
                "Declined" if known else "This is a sandbox: it takes Paystack's test cards and no other."
            )
            return _pay_page(state, access_code, problem)
        flow.pay(state, transaction)
        return Redirect(
            _back(state, transaction), status_code=303, headers={"Referrer-Policy": "no-referrer"}
        )


def _pay_page(state: PaystackState, access_code: str, problem: str | None = None) -> Response[str]:
    transaction = flow.by_access_code(state, access_code)
    terms = state.terms[transaction["reference"]]
    plan = state.find("plan", terms.plan)
    return page(
        "paystack_pay.html",
        status=402 if problem else 200,
        leads_to=terms.callback_url,
        transaction=transaction,
        paid=transaction["status"] in ("success", "reversed"),
        total=amount(transaction),
        plan=plan,
        terms=terms,
        cards={"pays": PAYS, "declines": DECLINES},
        problem=problem,
    )


def amount(of: Obj) -> str:
    """An amount as people read it: Paystack counts every currency in hundredths."""
    return f"{of['amount'] // 100:,}.{of['amount'] % 100:02d} {of['currency']}"


def _back(state: PaystackState, transaction: Obj) -> str:
    """Where the buyer comes back to, with the reference twice, as Paystack has it."""
    url = state.terms[transaction["reference"]].callback_url or f"{state.base_url}/done"
    named = urlencode({"trxref": transaction["reference"], "reference": transaction["reference"]})
    return f"{url}{'&' if '?' in url else '?'}{named}"


@get("/paystack/done")
async def paystack_done() -> Response[str]:
    """Where a buyer lands whose seller named no page."""
    return page("paystack_done.html")


class PaystackManageController(Controller):
    """The buyer's page for one subscription: it can be ended there."""

    path = "/paystack/manage/{code:str}/{token:str}"

    @get("/")
    async def show(self, code: FromPath[str], token: FromPath[str], sandbox: Box) -> Response[str]:
        """The subscription."""
        return _manage_page(sandbox.paystack.state, code, token)

    @post("/", status_code=200)
    async def submit(
        self, code: FromPath[str], token: FromPath[str], request: Web, sandbox: Box
    ) -> Response[str]:
        """End it, or keep it."""
        state = sandbox.paystack.state
        act = str(dict(await request.form()).get("act", ""))
        if act == "cancel":
            flow.disable(state, code, token)
        elif act == "resume":
            flow.enable(state, code, token)
        return _manage_page(state, code, token)


def _manage_page(state: PaystackState, code: str, token: str) -> Response[str]:
    subscription = state.get("subscription", code)
    if state.email_tokens[code] != token:
        raise PaystackRefusal("Subscription not found", status=404)
    price = amount({"amount": subscription["amount"], "currency": subscription["plan"]["currency"]})
    return page("paystack_manage.html", subscription=subscription, price=price)


# -- levers -------------------------------------------------------------------------------------------


class PaystackWebhookWish(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where events go; without a secret the account's secret key signs them. `events` None means all."""

    url: str
    secret: str | None = None
    events: list[str] | None = None


class PaystackPayWish(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which transaction is paid, by reference, and with which card."""

    reference: str
    card: str = PAYS


class PaystackCardWish(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the customer's card does from now on."""

    behavior: Literal["pays", "declines"]


class PaystackRefundWish(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a refund that waits ends."""

    outcome: Literal["processed", "failed", "needs-attention", "processing"]


class PaystackResolveWish(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a dispute ends."""

    resolution: Literal["merchant-accepted", "auto-accepted", "declined"]


class PaystackHabitWish(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Habits to change; what is left out stays.

    `subscription_delay`: seconds between a plan's first payment and its subscription. `refunds`: what becomes
    of a refund by itself; `none` leaves it pending.
    """

    subscription_delay: Annotated[int, msgspec.Meta(ge=0, le=86_400)] | None = None
    refunds: Literal["processed", "failed", "none"] | None = None


class PaystackControlController(Controller):
    """The levers of the Paystack stand-in."""

    path = "/_sandbox/paystack"
    guards = (json_only,)

    @get("/")
    async def overview(self, sandbox: Box) -> Answer:
        """Counts of everything, and the keys."""
        state = sandbox.paystack.state
        kinds = ("transaction", "plan", "subscription", "customer", "refund", "dispute", "event")
        counts = {kind: len(state.every(kind)) for kind in kinds}
        return {"counts": counts, "secret_key": sandbox.paystack.secret_key}

    @post("/webhook", status_code=200)
    async def set_webhook(self, data: JSONBody[PaystackWebhookWish], sandbox: Box) -> Answer:
        """Deliver events to this address."""
        return {"endpoint": sandbox.paystack.register_webhook(data.url, data.secret, data.events)}

    @post("/pay", status_code=200)
    async def pay(self, data: JSONBody[PaystackPayWish], sandbox: Box) -> Answer:
        """Do what the pay page does."""
        state = sandbox.paystack.state
        transaction = state.get("transaction", data.reference)
        digits = "".join(data.card.split())
        if digits not in (PAYS, DECLINES):
            raise PaystackRefusal(_NOT_A_TEST_CARD)
        flow.pay(state, transaction, declined=digits == DECLINES)
        return {"status": transaction["status"], "customer": transaction["customer"]["customer_code"]}

    @post("/habits", status_code=200)
    async def habits(self, data: JSONBody[PaystackHabitWish], sandbox: Box) -> Answer:
        """Change how the stand-in behaves by itself."""
        state = sandbox.paystack.state
        if data.subscription_delay is not None:
            state.subscription_delay = data.subscription_delay
        if data.refunds is not None:
            state.refund_outcome = data.refunds
        return {"subscription_delay": state.subscription_delay, "refunds": state.refund_outcome}

    @post("/customers/{code:str}/card", status_code=200)
    async def set_card(self, code: FromPath[str], data: JSONBody[PaystackCardWish], sandbox: Box) -> Answer:
        """From now on the customer's card pays, or declines."""
        state = sandbox.paystack.state
        state.get("customer", code)
        (state.declining.add if data.behavior == "declines" else state.declining.discard)(code)
        return {"customer": code, "behavior": data.behavior}

    @post("/refunds/{refund_id:str}/settle", status_code=200)
    async def settle(
        self, refund_id: FromPath[str], data: JSONBody[PaystackRefundWish], sandbox: Box
    ) -> Answer:
        """A refund arrives, fails, or waits for a person."""
        made = flow.settle_refund(sandbox.paystack.state, refund_id, data.outcome)
        return {"refund": refund_id, "status": made["status"]}

    @post("/transactions/{reference:str}/dispute", status_code=200)
    async def dispute(self, reference: FromPath[str], sandbox: Box) -> Answer:
        """The buyer's bank wants the money back."""
        state = sandbox.paystack.state
        return {"dispute": flow.dispute(state, state.get("transaction", reference))["id"]}

    @post("/disputes/{dispute_id:str}/resolve", status_code=200)
    async def resolve(
        self, dispute_id: FromPath[str], data: JSONBody[PaystackResolveWish], sandbox: Box
    ) -> Answer:
        """A dispute ends."""
        made = flow.resolve(sandbox.paystack.state, dispute_id, data.resolution)
        return {"dispute": dispute_id, "resolution": made["resolution"]}


def refused(request: Web, refusal: PaystackRefusal) -> Response[Any]:
    """A refusal outside the API: JSON for levers, a page for people."""
    if request.url.path.startswith("/_sandbox"):
        return Response({"error": refusal.message, "code": refusal.code}, status_code=refusal.status)
    return page("refused.html", status=refusal.status, message=refusal.message)


HANDLERS = (
    paystack_call,
    PaystackPayController,
    PaystackManageController,
    PaystackControlController,
    paystack_done,
)
