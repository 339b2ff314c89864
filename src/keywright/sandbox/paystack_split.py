"""Subaccounts at the stand-in for Paystack: payments split between the platform and another seller."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from keywright.sandbox.paystack_state import Obj, PaystackRefusal, PaystackState, Split


def new_subaccount(state: PaystackState, body: Mapping[str, Any]) -> Obj:
    """`POST /subaccount`. The bank account is asked for, and not kept."""
    needed = ("business_name", "account_number", "percentage_charge")
    if any(body.get(name) in (None, "") for name in needed) or not isinstance(body["business_name"], str):
        raise PaystackRefusal(f"A subaccount needs {', '.join(needed)}")
    made = state.code("ACCT")
    return state.add(
        "subaccount",
        made,
        {
            "id": state.number(),
            "domain": "test",
            "subaccount_code": made,
            "business_name": body["business_name"],
            "description": None,
            "percentage_charge": _percentage(body["percentage_charge"]),
            "is_verified": True,
            "settlement_bank": "Sandbox Bank",
            "active": True,
            "currency": "NGN",
            "integration": state.integration,
            "createdAt": state.stamp(),
            "updatedAt": state.stamp(),
        },
    )


def change_subaccount(state: PaystackState, name: str, body: Mapping[str, Any]) -> Obj:
    """`PUT /subaccount/{code}`: its percentage, and whether it is in use."""
    found = state.get("subaccount", name)
    if "percentage_charge" in body:
        found["percentage_charge"] = _percentage(body["percentage_charge"])
    if "active" in body:
        found["active"] = body["active"] is True
    found["updatedAt"] = state.stamp()
    return found


def _percentage(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 100:
        raise PaystackRefusal("percentage_charge must be between 0 and 100")
    return float(value)


def begin(state: PaystackState, transaction: Obj, name: str, charge: int | str | None, bearer: str) -> None:
    """The payment that is opened is to be split. Raises PaystackRefusal."""
    found = state.find("subaccount", name)
    if found is None or not found["active"]:
        raise PaystackRefusal("Subaccount code is invalid", code="invalid_subaccount")
    if bearer not in ("account", "subaccount"):
        raise PaystackRefusal("bearer must be account or subaccount")
    kept = None if charge is None else int(charge) if str(charge).isdecimal() else -1
    if kept is not None and not 0 <= kept <= transaction["amount"]:
        raise PaystackRefusal("transaction_charge must not exceed the amount")
    # An amount is for this payment; a plan's renewals have the percentage.
    state.splits[transaction["reference"]] = Split(name, kept, bearer)


def renew(state: PaystackState, transaction: Obj, subscription: Obj) -> None:
    """A renewal is split with whom the first payment was."""
    first = state.splits.get(subscription["subscription_code"])
    if first is not None:
        state.splits[transaction["reference"]] = msgspec.structs.replace(first, charge=None)


def settle(state: PaystackState, transaction: Obj) -> None:
    """The payment went through: who gets what of it."""
    split = state.splits.get(transaction["reference"])
    if split is None:
        return
    found = state.get("subaccount", split.subaccount)
    amount, fees = transaction["amount"], transaction["fees"]
    kept = split.charge if split.charge is not None else round(amount * found["percentage_charge"] / 100)
    by_seller = fees if split.bearer == "subaccount" else 0
    transaction |= {
        "subaccount": {
            name: found[name] for name in ("id", "subaccount_code", "business_name", "percentage_charge")
        },
        "fees_split": {
            "paystack": fees,
            "integration": max(kept - (fees - by_seller), 0),
            "subaccount": max(amount - kept - by_seller, 0),
            "params": {"bearer": split.bearer, "percentage_charge": str(found["percentage_charge"])},
        },
    }
