"""The way into the portal: cookies, limits, and an answer that takes the same time for everybody."""

from __future__ import annotations

import asyncio
import copy
import hmac
import re
import secrets
from collections.abc import Callable
from typing import Any, Final, Self, TypeVar

import structlog
from litestar import Request
from litestar.datastructures import Cookie

from keywright.domain.errors import Forbidden
from keywright.flows import portal_sign_in
from keywright.flows.context import Context
from keywright.flows.portal_sign_in import SESSION_LIVES, Visitor
from keywright.store import wall
from keywright.web import wire
from keywright.web.limits import AddressLimit, Limit
from keywright.web.origin import is_ours
from keywright.web.pool import Pool
from keywright.web.rooted import SESSION, cookie, cookie_name

log = structlog.get_logger(__name__)

T = TypeVar("T")
Web = Request[Any, Any, Any]
Form = dict[str, str]

ANSWER_AFTER: Final = 0.3
"""Seconds until whoever asks for a link is answered, whether or not the work is done by then."""

_BROWSER: Final = "keywright_browser"
_BROWSER_SECONDS: Final = 86400  # a phone ends its browser while the mail is read
_THREADS: Final = 4
_MOST_WAITING: Final = 64
_ASKED_A_MINUTE: Final = 10  # from one address
_LINKS_A_MINUTE: Final = 60  # looked at or tried, from one address
_ACTS_A_MINUTE: Final = 30  # of one visitor
_KEYS_A_MINUTE: Final = 2  # mails with the key of one license, by one visitor
_COOKIE: Final = re.compile(r"[A-Za-z0-9_-]{22,64}")


class Gate:
    """One for each tenant, with the limits and the threads of the process."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self._asked = AddressLimit(_ASKED_A_MINUTE)
        self._links = AddressLimit(_LINKS_A_MINUTE)
        self._acts = Limit(_ACTS_A_MINUTE)
        self._keys = Limit(_KEYS_A_MINUTE)
        # Of its own: a provider that hangs holds these threads for a minute, and nobody else's.
        self._pool = Pool(
            "portal",
            threads=_THREADS,
            most_waiting=_MOST_WAITING,
            full="Too much is waiting at the moment. Please try again.",
        )

    def of(self, context: Context) -> Self:
        """The gate of another tenant: whoever knocks there has knocked here, and the threads are the same."""
        other = copy.copy(self)
        other.context = context
        return other

    # -- cookies ----------------------------------------------------------------------------------

    def browser_of(self, request: Web) -> str:
        """The name this browser goes by before it is signed in; empty when it has none."""
        return _well_formed(request.cookies.get(cookie_name(self.context, _BROWSER), ""))

    def browser_cookie(self, browser: str) -> Cookie:
        return self._cookie(_BROWSER, browser, _BROWSER_SECONDS)

    def session_of(self, request: Web) -> str:
        return _well_formed(request.cookies.get(cookie_name(self.context, SESSION), ""))

    def session_cookie(self, session: str) -> Cookie:
        """For as long as the session lasts; without one, it is taken back."""
        return self._cookie(SESSION, session, int(SESSION_LIVES.total_seconds()) if session else 0)

    def _cookie(self, name: str, value: str, max_age: int) -> Cookie:
        return cookie(self.context, cookie_name(self.context, name), value, max_age=max_age)

    # -- forms ------------------------------------------------------------------------------------

    def check_of(self, held: str) -> str:
        return portal_sign_in.form_check(self.context, held)

    async def form_of(self, request: Web, held: str) -> Form:
        """The fields of a form that came from a page of ours, in the browser we gave it to.

        Raises Forbidden.
        """
        async with wire.in_time():
            told = await request.form()
        form = {name: value for name, value in told.items() if isinstance(value, str)}
        paired = hmac.compare_digest(self.check_of(held).encode(), form.get("check", "").encode())
        if not held or not paired or not is_ours(self.context.policy.base_url, request):
            raise Forbidden("This did not come from our own page. Please allow cookies and try again.")
        return form

    # -- work -------------------------------------------------------------------------------------

    async def ask(self, request: Web, email: str, browser: str) -> None:
        """Ask for a link. Raises TooMany by the caller's address, Unavailable; else tells nothing.

        The work goes on by itself: neither what it does, nor how long that takes, nor that it failed shows
        in the answer.
        """
        self._asked.count(wire.address_of(request.scope))
        language = wire.language_of(request)
        work = self._pool.start(lambda: portal_sign_in.ask(self.context, email, browser, language))
        work.add_done_callback(_note_failure)
        await asyncio.sleep(ANSWER_AFTER)

    async def look(self, request: Web, secret: str) -> portal_sign_in.Standing:
        self._links.count(wire.address_of(request.scope))
        browser = self.browser_of(request)
        return await self.run(lambda: portal_sign_in.look_at_link(self.context, secret, browser))

    async def enter(self, request: Web, secret: str) -> tuple[portal_sign_in.Standing, str]:
        self._links.count(wire.address_of(request.scope))
        browser = self.browser_of(request)
        return await self.run(lambda: portal_sign_in.enter(self.context, secret, browser))

    async def visitor_of(self, request: Web) -> Visitor | None:
        """Who is signed in here, if anybody. From here on the request is walled in."""
        session = self.session_of(request)
        if not session:
            return None
        wall.enter(self.context.tenant.id)
        return await asyncio.to_thread(portal_sign_in.find_visitor, self.context, session)

    def count_act(self, visitor: Visitor) -> None:
        """Raises TooMany."""
        self._acts.count(visitor.customer_id)

    def count_key(self, visitor: Visitor, license_id: str) -> None:
        """Raises TooMany."""
        self._keys.count(f"{visitor.customer_id} {license_id}")

    async def run(self, call: Callable[[], T]) -> T:
        """Raises Unavailable when too much is waiting, and what the call raises."""
        return await self._pool.start(call)


def fresh_browser() -> str:
    return secrets.token_urlsafe(24)


def _well_formed(held: str) -> str:
    return held if _COOKIE.fullmatch(held) else ""


def _note_failure(work: asyncio.Future[None]) -> None:
    error = work.exception() if not work.cancelled() else None
    if error is not None:
        log.error("portal_link_failed", error=type(error).__qualname__)
