"""Plans and subscriptions of the stand-in for PayPal: approval, renewals, failures, and their end."""

from __future__ import annotations

from copy import deepcopy
from decimal import Decimal

from keywright.sandbox.paypal_state import Obj, PayPalState, Terms, decimal_in, invalid, money, old_money
from keywright.sandbox.periods import shifted

_RETRY_SECONDS = 5 * 86_400
_UNITS = ("DAY", "WEEK", "MONTH", "YEAR")


def create_product(state: PayPalState, body: Obj) -> Obj:
    """`POST /v1/catalogs/products`."""
    made = {"id": state.new_id("PROD-"), "name": str(body.get("name", "")), "create_time": state.stamp()}
    return state.add("product", made)


def create_plan(state: PayPalState, body: Obj) -> Obj:
    """`POST /v1/billing/plans`."""
    state.get("product", str(body.get("product_id")))
    cycles = body.get("billing_cycles")
    if not isinstance(cycles, list) or not any(one.get("tenure_type") == "REGULAR" for one in cycles):
        raise invalid("MISSING_REQUIRED_PARAMETER", "A plan needs a REGULAR billing cycle.")
    for one in cycles:
        if one["frequency"]["interval_unit"] not in _UNITS:
            raise invalid("INVALID_PARAMETER_VALUE")
        if "pricing_scheme" in one:
            decimal_in(one["pricing_scheme"]["fixed_price"])
    made: Obj = {
        "id": state.new_id("P-", 24),
        "product_id": body["product_id"],
        "name": str(body.get("name", "")),
        "status": "ACTIVE",
        "billing_cycles": deepcopy(cycles),
        "payment_preferences": {"payment_failure_threshold": 3, **(body.get("payment_preferences") or {})},
        "quantity_supported": bool(body.get("quantity_supported", False)),
        "create_time": state.stamp(),
    }
    return state.add("plan", made)


def create(state: PayPalState, body: Obj) -> Obj:
    """`POST /v1/billing/subscriptions`."""
    plan = state.get("plan", str(body.get("plan_id")))
    quantity = str(body.get("quantity", "1"))
    if not quantity.isdecimal() or not 1 <= len(quantity) <= 5 or int(quantity) < 1:
        raise invalid("INVALID_PARAMETER_VALUE")
    if int(quantity) > 1 and not plan["quantity_supported"]:
        raise invalid("SUBSCRIPTION_CANNOT_HAVE_QUANTITY")
    id_ = state.new_id("I-", 12)
    made: Obj = {
        "id": id_,
        "status": "APPROVAL_PENDING",
        "status_update_time": state.stamp(),
        "plan_id": plan["id"],
        "quantity": quantity,
        "start_time": state.stamp(),
        "create_time": state.stamp(),
        "subscriber": deepcopy(body.get("subscriber") or {}),
        "links": [
            state.link(f"/paypal/approve/{id_}", "approve"),
            state.link(f"/v1/billing/subscriptions/{id_}", "self"),
        ],
    }
    if body.get("custom_id"):
        made["custom_id"] = str(body["custom_id"])[:127]
    context = body.get("application_context") or {}
    state.terms[id_] = Terms(str(context.get("return_url", "")), str(context.get("cancel_url", "")))
    state.add("subscription", made)
    _tell(state, "CREATED", made)
    return made


def approve(state: PayPalState, made: Obj, email: str, funding: str) -> None:
    """The buyer agrees: it runs, and the first payment is taken, unless the first cycle is free."""
    if made["status"] != "APPROVAL_PENDING":
        raise invalid("SUBSCRIPTION_STATUS_INVALID")
    terms = state.terms[made["id"]]
    terms.funding, terms.anchor = funding, state.now()
    made["subscriber"] |= {"payer_id": state.new_id(length=13), "email_address": email}
    made["start_time"] = state.stamp()
    made["billing_info"] = {
        "outstanding_balance": money(Decimal(0), _currency(state, made)),
        "cycle_executions": [
            {"tenure_type": one["tenure_type"], "sequence": place + 1, "cycles_completed": 0}
            for place, one in enumerate(_plan(state, made)["billing_cycles"])
        ],
        "failed_payments_count": 0,
    }
    _set_status(state, made, "ACTIVE")
    bill(state, made["id"])
    # The money is often told of before the subscription is.
    _tell(state, "ACTIVATED", made)


