"""Where a connected account is onboarded, and the levers behind it: what Stripe asks for."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Controller, Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from litestar.response import Redirect

from keywright.sandbox import stripe_connect as connect
from keywright.sandbox.guards import json_only
from keywright.sandbox.pay_page import page
from keywright.sandbox.sandbox import Sandbox

Box = NamedDependency[Sandbox]
Web = Request[Any, Any, Any]
Answer = dict[str, Any]


class SetupController(Controller):
    """The page behind an account link. It opens once; who comes again is sent back for a new link."""

    path = "/setup/{ticket:str}"

    @get("/")
    async def show(self, ticket: FromPath[str], sandbox: Box) -> Response[Any]:
        """The form, or the way back to whoever made the link."""
        link = connect.open_link(sandbox.state, ticket)
        if link is None:
            return _back(connect.leads_back(sandbox.state, ticket)["refresh_url"])
        account = connect.read(sandbox.state, link["account"])
        return page("setup.html", leads_to=link["return_url"], account=account, ticket=ticket)

    @post("/", status_code=200)
    async def submit(self, ticket: FromPath[str], request: Web, sandbox: Box) -> Response[Any]:
        """Hand in everything, or all but the papers, or nothing: the way back tells nothing of it."""
        link = connect.leads_back(sandbox.state, ticket)
        if not link["opened"]:
            return _back(link["refresh_url"])
        act = (await request.form()).get("act")
        if act in ("complete", "partly"):
            connect.onboard(sandbox.state, link["account"], complete=act == "complete")
        return _back(link["return_url"])


def _back(url: str) -> Response[Any]:
    return Redirect(url, status_code=303, headers={"Referrer-Policy": "no-referrer"})


class RequirementsWish(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What Stripe wants of the account from now on, in its own names; nothing: it is ready to sell."""

    due: list[str] = []


class NoWish(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Nothing to choose."""


class AccountController(Controller):
    """`/_sandbox/stripe/accounts/…`."""

    path = "/_sandbox/stripe/accounts/{account_id:str}"
    guards = (json_only,)

    @post("/requirements", status_code=200)
    async def require(
        self, account_id: FromPath[str], data: JSONBody[RequirementsWish], sandbox: Box
    ) -> Answer:
        """Stripe asks for something, or is content."""
        account = connect.restrict(sandbox.state, account_id, tuple(data.due))
        return {"account": account_id, "charges_enabled": account["charges_enabled"]}

    @post("/deauthorize", status_code=200)
    async def deauthorize(self, account_id: FromPath[str], data: JSONBody[NoWish], sandbox: Box) -> Answer:  # noqa: ARG002  # the body must be JSON
        """The account's owner disconnects the platform."""
        connect.deauthorize(sandbox.state, account_id)
        return {"account": account_id}
