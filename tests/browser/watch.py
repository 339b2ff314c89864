"""What every browser test passes through: a browser whose complaints fail the test.

A complaint is an error or a warning in the console, an exception of a script, a report of a violated policy,
a dialog, an answer of 500 or more, and a request to any host that the test did not name.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from playwright.sync_api import BrowserContext, ConsoleMessage, Dialog, Request, Response, WebError

# The policy names nobody to report to; the browser tells the page itself.
_REPORTS = """addEventListener("securitypolicyviolation", (report) => console.error(
  `POLICY VIOLATED: ${report.effectiveDirective} by ${report.blockedURI} in ${report.sourceFile}`
), true);"""
_OURS = ("127.0.0.1", "localhost")
_NO_HOST = ("data", "blob", "about")


class Watch:
    """One per test, over all of its browsers."""

    def __init__(self) -> None:
        self.complaints: list[str] = []
        self._expected: list[str] = []
        self._hosts: set[str] = set(_OURS)

    def expect(self, text: str) -> None:
        """What the console says with this text in it is no complaint."""
        self._expected.append(text)

    def allow(self, *hosts: str) -> None:
        self._hosts.update(hosts)

    def over(self, context: BrowserContext) -> None:
        """Watch every page of this context, popups and frames included."""
        context.add_init_script(_REPORTS)
        context.on("console", self._heard)
        context.on("weberror", self._failed)
        context.on("dialog", self._asked)
        context.on("request", self._requested)
        context.on("response", self._answered)

    def _heard(self, message: ConsoleMessage) -> None:
        foreseen = any(text in message.text for text in self._expected)
        if message.type in ("error", "warning") and not foreseen:
            self.complaints.append(f"{message.text} at {message.location.get('url')}")

    def _failed(self, error: WebError) -> None:
        self.complaints.append(f"a script failed: {error.error}")

    def _asked(self, dialog: Dialog) -> None:
        self.complaints.append(f"a dialog: {dialog.type} {dialog.message!r}")
        dialog.dismiss()

    def _requested(self, request: Request) -> None:
        to = urlsplit(request.url)
        if to.scheme not in _NO_HOST and to.hostname not in self._hosts:
            self.complaints.append(f"a request to another host: {request.url}")

    def _answered(self, response: Response) -> None:
        if response.status >= 500:
            self.complaints.append(f"{response.status} {response.url}")