def bill(state: PayPalState, subscription_id: str) -> None:
    """A billing time has come: the next cycle begins, paid, failed or free."""
    made = state.get("subscription", subscription_id)
    terms = state.terms[subscription_id]
    if made["status"] != "ACTIVE" or (terms.cycles and made["billing_info"].get("_due") != state.now()):
        return
    place, cycle = _cycle(state, made, terms.cycles)
    made["billing_info"]["cycle_executions"][place]["cycles_completed"] += 1
    terms.cycles += 1
    _schedule_next(state, made, terms)
    price = decimal_in(cycle["pricing_scheme"]["fixed_price"]) if "pricing_scheme" in cycle else Decimal(0)
    due = price * int(made["quantity"])
    if due > 0:
        _collect(state, made, due)


def _cycle(state: PayPalState, made: Obj, number: int) -> tuple[int, Obj]:
    """The cycle that comes after so many; trials first."""
    cycles = _plan(state, made)["billing_cycles"]
    for place, one in enumerate(cycles):
        total = int(one.get("total_cycles", 0))
        if one["tenure_type"] == "REGULAR" or number < total:
            return place, one
        number -= total
    return len(cycles) - 1, cycles[-1]


def _schedule_next(state: PayPalState, made: Obj, terms: Terms) -> None:
    at = _end_of(state, made, terms)
    while at <= state.now():  # cycles went by while it was suspended
        terms.cycles += 1
        at = _end_of(state, made, terms)
    made["billing_info"] |= {"next_billing_time": state.stamp(at), "_due": at}
    state.schedule(at, "bill", made["id"])


def _end_of(state: PayPalState, made: Obj, terms: Terms) -> int:
    """When the cycles that have begun are over, in unix seconds."""
    at, done = terms.anchor, terms.cycles
    for one in _plan(state, made)["billing_cycles"]:
        total = int(one.get("total_cycles", 0)) if one["tenure_type"] == "TRIAL" else done
        frequency = one["frequency"]
        count = min(done, total) * int(frequency.get("interval_count", 1))
        at = shifted(at, frequency["interval_unit"].lower(), count)
        done -= min(done, total)
    return at


def _collect(state: PayPalState, made: Obj, due: Decimal) -> None:
    funding, info, currency = state.terms[made["id"]].funding, made["billing_info"], _currency(state, made)
    if funding == "declines":
        info["failed_payments_count"] += 1
        owed = decimal_in(info["outstanding_balance"]) + due
        info["outstanding_balance"] = money(owed, currency)
        _fail(state, made, due)
        return
    _sell(state, made, due, pending=funding == "echeck")


def _fail(state: PayPalState, made: Obj, due: Decimal) -> None:
    info = made["billing_info"]
    retry_at = state.now() + _RETRY_SECONDS
    info["last_failed_payment"] = {
        "amount": money(due, _currency(state, made)),
        "time": state.stamp(),
        "reason_code": "PAYMENT_DENIED",
        "next_payment_retry_time": state.stamp(retry_at),
    }
    _tell(state, "PAYMENT.FAILED", made)
    threshold = int(_plan(state, made)["payment_preferences"]["payment_failure_threshold"])
    if threshold and info["failed_payments_count"] >= threshold:
        _set_status(state, made, "SUSPENDED")
        _tell(state, "SUSPENDED", made)
    else:
        state.schedule(retry_at, "retry", made["id"])


def retry(state: PayPalState, subscription_id: str) -> None:
    """What is owed is asked for again."""
    made = state.get("subscription", subscription_id)
    owed = decimal_in(made["billing_info"]["outstanding_balance"])
    if made["status"] != "ACTIVE" or owed <= 0:
        return
    if state.terms[subscription_id].funding == "declines":
        made["billing_info"]["failed_payments_count"] += 1
        _fail(state, made, owed)
        return
    made["billing_info"]["outstanding_balance"] = money(Decimal(0), _currency(state, made))
    made["billing_info"]["failed_payments_count"] = 0
    _sell(state, made, owed, pending=False)


def _sell(state: PayPalState, made: Obj, value: Decimal, *, pending: bool) -> None:
    currency = _currency(state, made)
    sale: Obj = {
        "id": state.new_id(),
        "state": "pending" if pending else "completed",
        "amount": old_money(value, currency),
        "payment_mode": "ECHECK" if pending else "INSTANT_TRANSFER",
        "billing_agreement_id": made["id"],
        "create_time": state.stamp(),
        "update_time": state.stamp(),
    }
    if made.get("custom_id"):
        sale["custom"] = made["custom_id"]
    state.add("sale", sale)
    if not pending:
        made["billing_info"]["last_payment"] = {"amount": money(value, currency), "time": state.stamp()}
    state.emit(f"PAYMENT.SALE.{'PENDING' if pending else 'COMPLETED'}", "sale", sale, version=None)


