"""Pages of lists, and `expand[]`."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from keywright.sandbox.stripe_errors import StripeRefusal, missing
from keywright.sandbox.stripe_forms import Params, integer, text
from keywright.sandbox.stripe_invoices import payments_of
from keywright.sandbox.stripe_shapes import Obj, list_of
from keywright.sandbox.stripe_state import StripeState

MAX_EXPAND_DEPTH = 4
_KINDS = {
    "cus": "customer",
    "sub": "subscription",
    "in": "invoice",
    "pi": "payment_intent",
    "ch": "charge",
    "prod": "product",
    "price": "price",
    "re": "refund",
    "dp": "dispute",
}


def page(found: list[Obj], params: Params, url: str, kind: str) -> Obj:
    """One page of objects given oldest first, newest first on the page, with `has_more`."""
    limit = integer(params, "limit", 10, least=1) or 10
    if limit > 100:
        raise StripeRefusal("Invalid integer: limit must be at most 100.", param="limit")
    after, before = text(params, "starting_after"), text(params, "ending_before")
    if after and before:
        raise StripeRefusal("You may only specify one of these parameters: starting_after, ending_before.")
    newest_first = list(reversed(found))
    ids = [obj["id"] for obj in newest_first]
    if before:
        stop = _place(ids, before, kind, "ending_before")
        start = max(stop - limit, 0)
        return list_of(newest_first[start:stop], url, has_more=start > 0)
    start = _place(ids, after, kind, "starting_after") + 1 if after else 0
    return list_of(newest_first[start : start + limit], url, has_more=len(ids) > start + limit)


def _place(ids: list[str], object_id: str, kind: str, param: str) -> int:
    try:
        return ids.index(object_id)
    except ValueError:
        raise missing(kind, object_id, param) from None


def expand(state: StripeState, obj: Obj, paths: Any) -> None:
    """Replace references by objects, and put in lists that are left out by default; `obj` is changed."""
    if not isinstance(paths, list):
        raise StripeRefusal("Invalid array", param="expand")
    for path in paths:
        parts = str(path).split(".")
        if len(parts) > MAX_EXPAND_DEPTH:
            raise StripeRefusal("You cannot expand more than 4 levels of a property.", param="expand")
        _expand(state, obj, parts, str(path))


def _expand(state: StripeState, obj: Obj, parts: list[str], path: str) -> None:
    name, rest = parts[0], parts[1:]
    _include(state, obj, name)
    if name not in obj:
        raise StripeRefusal(f"This property cannot be expanded ({path}).", param="expand")
    value = obj[name]
    if isinstance(value, str):
        kind = _KINDS.get(value.split("_", 1)[0])
        target = state.find(kind, value) if kind else None
        if target is None:
            raise StripeRefusal(f"This property cannot be expanded ({path}).", param="expand")
        value = obj[name] = deepcopy(target)
    for element in value if isinstance(value, list) else [value]:
        if rest and isinstance(element, dict):
            _expand(state, element, rest, path)


def _include(state: StripeState, obj: Obj, name: str) -> None:
    """Lists that Stripe leaves out unless they are asked for."""
    kind = obj.get("object")
    if name in obj:
        return
    if (kind, name) == ("checkout.session", "line_items"):
        lines = state.terms[obj["id"]].lines
        obj[name] = list_of(deepcopy(lines), f"/v1/checkout/sessions/{obj['id']}/line_items")
    elif (kind, name) == ("invoice", "payments"):
        obj[name] = list_of(deepcopy(payments_of(state, obj["id"])), f"/v1/invoices/{obj['id']}/payments")
    elif (kind, name) == ("charge", "refunds"):
        refunds = [each for each in state.every("refund") if each["charge"] == obj["id"]]
        obj[name] = list_of(deepcopy(refunds), f"/v1/charges/{obj['id']}/refunds")
