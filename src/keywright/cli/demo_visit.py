"""How the walk through the demo asks: server, sandbox and commands, as buyers, programs and sellers do."""

from __future__ import annotations

import email
import email.policy
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import httpx

from keywright.cli.demo import DemoFailed, Stage

PATIENCE = 15.0
DAY = 86400
Json = dict[str, Any]
Step = tuple[str, Callable[[], str]]


class Visit:
    """A buyer's visit to the shop: one checkout, one key, and whoever looks after them."""

    def __init__(self, stage: Stage, server: httpx.Client) -> None:
        self.stage = stage
        self.server = server
        self.key = ""
        self.license = ""
        self.checkout: Json = {}

    def open(self, plan: str, quantity: int, provider: str = "stripe") -> Json:
        price = "once" if plan == "dashcaddy/lifetime" else "monthly"
        body = {"plan": plan, "quantity": quantity, "provider": provider, "price": price}
        body["email"] = "buyer@example.com"
        answer = self.server.post("/api/checkout/session", json=body)
        hold(answer.status_code == 201, f"201 for a checkout, not {answer.status_code} {answer.text[:200]}")
        made: Json = answer.json()
        hold(made["url"].startswith(self.stage.sandbox_url), "the buyer is sent to the provider")
        return made

    def status(self) -> str:
        return str(self.server.get(f"/api/checkout/session/{self.checkout['reference']}").json()["status"])

    def claimed(self) -> list[Json]:
        """The licenses of this checkout, once the webhook has arrived."""
        headers = {"Authorization": f"Claim {self.checkout['claim_token']}"}
        path = f"/api/checkout/session/{self.checkout['reference']}"
        found: list[Json] = until(
            lambda: (
                (answer := self.server.get(path, headers=headers).json())["status"] == "paid"
                and answer["licenses"]
            ),
            "a paid checkout with its licenses",
        )
        return found

    def ask(self, call: str, fingerprint: str) -> httpx.Response:
        body = {"key": self.key, "fingerprint": fingerprint, "product": "dashcaddy"}
        return self.server.post(f"/api/license/{call}", json=body)

    def verdict(self) -> Json:
        answer: Json = self.server.post("/api/license/validate", json={"key": self.key}).json()
        return answer

    def becomes(self, code: str) -> Json:
        """The verdict, once it has this code."""
        until(lambda: self.verdict()["code"] == code, code)
        return self.verdict()

    def act(self, what: str) -> Json:
        """What staff do about the license of this visit."""
        path = f"/api/admin/licenses/{self.license}/{what}"
        headers = {"Authorization": f"Bearer {self.stage.token}"}
        answer = self.server.post(path, json={"reason": "demo"}, headers=headers)
        hold(answer.status_code == 200, f"200 for {what}, not {answer.status_code} {answer.text[:300]}")
        told: Json = answer.json()
        return told

    def licenses(self) -> list[str]:
        headers = {"Authorization": f"Bearer {self.stage.token}"}
        answer = self.server.get("/api/admin/licenses", headers=headers)
        return sorted(item["id"] for item in answer.raise_for_status().json()["items"])

    def sandbox(self, method: str, path: str, body: Json | None = None) -> Json:
        url = f"{self.stage.sandbox_url}/_sandbox/{path}"
        answer: Json = httpx.request(method, url, json=body, timeout=60).raise_for_status().json()
        return answer

    def turn(self, days: int) -> None:
        self.sandbox("POST", "clock/advance", {"seconds": days * DAY})
        self.idle()

    def idle(self) -> None:
        until(lambda: self.sandbox("GET", "deliveries")["idle"], "all webhooks delivered")

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "keywright.cli.main", *arguments],
            env=self.stage.environment,
            capture_output=True,
            text=True,
            timeout=60,
            cwd=self.stage.data_dir,
            check=False,
        )


def hold(condition: bool, wanted: str) -> None:
    if not condition:
        raise DemoFailed(f"expected {wanted}")


def until(look: Callable[[], Any], wanted: str) -> Any:
    """Look until it is there. What comes by webhook or mail is a moment away."""
    until = time.monotonic() + PATIENCE
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > until:
            raise DemoFailed(f"expected {wanted} within {PATIENCE:.0f} s")
        time.sleep(0.05)


def text_of(raw: bytes) -> str:
    message = email.message_from_bytes(raw, policy=email.policy.default)
    part = message.get_body(("plain",))
    return str(part.get_content()) if part is not None else ""
