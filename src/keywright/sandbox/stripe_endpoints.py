"""Webhook endpoints and portal sessions: the small administrative objects."""

from __future__ import annotations

from keywright.sandbox import stripe_shapes as shapes
from keywright.sandbox.stripe_errors import StripeRefusal, needed
from keywright.sandbox.stripe_forms import (
    Params,
    choice,
    flag,
    listed,
    merged_metadata,
    metadata,
    nested,
    required,
    text,
    web_address,
)
from keywright.sandbox.stripe_shapes import Obj
from keywright.sandbox.stripe_state import StripeState

PORTAL_FLOWS = ("subscription_cancel", "subscription_update", "payment_method_update")


def create(state: StripeState, params: Params) -> Obj:
    """`POST /v1/webhook_endpoints`; the answer is the only place that shows the secret."""
    url = web_address(params, "url")
    if url is None:
        raise needed("url")
    kinds = _enabled_events(params)
    version = text(params, "api_version", shapes.API_VERSION)
    if version != shapes.API_VERSION:
        raise StripeRefusal(
            f"The sandbox renders events in {shapes.API_VERSION} and no other version.", param="api_version"
        )
    return register(
        state,
        url,
        state.ids.secret("whsec"),
        kinds,
        connect=flag(params, "connect"),
        description=text(params, "description"),
        metadata=metadata(params),
    )


def register(
    state: StripeState, url: str, secret: str, kinds: list[str], *, connect: bool = False, **given: object
) -> Obj:
    """Keep an endpoint with a known secret; returns it with the secret in it.

    `connect`: it gets the events of connected accounts, and none of the platform's own.
    """
    endpoint = shapes.webhook_endpoint(state.ids.new("we"), state.now(), url, kinds, **given)
    if connect:
        state.connect_endpoints.add(endpoint["id"])
    state.add(endpoint)
    state.endpoint_secrets[endpoint["id"]] = secret
    return {**endpoint, "secret": secret}


def _enabled_events(params: Params) -> list[str]:
    kinds = listed(params, "enabled_events")
    if not kinds:
        raise needed("enabled_events")
    if not all(isinstance(kind, str) for kind in kinds):
        raise StripeRefusal("Invalid array", param="enabled_events")
    return kinds


def update(state: StripeState, endpoint_id: str, params: Params) -> Obj:
    """`POST /v1/webhook_endpoints/{id}`."""
    endpoint = state.get("webhook_endpoint", endpoint_id)
    kinds = _enabled_events(params) if "enabled_events" in params else endpoint["enabled_events"]
    endpoint |= {
        "enabled_events": kinds,
        "url": web_address(params, "url") or endpoint["url"],
        "metadata": merged_metadata(endpoint["metadata"], params),
        "status": "disabled"
        if flag(params, "disabled", default=endpoint["status"] == "disabled")
        else "enabled",
        "description": text(params, "description", endpoint["description"]),
    }
    return endpoint


def delete(state: StripeState, endpoint_id: str) -> Obj:
    """`DELETE /v1/webhook_endpoints/{id}`."""
    state.get("webhook_endpoint", endpoint_id)
    state.drop("webhook_endpoint", endpoint_id)
    state.endpoint_secrets.pop(endpoint_id, None)
    state.connect_endpoints.discard(endpoint_id)
    return {"id": endpoint_id, "object": "webhook_endpoint", "deleted": True}


def create_portal(state: StripeState, params: Params) -> Obj:
    """`POST /v1/billing_portal/sessions`."""
    customer = state.get("customer", required(params, "customer"), "customer")
    flow_data = nested(params, "flow_data")
    kind = choice(flow_data, "type", PORTAL_FLOWS)
    session_id = state.ids.new("bps")
    session = shapes.portal_session(
        session_id,
        state.now(),
        customer["id"],
        f"{state.base_url}/p/session/{session_id}",
        return_url=web_address(params, "return_url"),
        locale=text(params, "locale"),
        flow=_flow(state, flow_data, kind) if kind else None,
    )
    return state.add(session)


def _flow(state: StripeState, flow_data: Params, kind: str) -> Obj:
    flow: Obj = {
        "after_completion": {"hosted_confirmation": None, "redirect": None, "type": "portal_homepage"},
        "subscription_cancel": None,
        "subscription_update": None,
        "subscription_update_confirm": None,
        "type": kind,
    }
    if kind in {"subscription_cancel", "subscription_update"}:
        name = f"flow_data[{kind}][subscription]"
        subscription_id = required(nested(flow_data, kind), "subscription", name)
        state.get("subscription", subscription_id, name)
        flow[kind] = {"subscription": subscription_id}
    return flow
