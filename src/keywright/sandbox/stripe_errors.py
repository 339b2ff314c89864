"""Stripe's error language, spoken by the sandbox.

These are no `KeywrightError`s on purpose: they are what Stripe would say to our own adapter, and must
never be mistaken for what Keywright says to its users.
"""

from __future__ import annotations

from typing import Any


class StripeRefusal(Exception):
    """A request the stand-in answers with one of Stripe's error bodies."""

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        kind: str = "invalid_request_error",
        code: str | None = None,
        param: str | None = None,
        decline_code: str | None = None,
        extra: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.kind = kind
        self.code = code
        self.param = param
        self.decline_code = decline_code
        self.extra = extra or {}

    def body(self, request_id: str) -> dict[str, Any]:
        """The JSON body Stripe sends for this refusal; members without a value are left out."""
        members: dict[str, Any] = {
            "message": self.message,
            "type": self.kind,
            "code": self.code,
            "param": self.param,
            "decline_code": self.decline_code,
            "request_log_url": f"https://dashboard.stripe.com/test/logs/{request_id}",
        }
        if self.code:
            members["doc_url"] = f"https://stripe.com/docs/error-codes/{self.code.replace('_', '-')}"
        return {"error": {name: value for name, value in members.items() if value is not None} | self.extra}


def missing(kind: str, object_id: str, param: str = "id") -> StripeRefusal:
    """No such object. A missing object named by the URL is 404, one named by a parameter 400."""
    shown = kind.removeprefix("checkout.").replace("_", " ")
    return StripeRefusal(
        f"No such {shown}: '{object_id}'",
        status=404 if param == "id" else 400,
        code="resource_missing",
        param=param,
    )


def needed(param: str) -> StripeRefusal:
    """A required parameter is not there."""
    return StripeRefusal(f"Missing required param: {param}.", code="parameter_missing", param=param)


def unknown(param: str) -> StripeRefusal:
    """A parameter Stripe does not know."""
    return StripeRefusal(f"Received unknown parameter: {param}", code="parameter_unknown", param=param)
