"""Knock at our own webhook address, the way a provider does."""

from __future__ import annotations

from typing import Final

import httpx

from keywright.ports import Delivery, Knocked

_SECONDS: Final = 5.0


def knock(url: str, delivery: Delivery) -> Knocked:
    """Post the delivery. Follows no redirect, as no provider does, and raises nothing."""
    headers = {"content-type": "application/json", **delivery.headers}
    try:
        answer = httpx.post(url, content=delivery.raw, headers=headers, timeout=_SECONDS)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return Knocked(None, problem=type(error).__name__)
    try:
        told = answer.json()
    except ValueError:
        told = {}
    return Knocked(answer.status_code, told if isinstance(told, dict) else {})
