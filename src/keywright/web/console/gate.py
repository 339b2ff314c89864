"""The way into the console: cookies, forms, who is signed in, and what each handler asks for.

Password hashes are computed by one thread that steps back for everybody else, and at most nine more wait:
signing in at full rate must not slow the sold software down (`make flood`; with two threads on two processors
a validation waited for half a second now and then). Whoever finds all places taken waits a second for one:
who guesses at full rate would be back at once, and refusals would be what keeps the server busy.
"""

from __future__ import annotations

import asyncio
import contextvars
import hmac
import os
import re
import secrets
import threading
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, Protocol, TypeVar

from litestar import Request
from litestar.connection import ASGIConnection
from litestar.datastructures import Cookie
from litestar.handlers import BaseRouteHandler

from keywright.domain.errors import Forbidden, Invalid, KeywrightError, TooMany, Unavailable
from keywright.domain.staff import LONGEST, Deed, least_role, may
from keywright.flows import staff_sessions
from keywright.flows.context import Context
from keywright.flows.operate import Act
from keywright.flows.staff_sessions import DOOR, Signed, Stage
from keywright.store import wall
from keywright.store.tenants import Tenant
from keywright.web import wire
from keywright.web.fair import FairThreads
from keywright.web.limits import Limit, party_of
from keywright.web.origin import is_ours
from keywright.web.walled import wall_in

T = TypeVar("T")
Web = Request[Any, Any, Any]
Connection = ASGIConnection[Any, Any, Any, Any]
Guard = Callable[[Connection, BaseRouteHandler], Awaitable[None]]
Form = dict[str, str]


class Hash(Protocol):
    """Computes a password's hash, in its turn."""

    async def __call__(self, call: Callable[[], T]) -> T: ...


LARGEST_FORM: Final = 32 * 1024
HASHES_AT_ONCE: Final = 1
HASHES_WAITING: Final = 9

_THREADS: Final = 4  # of one tenant's staff
_MOST_FIELDS: Final = 2000
_MOST_WAITING: Final = 64  # likewise
_ACTS_A_MINUTE: Final = 60  # of one person
_DOORS_A_MINUTE: Final = 120  # looked at from one address: each look is one read
_KNOCKS_A_MINUTE: Final = 30  # passwords typed at one address, right or wrong
_BROWSER_SECONDS: Final = 3600
_PLACE_SECONDS: Final = 180 * 24 * 3600
_SLUG: Final = re.compile(r"[a-z0-9-]{1,48}")
_COOKIE: Final = re.compile(r"[A-Za-z0-9_-]{22,64}")
_STEP_BACK: Final = 10
_PATIENCE: Final = 1.0  # seconds
_MOST_OUTSIDE: Final = 256


class SignInNeeded(KeywrightError):
    """Nobody is signed in here. A page leads to the sign-in; everything else is refused."""

    code = "UNAUTHORIZED"
    status = 401


class ProofNeeded(KeywrightError):
    """Somebody is signed in, and has to prove once more to be himself."""

    code = "FORBIDDEN"
    status = 403