def transactions(state: PayPalState, subscription_id: str) -> list[Obj]:
    """`GET …/transactions`: the payments, newest first."""
    words = {"denied": "DECLINED"}
    found = [one for one in state.every("sale") if one["billing_agreement_id"] == subscription_id]
    return [
        {
            "id": one["id"],
            "status": words.get(one["state"], one["state"].upper()),
            "time": one["create_time"],
            "amount_with_breakdown": {
                "gross_amount": {
                    "currency_code": one["amount"]["currency"],
                    "value": one["amount"]["total"],
                }
            },
        }
        for one in reversed(found)
    ]


def cancel(state: PayPalState, made: Obj) -> None:
    """Ended at once and for good."""
    if made["status"] not in ("ACTIVE", "SUSPENDED"):
        raise invalid("SUBSCRIPTION_STATUS_INVALID")
    for name in ("next_billing_time", "_due"):
        made["billing_info"].pop(name, None)
    _set_status(state, made, "CANCELLED")
    _tell(state, "CANCELLED", made)


def suspend(state: PayPalState, made: Obj) -> None:
    """Paused by the seller."""
    if made["status"] != "ACTIVE":
        raise invalid("SUBSCRIPTION_STATUS_INVALID")
    _set_status(state, made, "SUSPENDED")
    _tell(state, "SUSPENDED", made)


def activate(state: PayPalState, made: Obj) -> None:
    """Goes on after a suspension. What was owed is forgiven, and a billing time that passed is made up."""
    if made["status"] != "SUSPENDED":
        raise invalid("SUBSCRIPTION_STATUS_INVALID")
    info = made["billing_info"]
    info["failed_payments_count"] = 0
    info["outstanding_balance"] = money(Decimal(0), _currency(state, made))
    _set_status(state, made, "ACTIVE")
    _tell(state, "RE-ACTIVATED", made)
    if info["_due"] <= state.now():
        info["_due"] = state.now()
        bill(state, made["id"])


def revise(state: PayPalState, made: Obj, body: Obj) -> Obj:
    """`POST …/revise`: from the next cycle on, when the buyer has agreed."""
    if made["status"] not in ("ACTIVE", "SUSPENDED"):
        raise invalid("SUBSCRIPTION_STATUS_INVALID")
    quantity = str(body.get("quantity", made["quantity"]))
    plan = state.get("plan", str(body.get("plan_id", made["plan_id"])))
    if not quantity.isdecimal() or not 1 <= len(quantity) <= 5 or not plan["quantity_supported"]:
        raise invalid("INVALID_PARAMETER_VALUE")
    state.terms[made["id"]].revision = {"quantity": quantity, "plan_id": plan["id"]}
    return {
        "plan_id": plan["id"],
        "quantity": quantity,
        "links": [state.link(f"/paypal/approve/{made['id']}", "approve")],
    }


def agree(state: PayPalState, made: Obj) -> None:
    """The buyer agrees to a revision: the new number shows at once and is billed from the next cycle."""
    revision = state.terms[made["id"]].revision
    if revision is None:
        raise invalid("SUBSCRIPTION_STATUS_INVALID")
    made |= {"quantity": revision["quantity"], "plan_id": revision["plan_id"]}
    state.terms[made["id"]].revision = None
    _tell(state, "UPDATED", made)


def shown(state: PayPalState, made: Obj, fields: str) -> Obj:
    """A subscription as it is asked for; the plan only on demand."""
    told = deepcopy(made)
    if "plan" in fields.split(","):
        told["plan"] = deepcopy(_plan(state, made))
    return told


def _plan(state: PayPalState, made: Obj) -> Obj:
    return state.get("plan", made["plan_id"])


def _currency(state: PayPalState, made: Obj) -> str:
    for cycle in _plan(state, made)["billing_cycles"]:
        if "pricing_scheme" in cycle:
            return str(cycle["pricing_scheme"]["fixed_price"]["currency_code"])
    return "USD"


def _set_status(state: PayPalState, made: Obj, status: str) -> None:
    made |= {"status": status, "status_update_time": state.stamp(), "update_time": state.stamp()}


def _tell(state: PayPalState, word: str, made: Obj) -> None:
    state.emit(f"BILLING.SUBSCRIPTION.{word}", "subscription", made)
