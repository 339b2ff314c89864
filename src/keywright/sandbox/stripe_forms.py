"""Stripe's request parameters: form-encoded with brackets in, nested values out, unknown names refused."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from keywright.sandbox.stripe_errors import StripeRefusal, needed, unknown

Params = dict[str, Any]

_KEY = re.compile(r"\A([^\[\]]+)((?:\[[^\[\]]*\])*)\Z")
_PART = re.compile(r"\[([^\[\]]*)\]")
_MAX_DEPTH = 6
_MAX_INTEGER = 99_999_999_999


class Each:
    """A list whose elements all follow one specification."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec


# A name maps to None (any scalar or free-form value), to names again (an object), or to Each (a list).
Spec = Mapping[str, "Spec | Each | None"]


def parse(encoded: str) -> Params:
    """Decode `a[b][0][c]=1&d[]=2` to nested dictionaries and lists.

    Raises StripeRefusal (400) for a name that is not well-formed or means two things at once.
    """
    root: Params = {}
    for name, value in parse_qsl(encoded, keep_blank_values=True):
        match = _KEY.match(name)
        parts = [match[1], *_PART.findall(match[2])] if match else []
        if not parts or len(parts) > _MAX_DEPTH:
            raise StripeRefusal(f"Invalid parameter name: {name[:80]}")
        _put(root, parts, value, name)
    return {name: _lists(value) for name, value in root.items()}


def _put(node: Params, parts: list[str], value: str, name: str) -> None:
    for part in parts[:-1]:
        child = node.setdefault(part or str(len(node)), {})
        if not isinstance(child, dict):
            raise StripeRefusal(f"Invalid parameter name: {name[:80]}")
        node = child
    last = parts[-1] or str(len(node))
    if isinstance(node.get(last), dict):
        raise StripeRefusal(f"Invalid parameter name: {name[:80]}")
    node[last] = value


def _lists(node: Any) -> Any:
    if not isinstance(node, dict):
        return node
    if node and all(part.isdecimal() for part in node):
        return [_lists(node[part]) for part in sorted(node, key=int)]
    return {part: _lists(value) for part, value in node.items()}


def check(params: Params, spec: Spec, path: str = "") -> None:
    """Refuse what the specification does not name, with Stripe's 400 `parameter_unknown`."""
    for name, value in params.items():
        full = f"{path}[{name}]" if path else name
        if name == "payment_method_types" and name not in spec:
            raise _method_types_refused()
        if name not in spec:
            raise unknown(full)
        inner = spec[name]
        if value == "" or inner is None:
            continue
        if isinstance(inner, Each):
            for position, element in enumerate(_as_list(value, full)):
                check(_as_object(element, f"{full}[{position}]"), inner.spec, f"{full}[{position}]")
        else:
            check(_as_object(value, full), inner, full)


def _method_types_refused() -> StripeRefusal:
    return StripeRefusal(
        "`payment_method_types` is no longer supported as of API version 2026-09-30.endive; manage payment "
        "methods in the Dashboard, or use `allowed_payment_method_types`.",
        code="payment_method_types_no_longer_supported",
        param="payment_method_types",
    )


def _as_list(value: Any, name: str) -> list[Any]:
    if not isinstance(value, list):
        raise StripeRefusal("Invalid array", param=name)
    return value


def _as_object(value: Any, name: str) -> Params:
    if not isinstance(value, dict):
        raise StripeRefusal("Invalid object", param=name)
    return value


def text(params: Params, name: str, default: str | None = None) -> str | None:
    """A string parameter; absent or blank gives the default."""
    value = params.get(name)
    if value is None or value == "":
        return default
    if not isinstance(value, str):
        raise StripeRefusal(f"Invalid string: {name}", param=name)
    return value


def required(params: Params, name: str, shown: str | None = None) -> str:
    """A string parameter that must be there (400 `parameter_missing`)."""
    value = text(params, name)
    if value is None:
        raise needed(shown or name)
    return value


def choice(params: Params, name: str, allowed: Iterable[str], default: str | None = None) -> str | None:
    """A string parameter out of a fixed set."""
    value = text(params, name, default)
    if value is not None and value not in set(allowed):
        listed = ", ".join(f"`{each}`" for each in allowed)
        raise StripeRefusal(f"Invalid {name}: must be one of {listed}", param=name)
    return value


def integer(params: Params, name: str, default: int | None = None, *, least: int = 0) -> int | None:
    """A whole-number parameter, no smaller than `least`."""
    value = text(params, name)
    if value is None:
        return default
    if not re.fullmatch(r"-?[0-9]{1,12}", value):
        raise StripeRefusal(f"Invalid integer: {value[:40]}", code="parameter_invalid_integer", param=name)
    number = int(value)
    if number < least or number > _MAX_INTEGER:
        raise StripeRefusal(
            f"This value must be greater than or equal to {least}.",
            code="parameter_invalid_integer",
            param=name,
        )
    return number


def flag(params: Params, name: str, *, default: bool = False) -> bool:
    """A true/false parameter."""
    value = text(params, name)
    if value is None:
        return default
    if value not in {"true", "false"}:
        raise StripeRefusal(f"Invalid boolean: {value[:40]}", param=name)
    return value == "true"


def nested(params: Params, name: str) -> Params:
    """An object parameter; absent or blank gives an empty one."""
    value = params.get(name)
    return _as_object(value, name) if value else {}


def listed(params: Params, name: str) -> list[Any]:
    """A list parameter; absent or blank gives an empty one."""
    value = params.get(name)
    return _as_list(value, name) if value else []


def metadata(params: Params, name: str = "metadata") -> dict[str, str]:
    """Metadata as Stripe takes it: up to 50 strings, names to 40 and values to 500 characters."""
    given = nested(params, name)
    if len(given) > 50:
        raise StripeRefusal("Metadata can have up to 50 keys.", param=name)
    for key, value in given.items():
        if not isinstance(value, str) or len(key) > 40 or len(value) > 500:
            raise StripeRefusal(
                "Metadata keys have up to 40 characters and values up to 500.", param=f"{name}[{key[:40]}]"
            )
    return dict(given)


def merged_metadata(old: dict[str, str], params: Params) -> dict[str, str]:
    """Metadata after an update: given names replace, blank values remove, a blank whole clears."""
    if params.get("metadata") == "":
        return {}
    both = old | metadata(params)
    return {name: value for name, value in both.items() if value != ""}


def web_address(params: Params, name: str) -> str | None:
    """An absolute http or https address (400 `url_invalid`)."""
    value = text(params, name)
    if value is None:
        return None
    try:
        parts = urlsplit(value)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise StripeRefusal("Not a valid URL", code="url_invalid", param=name)
    return value


def in_range(moment: int, given: Any) -> bool:
    """Whether a time (unix seconds) satisfies a `created`-like filter: one value, or gt/gte/lt/lte."""
    if given in (None, ""):
        return True
    if isinstance(given, str):
        return moment == integer({"created": given}, "created")
    bounds = _as_object(given, "created")
    check(bounds, {"gt": None, "gte": None, "lt": None, "lte": None}, "created")
    limits = {name: integer(bounds, name) for name in bounds}
    return (
        (limits.get("gt") is None or moment > (limits["gt"] or 0))
        and (limits.get("gte") is None or moment >= (limits["gte"] or 0))
        and (limits.get("lt") is None or moment < (limits["lt"] or 0))
        and (limits.get("lte") is None or moment <= (limits["lte"] or 0))
    )