class Gate:
    """One per process."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self._acts = Limit(_ACTS_A_MINUTE)
        self._doors = Limit(_DOORS_A_MINUTE)
        self._knocks = Limit(_KNOCKS_A_MINUTE)
        self._threads = FairThreads("console", threads=4 * _THREADS, most_of_one=_THREADS)
        self._hashers = ThreadPoolExecutor(
            max_workers=HASHES_AT_ONCE, thread_name_prefix="hasher", initializer=_step_back
        )
        self._busy: Counter[str] = Counter()
        self._places = asyncio.Semaphore(HASHES_AT_ONCE + HASHES_WAITING)
        self._outside = 0
        self.secure = context.policy.base_url.startswith("https://")
        # Browsers take a name with this prefix from this host alone, and only with Secure.
        prefix = "__Host-" if self.secure else ""
        self._browser_name = f"{prefix}keywright_door"
        self._session_name = f"{prefix}keywright_staff"
        self._place_name = f"{prefix}keywright_place"

    # -- cookies ----------------------------------------------------------------------------------

    def browser_of(self, request: Connection) -> str:
        """The name this browser goes by before it is signed in; empty when it has none."""
        return _well_formed(request.cookies.get(self._browser_name, ""))

    def browser_cookie(self, browser: str) -> Cookie:
        return self._cookie(self._browser_name, browser, _BROWSER_SECONDS)

    def session_of(self, request: Connection) -> str:
        return _well_formed(request.cookies.get(self._session_name, ""))

    def session_cookie(self, session: str) -> Cookie:
        """For as long as a session may last; without one, it is taken back."""
        return self._cookie(self._session_name, session, int(LONGEST.total_seconds()) if session else 0)

    def place_cookie(self, tenant: Tenant) -> Cookie:
        """Where the last one to sign in here works, so that this browser is led to that door again."""
        slug = "" if tenant.is_master else tenant.slug
        return self._cookie(self._place_name, slug, _PLACE_SECONDS if slug else 0)

    def door_of(self, request: Connection) -> str:
        """Where somebody comes in who has no session here, or none any more."""
        slug = request.cookies.get(self._place_name, "")
        return f"{DOOR}?at={slug}" if _SLUG.fullmatch(slug) else DOOR

    def _cookie(self, name: str, value: str, max_age: int) -> Cookie:
        return Cookie(
            name, value=value, path="/", max_age=max_age, httponly=True, secure=self.secure, samesite="lax"
        )

    # -- who --------------------------------------------------------------------------------------

    async def find(self, request: Connection, stage: Stage = "full") -> Signed | None:
        """Who has a session at this stage here, if anybody."""
        session = self.session_of(request)
        if not session:
            return None
        return await self.run(lambda: staff_sessions.find(self.context, session, stage))

    # -- forms ------------------------------------------------------------------------------------

    def check_of(self, cookie: str) -> str:
        return staff_sessions.form_check(self.context, cookie)

    async def form_of(self, request: Web, cookie: str) -> Form:
        """The fields of a form that came from a page of ours, in the browser we gave it to.

        Raises Forbidden; Invalid for text that no database takes.
        """
        async with wire.in_time():
            # Counted before they are taken apart, which takes a second for some hundred thousand.
            if (await request.body()).count(b"&") > _MOST_FIELDS:
                raise Invalid("The form has too many fields.")
            told = await request.form()
        form = {name: value for name, value in told.items() if isinstance(value, str)}
        paired = hmac.compare_digest(self.check_of(cookie).encode(), form.get("check", "").encode())
        if not cookie or not paired or not is_ours(self.context.policy.base_url, request):
            raise Forbidden("This did not come from our own page. Please allow cookies and try again.")
        if any("\x00" in value or _has_half(value) for value in form.values()):
            raise Invalid("There is a character in the form that is none.")
        return form

    async def act_form(self, request: Web) -> Form:
        """The form of somebody who is signed in. Raises Forbidden, Invalid, TooMany."""
        self.count_act(request)
        return await self.form_of(request, self.session_of(request))

    def count_act(self, request: Web) -> None:
        """Somebody has us do or ask something. Raises TooMany."""
        self._acts.count(signed_of(request).staff.id)

    def count_door(self, request: Web) -> None:
        """Raises TooMany."""
        self._doors.count(place_of(request))

    def count_knock(self, request: Web) -> None:
        """Somebody has typed a password. Refused here, it costs neither a hash nor a look at the database.

        Raises TooMany.
        """
        self._knocks.count(place_of(request))

    @asynccontextmanager
    async def place(self) -> AsyncIterator[Hash]:
        """One of the few places for those whose password is worked on, and what computes its hash there.

        Raises TooMany when none is free within a second, or too many wait for one.
        """
        full = TooMany("Too many people sign in at the moment. Please try again.", retry_after=2)
        if self._outside >= _MOST_OUTSIDE:
            raise full
        self._outside += 1
        try:
            async with asyncio.timeout(_PATIENCE):
                await self._places.acquire()
        except TimeoutError:
            raise full from None
        finally:
            self._outside -= 1
        try:
            yield self._hash
        finally:
            self._places.release()

    # -- work -------------------------------------------------------------------------------------

    async def run(self, call: Callable[[], T]) -> T:
        """Raises Unavailable when too much is waiting, and what the call raises."""
        tenant = wall.tenant() or ""
        if self._busy[tenant] >= _MOST_WAITING:
            raise Unavailable("Too much is waiting at the moment. Please try again.", retry_after=5)
        self._busy[tenant] += 1
        try:
            return await _in_thread(self._threads, call)
        finally:
            self._busy[tenant] -= 1
            if not self._busy[tenant]:
                del self._busy[tenant]

    async def _hash(self, call: Callable[[], T]) -> T:
        return await _in_thread(self._hashers, call)


# -- what a handler asks for ----------------------------------------------------------------------------


def needs(gate: Gate, deed: Deed, *, proven: bool = False, form: bool = False) -> dict[str, Any]:
    """What a handler of the console is declared with: its guard, and the same in words for the route table.

    The tenant is always that of the person: no handler takes one from outside. `proven`: the person must have
    proved to be himself not long ago. `form`: the page with its form has the same address.
    """

    async def guard(connection: Connection, _handler: BaseRouteHandler) -> None:
        signed = await gate.find(connection)
        if signed is None:
            raise SignInNeeded("Please sign in.")
        if not may(signed.staff.role, deed):
            raise Forbidden("Your role does not allow this. An owner can change it.")
        if "\x00" in connection.scope["path"] or b"%00" in connection.scope["query_string"]:
            raise Invalid("There is a NUL in the address.")
        connection.scope["auth"] = signed
        wall_in(connection, signed.staff.tenant_id)
        if proven and not staff_sessions.is_proven(gate.context, signed):
            raise ProofNeeded("Please prove once more that it is you.")

    guards: list[Guard] = [guard]
    return {
        "guards": guards,
        "opt": {"role": least_role(deed), "tenant": "of the session", "proven": proven, "form": form},
        "include_in_schema": False,
        "request_max_body_size": LARGEST_FORM,
    }


def open_to_all() -> dict[str, Any]:
    """What a handler at the door is declared with: it asks for links, passwords and codes by itself."""
    return {
        "opt": {"role": "anyone", "tenant": "of the link or the session"},
        "include_in_schema": False,
        "request_max_body_size": LARGEST_FORM,
    }


def signed_of(request: Connection) -> Signed:
    """Whom a guard let through."""
    signed: Signed = request.scope["auth"]
    return signed


def act_of(request: Connection, reason: str) -> Act:
    return Act(signed_of(request).actor, reason or None)


def place_of(request: Connection) -> str:
    """Whose address a request comes from, for limits."""
    return party_of(wire.address_of(request.scope))


def fresh_browser() -> str:
    return secrets.token_urlsafe(24)


_SYSTEMS: Final = (("Android", "Android"), ("iPhone", "iOS"), ("iPad", "iOS"), ("Windows", "Windows"))
_MORE_SYSTEMS: Final = (("Mac OS", "macOS"), ("CrOS", "ChromeOS"), ("Linux", "Linux"))
_BROWSERS: Final = (("Edg", "Edge"), ("OPR", "Opera"), ("Firefox", "Firefox"), ("Chrom", "Chrome"))


def agent_of(request: Connection) -> str:
    """Browser and system in a few words, so that people know their sessions again. Nothing else is kept."""
    told = request.headers.get("user-agent", "")
    browsers = (*_BROWSERS, ("Safari", "Safari"))
    browser = next((name for mark, name in browsers if mark in told), "A browser")
    system = next((name for mark, name in (*_SYSTEMS, *_MORE_SYSTEMS) if mark in told), "")
    return f"{browser} on {system}" if system else browser


async def _in_thread(threads: ThreadPoolExecutor, call: Callable[[], T]) -> T:
    """With what the request knows of itself: whose it is, above all."""
    known = contextvars.copy_context()
    return await asyncio.get_running_loop().run_in_executor(threads, known.run, call)


def _well_formed(cookie: str) -> str:
    return cookie if _COOKIE.fullmatch(cookie) else ""


def _has_half(text: str) -> bool:
    """Half of a surrogate pair: no database takes it."""
    return any(0xD800 <= ord(character) <= 0xDFFF for character in text)


def _step_back() -> None:
    """Let every other thread go first. On Linux a thread has a priority of its own; elsewhere nothing."""
    with suppress(OSError, AttributeError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _STEP_BACK)
