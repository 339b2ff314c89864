"""Routes that are found before the framework: they answer like any other, also when they fail."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from litestar import asgi, get
from litestar.testing import TestClient

from keywright.domain.errors import TooMany
from keywright.web import wire
from keywright.web.straight import STRAIGHT, Application

_FAILURES: dict[str, Exception] = {
    "refused": TooMany("Too many.", retry_after=7),
    "away": sa.exc.OperationalError("SELECT 1", {}, Exception("gone")),
    "bug": ZeroDivisionError("secret detail"),
}


def _failing(name: str) -> Any:
    @asgi(f"/{name}", copy_scope=False, opt=STRAIGHT)
    async def fail(scope: Any, receive: Any, send: Any) -> None:
        async def handler(_scope: Any, _receive: Any) -> tuple[int, bytes]:
            raise _FAILURES[name]

        await wire.post(scope, receive, send, handler)

    return fail


@get("/framework", sync_to_thread=False)
def framework() -> dict[str, bool]:
    return {"ok": True}


@pytest.mark.parametrize(
    ("name", "status", "code", "wait"),
    [
        ("refused", 429, "TOO_MANY_REQUESTS", "7"),
        ("away", 503, "UNAVAILABLE", "5"),
        ("bug", 500, "INTERNAL", None),
    ],
)
def test_a_failure_leaves_as_a_problem(name: str, status: int, code: str, wait: str | None) -> None:
    app = Application(
        [*map(_failing, _FAILURES), framework], logging_config=None, base_url="https://licenses.example.com"
    )
    with TestClient(app) as client:
        answer = client.post(f"/{name}")
        assert (answer.status_code, answer.json()["code"]) == (status, code)
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers.get("retry-after") == wait
        assert "secret" not in answer.text


def test_the_rest_goes_to_the_framework() -> None:
    app = Application(
        [*map(_failing, _FAILURES), framework], logging_config=None, base_url="https://licenses.example.com"
    )
    with TestClient(app) as client:
        assert client.get("/framework").json() == {"ok": True}
        assert client.get("/nowhere").status_code == 404
        assert client.post("/bug/").status_code == 500  # the framework's own way to the same handler
