"""Every route of the route table with real ids, and somebody who may do everything."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from litestar.routes import HTTPRoute

from keywright.flows import activating, checkout, licensing, portal_sign_in, staff, staff_sessions, tokens
from keywright.flows.licensing import Ask
from keywright.store.tables import activations, customers, inbox, signing_keys
from keywright.web import claim
from tests.life import world
from tests.life.payments import PayDesk
from tests.security.conftest import BUYER
from tests.security.served import Browser, Person, Served, link_for, visitor
from tests.web.route_table import RULES, Rule

DOOR = "D" * 43
"""The name of a browser that is not signed in."""


class Tour:
    """A shop's server, with one of everything, and somebody who is signed in everywhere."""

    def __init__(self, served: Served) -> None:
        self.served = served
        self.context = served.context
        self.person = Person(served, "owner@example.com")
        held = world.the_license(self.context)
        asked = Ask(key=world.key_of(self.context, held), fingerprint="machine-0001", name="machine")
        activating.activate(self.context, licensing.check(self.context, asked, fingerprint_needed=True))
        self.key = asked.key
        self.order = checkout.open_checkout(self.context, checkout.Ask("dashcaddy/plan-0"))
        pay_desk = self.context.channels["stripe"].api
        assert isinstance(pay_desk, PayDesk)
        pay_desk.paid(self.order.reference)
        made, self.bearer = tokens.create(self.context, self.context.master, "all", "admin")
        self.token_id = made.id
        self.ids = {
            "license_id": held.id,
            "activation_id": self._first(activations.c.id),
            "machine": self._first(activations.c.id),
            "event_id": self._first(inbox.c.id),
            "customer_id": self._first(customers.c.id),
            "staff_id": self.person.staff.id,
            "kid": self._first(signing_keys.c.kid),
            "product": "dashcaddy",
            "plan": "plan-0",
            "reference": self.order.reference,
            "slug": self.context.master.slug,
        }
        _, setup = staff.create(self.context, self.context.master.id, "new@example.com", "admin", "test")
        self.links = {
            "/portal/link": link_for(self.context, BUYER, DOOR),
            "/console/setup": setup.rpartition("/")[2],
        }

    def _first(self, column: sa.Column[Any]) -> str:
        with self.context.database.read() as connection:
            return str(connection.execute(sa.select(column).order_by(column).limit(1)).scalar_one())

    def everybody(self) -> Browser:
        """A browser that is signed in to the console and to the portal, and was at both doors."""
        browser = visitor(self.served, BUYER).carry(self.person.session)
        for cookie in ("keywright_browser", "keywright_door"):
            browser.cookies[self.served.named(cookie)] = DOOR
        told = claim.claim_cookie(self.context, self.order.reference, self.order.claim_token)
        browser.cookies[told.key] = str(told.value)
        return browser

    def check_of(self, rule: Rule, browser: Browser) -> str:
        """The hidden field of our own form for this: it belongs to the cookie that the form is bound to."""
        of_staff, of_portal = staff_sessions.form_check, portal_sign_in.form_check
        if rule.path.startswith(("/console/sign-in", "/console/setup")):
            return of_staff(self.context, browser.session if rule.path.endswith("second") else DOOR)
        if rule.path.startswith("/console"):
            return of_staff(self.context, browser.session)
        if rule.path.startswith("/checkout"):
            return of_portal(self.context, self.order.claim_token)
        session = browser.cookies[self.served.named("keywright_session")]
        at_door = rule.path == "/portal" or rule.path.startswith("/portal/link")
        return of_portal(self.context, DOOR if at_door else session)

    def path_of(self, rule: Rule) -> str:
        """An address under this path. What has no id here leads nowhere."""
        secret = next((text for path, text in self.links.items() if rule.path.startswith(path)), "nothing_1")
        ids = {**self.ids, "secret": secret}
        return re.sub(r"{(\w+)(:\w+)?}", lambda found: ids.get(found[1], "nothing_1"), rule.path)

    def methods_of(self, rule: Rule) -> tuple[str, ...]:
        """Bare routes see to their method themselves: they are asked with both."""
        return ("GET", "POST") if rule.method == "ANY" else (rule.method,)

    def requests(self) -> Iterator[tuple[Rule, str, str]]:
        """Rule, method and address of each."""
        for rule in RULES.values():
            for method in self.methods_of(rule):
                yield rule, method, self.path_of(rule)

    def files(self) -> list[str]:
        """The addresses of what lies in `web/static`."""
        return [
            route.path
            for route in self.served.app.routes
            if isinstance(route, HTTPRoute) and route.path.startswith("/static/")
        ]
