"""The application behind a real socket, and browsers that keep cookies as they are told to."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from http.cookies import SimpleCookie
from typing import Any

import httpx
import sqlalchemy as sa
import uvicorn

from keywright.flows import portal_sign_in, staff, staff_factors, staff_secrets, staff_sessions
from keywright.flows.context import Context
from keywright.ports import Mail
from keywright.store.staff import Staff
from keywright.store.tables import portal_links
from keywright.web.app import create_app
from keywright.web.one_write import OneWriteProtocol
from tests.web.conftest import IdleEngine

PASSWORD = "four words nobody says"
START_LIMIT = 30.0


class Post:
    """A mailer that keeps what it is given."""

    def __init__(self) -> None:
        self.sent: list[Mail] = []

    def send(self, mail: Mail) -> None:
        self.sent.append(mail)


class Served:
    """A server of this process, on a free port of the loopback interface, as `serve` sets it up."""

    def __init__(self, context: Context, base_url: str = "", **policy: Any) -> None:
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self.base_url = base_url or self.address
        self.secure = self.base_url.startswith("https://")
        policy = {"base_url": self.base_url, **policy}
        self.context = replace(context, policy=replace(context.policy, **policy))
        self.app = create_app(self.context, IdleEngine(), metrics_token="metrics")
        config = uvicorn.Config(
            self.app,
            loop="uvloop",
            http=OneWriteProtocol,
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            # Everybody on this machine is the proxy: a test says itself from where it calls.
            proxy_headers=True,
            forwarded_allow_ips="127.0.0.1",
            timeout_graceful_shutdown=5,
        )
        self._server = uvicorn.Server(config)
        self._browsers: list[Browser] = []
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],), daemon=True)

    def __enter__(self) -> Served:
        self._thread.start()
        until = time.monotonic() + START_LIMIT
        while not self._server.started:
            if time.monotonic() > until or not self._thread.is_alive():
                raise RuntimeError("the server did not start")
            time.sleep(0.01)
        return self

    def __exit__(self, *_: object) -> None:
        for browser in self._browsers:
            browser.close()
        self._server.should_exit = True
        self._thread.join(START_LIMIT)
        self._socket.close()

    def browser(self, place: str = "203.0.113.1") -> Browser:
        """A new one, that calls from this address."""
        self._browsers.append(Browser(self, place))
        return self._browsers[-1]

    def named(self, cookie: str) -> str:
        """What a cookie is called here."""
        return f"__Host-{cookie}" if self.secure else cookie


class Browser:
    """A browser of its own. Cookies are kept whatever they say: what they say is looked at by tests."""

    def __init__(self, served: Served, place: str) -> None:
        self.served = served
        self.place = place
        self.cookies: dict[str, str] = {}
        self.told: list[str] = []  # every Set-Cookie
        # Its own pool, so that fifty at once do not wait for each other.
        self._client = httpx.Client(base_url=served.address, trust_env=False, timeout=60)

    def close(self) -> None:
        self._client.close()

    def get(self, path: str, **headers: str) -> httpx.Response:
        return self.ask("GET", path, headers=headers)

    def post(self, path: str, **fields: str) -> httpx.Response:
        """As a form of our own page would be sent."""
        return self.ask("POST", path, data=fields, headers={"origin": self.served.base_url})

    def ask(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        data: Mapping[str, str] | None = None,
        json: Any = None,
    ) -> httpx.Response:
        """One request, no redirect followed. Of an answer without an end only the head is read."""
        sent = {"x-forwarded-for": self.place, **(headers or {})}
        if self.cookies:
            sent["cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        with self._client.stream(method, path, headers=sent, data=data, json=json) as answer:
            if "event-stream" not in answer.headers.get("content-type", ""):
                answer.read()
        for text in answer.headers.get_list("set-cookie"):
            self.told.append(text)
            for name, morsel in SimpleCookie(text).items():
                if morsel["max-age"] == "0":
                    self.cookies.pop(name, None)
                else:
                    self.cookies[name] = morsel.value
        return answer

    # -- the console --------------------------------------------------------------------------------------

    def knock(self, email: str, password: str = PASSWORD) -> httpx.Response:
        """Type address and password, on the page that asks for them."""
        check = check_in(self.get("/console/sign-in"))
        return self.post("/console/sign-in", check=check, email=email, password=password)

    def second(self, code: str) -> httpx.Response:
        check = check_in(self.get("/console/sign-in/second"))
        return self.post("/console/sign-in/second", check=check, code=code)

    @property
    def session(self) -> str:
        """Of the console."""
        return self.cookies.get(self.served.named("keywright_staff"), "")

    def carry(self, session: str) -> Browser:
        """Put somebody's session into this browser."""
        self.cookies[self.served.named("keywright_staff")] = session
        return self

    def is_in(self) -> bool:
        return self.get("/console").status_code == 200


class Person:
    """Somebody who works here, and what he signs in with."""

    def __init__(self, served: Served, email: str, role: str = "owner") -> None:
        context = served.context
        _, link = staff.create(context, context.master.id, email, role, "test")
        encoded = staff_secrets.hashed(PASSWORD)
        opened = staff.begin_setup(context, link.rpartition("/")[2], email, encoded, "a test")
        signed = staff_sessions.find(context, opened or "", "setup")
        assert signed is not None
        self.email = email
        self.secret = staff_sessions.pending_of(context, signed.session).totp
        code = staff_secrets.code_of(self.secret, int(staff_factors.phone_time() // 30))
        made = staff.finish_setup(context, signed, code=code, answer="", name="")
        assert made is not None
        self.session, self.codes = made
        self.staff: Staff = signed.staff


def check_in(page: httpx.Response) -> str:
    """What the forms of a page carry."""
    found = re.search(r'name="check" value="([^"]+)"', page.text)
    assert found, page.text
    return found[1]


def visitor(served: Served, customer: str, place: str = "203.0.113.2") -> Browser:
    """A browser that is signed in to the portal."""
    browser = served.browser(place)
    named = "B" * 43
    secret = link_for(served.context, customer, named)
    standing, session = portal_sign_in.enter(served.context, secret, named)
    assert standing == "good"
    browser.cookies[served.named("keywright_session")] = session
    return browser


def link_for(context: Context, email: str, browser: str) -> str:
    """The secret of the link that this address is sent, asked for in this browser."""
    portal_sign_in.ask(context, email, browser)
    with context.database.read() as connection:
        newest = sa.select(portal_links.c.id).order_by(portal_links.c.id.desc()).limit(1)
        return portal_sign_in.secret_of(context, str(connection.execute(newest).scalar_one()))
