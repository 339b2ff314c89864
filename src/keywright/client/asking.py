"""One question to the server, and which of three things came of it: a verdict, silence, or "not so fast".

The three lead to different ends, so they are different types. Only what is plainly the license server's own
answer to this very question counts as one: the page of a hotel's network, a proxy's error or an answer from
a cache do not.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from . import strict_json
from .machine import Machine
from .wire import Answer, Away, Wire, seconds_of

CALLS = "/api/license/"

_VERDICTS = {200, 403, 404, 409}
_CODE = re.compile(r"[A-Z][A-Z0-9_]{1,60}")
_UNKNOWN_WAIT = 30  # seconds to wait after a 429 that does not say how long


@dataclass(frozen=True)
class Said:
    """The server's verdict on this question."""

    valid: bool
    code: str
    members: Mapping[str, Any]
    status: int

    @property
    def lease(self) -> str:
        """The lease as it came, not verified; empty for none."""
        found = self.members.get("lease")
        return found if isinstance(found, str) else ""

    @property
    def license(self) -> Mapping[str, Any]:
        found = self.members.get("license")
        return found if isinstance(found, dict) else {}

    def text(self, name: str) -> str:
        """A member that is text, else nothing."""
        found = self.members.get(name)
        return found if isinstance(found, str) else ""


@dataclass(frozen=True)
class Silence:
    """No verdict. `problem` is the server's code when it did not take the question as it was."""

    why: str
    retry_after: int | None = None
    problem: str = ""


@dataclass(frozen=True)
class Throttled:
    """The server is there and asks for a pause. Not a word about the license."""

    retry_after: int


def question(key: str, product: str, machine: Machine, **more: str | int | None) -> dict[str, Any]:
    """What every call sends."""
    asked: dict[str, Any] = {
        "key": key,
        "fingerprint": machine.fingerprint,
        "product": product,
        "nonce": secrets.token_urlsafe(18),
    }
    if machine.signals:
        asked["signals"] = dict(machine.signals)
    return {**asked, **{name: value for name, value in more.items() if value is not None}}


def ask(wire: Wire, call: str, asked: Mapping[str, Any], now: float) -> Said | Silence | Throttled:
    """Send a question. Never raises."""
    try:
        answer = wire.post(CALLS + call, json.dumps(asked).encode())
    except Away as away:
        return Silence(str(away))
    return understood(answer, str(asked["nonce"]), now)


def understood(answer: Answer, nonce: str, now: float) -> Said | Silence | Throttled:
    """Which of the three an answer is."""
    wait = seconds_of(answer.headers.get("retry-after"), now)
    if answer.status == 429:
        return Throttled(_UNKNOWN_WAIT if wait is None else wait)
    members = object_in(answer.body)
    code = members.get("code")
    if not isinstance(code, str) or _CODE.fullmatch(code) is None:
        return Silence(f"status {answer.status}", wait)
    valid = members.get("valid")
    if answer.status in _VERDICTS and isinstance(valid, bool) and members.get("nonce") == nonce:
        return Said(valid, code, members, answer.status)
    return Silence(f"status {answer.status}", wait, code if 400 <= answer.status < 500 else "")


def object_in(body: bytes) -> dict[str, Any]:
    """A JSON object; empty for anything else."""
    try:
        found = strict_json.loads(body)
    except strict_json.NotJSON:
        return {}
    return found if isinstance(found, dict) else {}


def seconds(text: Any) -> int | None:
    """An RFC 3339 time of the server as unix seconds; None for anything else."""
    if not isinstance(text, str):
        return None
    try:
        found = datetime.fromisoformat(text.replace("Z", "+00:00"))
        return int(found.timestamp()) if found.tzinfo is not None else None
    except (ValueError, OverflowError):
        return None
