"""`demo --once`: the straight line, one printed line a step, over real HTTP. Any step that fails ends it."""

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

_PATIENCE = 15.0
_DAY = 86400
Json = dict[str, Any]


def walk(stage: Stage) -> None:
    """Run every step. Raises DemoFailed at the first that does not hold."""
    started = time.monotonic()
    with httpx.Client(base_url=stage.url, timeout=20) as server:
        _Walk(stage, server).run()
    print(f"\nEvery step held, in {time.monotonic() - started:.1f} s.")


class _Walk:
    def __init__(self, stage: Stage, server: httpx.Client) -> None:
        self.stage = stage
        self.server = server
        self.number = 0
        self.key = ""
        self.checkout: Json = {}
        # A folder that is used again holds those of earlier runs.
        self.earlier = self._licenses()

    def run(self) -> None:
        steps: list[tuple[str, Callable[[], str]]] = [
            ("the shop offers its plans", self.plans),
            ("a buyer goes to the checkout", self.open_checkout),
            ("a card without money is declined, and nothing is sold", self.decline),
            ("the buyer pays, the signed webhook arrives, a license exists", self.pay),
            ("the key is in the mail", self.mail),
            ("the program activates on as many machines as there are seats", self.activate),
            ("the program asks whether it may run", self.validate),
            ("its lease is verified offline, with the public keys alone", self.verify_offline),
            ("the same webhook again changes nothing", self.redeliver),
            ("two more seats are bought, and a machine more fits", self.seats),
            ("a month passes and the subscription renews", self.renew),
            ("the next payment fails: the license runs in its grace period", self.fail_payment),
            ("the payment is made up for", self.recover),
            ("the payment is refunded: the license is turned off", self.refund),
            ("a license for ever is paid with 3-D Secure", self.buy_once),
            ("its refund turns it off too", self.refund_once),
            ("three keys are bought at once", self.buy_keys),
            ("one license explains itself", self.explain),
        ]
        for title, step in steps:
            self.number += 1
            try:
                found = step()
            except DemoFailed as error:
                print(f"{self.number:3}  FAILED  {title}: {error.detail}", flush=True)
                raise DemoFailed(f"Step {self.number} did not hold: {title}.") from None
            except (httpx.HTTPError, KeyError, ValueError) as error:
                print(f"{self.number:3}  FAILED  {title}: {error!r}", flush=True)
                raise DemoFailed(f"Step {self.number} did not hold: {title}.") from None
            print(f"{self.number:3}  ok  {title}: {found}", flush=True)

    # -- buying -------------------------------------------------------------------------------------

    def plans(self) -> str:
        page = self.server.get("/")
        _hold(page.status_code == 200 and "DashCaddy" in page.text, "the storefront shows the product")
        plans = self.server.get("/api/public/plans").json()
        text = str(plans)
        _hold(all(name in text for name in ("pro", "team", "lifetime")), f"three plans, not {plans}")
        return "pro, team, lifetime"

    def open_checkout(self) -> str:
        self.checkout = self._checkout("dashcaddy/pro", 2)
        _hold(self._status() == "open", "a new checkout is open")
        return str(self.checkout["reference"])

    def decline(self) -> str:
        answer = self._pay("4000000000009995")
        _hold(answer["status"] == "declined", f"a refusal of the card, not {answer['status']}")
        _hold(self._status() == "open", "the checkout is still open")
        _hold(self._licenses() == self.earlier, "no new license")
        return f"{answer['decline_code']}, checkout still open, no license"

    def pay(self) -> str:
        answer = self._pay("4242424242424242")
        _hold(answer["payment_status"] == "paid", f"a payment, not {answer}")
        sold = self._claimed()
        _hold(len(sold) == 1 and sold[0]["seats"] == 2, f"one license with 2 seats, not {sold}")
        self.key = sold[0]["key"]
        deliveries = self._sandbox("GET", "deliveries")["deliveries"]
        _hold(bool(deliveries), "signed webhooks were delivered")
        return f"{self.key[:8]}…, 2 seats, {len(deliveries)} webhooks"

    def mail(self) -> str:
        folder = self.stage.data_dir / "outbox"
        found = _until(
            lambda: [m for m in sorted(folder.glob("*.eml")) if self.key in _text_of(m.read_bytes())],
            "a mail with the key",
        )
        message = email.message_from_bytes(found[0].read_bytes(), policy=email.policy.default)
        return f"to {message['To']}: {message['Subject']}"

    # -- licensing ----------------------------------------------------------------------------------

    def activate(self) -> str:
        codes = [self._license("activate", f"machine-{n}-of-the-demo") for n in (1, 2, 3, 1)]
        seen = [(answer.status_code, answer.json()["code"]) for answer in codes]
        wanted = [(200, "VALID"), (200, "VALID"), (409, "TOO_MANY_ACTIVATIONS"), (200, "VALID")]
        _hold(seen == wanted, f"{wanted}, not {seen}")
        return "two machines admitted, the third refused, the first again welcome"

    def validate(self) -> str:
        verdict = self._license("validate", "machine-1-of-the-demo").json()
        _hold(verdict["code"] == "VALID" and verdict["valid"] is True, f"VALID, not {verdict['code']}")
        _hold(bool(verdict["lease"]), "a lease")
        strange = self._license("validate", "machine-9-of-the-demo").json()
        _hold(strange["code"] == "NOT_ACTIVATED", f"NOT_ACTIVATED elsewhere, not {strange['code']}")
        return f"VALID until {verdict['license']['entitled_until']}; another machine is NOT_ACTIVATED"

    def verify_offline(self) -> str:
        lease = self._license("validate", "machine-1-of-the-demo").json()["lease"]
        good = self._command("verify", lease)
        _hold(good.returncode == 0, f"the lease verifies: {good.stderr.strip()}")
        head, body, signature = lease.split(".")
        forged = f"{head}.{body}.{'A' if signature[0] != 'A' else 'B'}{signature[1:]}"
        bad = self._command("verify", forged)
        _hold(bad.returncode == 1, "a forged lease is refused")
        return "good as issued, refused with one character changed"

    # -- the life of a subscription -----------------------------------------------------------------

    def redeliver(self) -> str:
        before = self._licenses()
        self._sandbox("POST", "redeliver", {})
        self._idle()
        _hold(self._licenses() == before, "the same licenses as before")
        return f"still {len(before) - len(self.earlier)} license"

    def seats(self) -> str:
        subscription = self._subscription()
        item = subscription["items"]["data"][0]
        form = {"items[0][id]": item["id"], "items[0][quantity]": "4"}
        self._stripe("POST", f"subscriptions/{subscription['id']}", form)
        _until(lambda: self._verdict()["license"]["seats"] == 4, "4 seats")
        third = self._license("activate", "machine-3-of-the-demo")
        _hold(third.status_code == 200, f"the third machine fits, not {third.text[:200]}")
        return "4 seats, machine 3 admitted"

    def renew(self) -> str:
        before = self._verdict()["license"]["entitled_until"]
        self._turn(32)
        after = _until(
            lambda: (end := self._verdict()["license"]["entitled_until"]) > before and end, "a later end"
        )
        _hold(self._verdict()["code"] == "VALID", "VALID after the renewal")
        return f"{before[:10]} -> {after[:10]}"

    def fail_payment(self) -> str:
        customer = self._subscription()["customer"]
        self._sandbox("POST", f"stripe/customers/{customer}/card", {"behavior": "declines"})
        self._turn(31)
        code = _until(lambda: (c := self._verdict()["code"]) == "GRACE" and c, "GRACE")
        verdict = self._verdict()
        _hold(
            verdict["valid"] is True and verdict["next_action"] == "renew", "valid, with the advice to renew"
        )
        return f"{code} until {verdict['license']['grace_until'][:10]}"

    def recover(self) -> str:
        customer = self._subscription()["customer"]
        self._sandbox("POST", f"stripe/customers/{customer}/card", {"behavior": "pays"})
        invoices = self._stripe("GET", "invoices?status=open&limit=10")["data"]
        _hold(bool(invoices), "an open invoice")
        self._sandbox("POST", f"stripe/invoices/{invoices[0]['id']}/retry", {})
        _until(lambda: self._verdict()["code"] == "VALID", "VALID")
        return "VALID again"

    def refund(self) -> str:
        self._refund_newest()
        _until(lambda: self._verdict()["code"] == "REVOKED", "REVOKED")
        again = self._license("activate", "machine-4-of-the-demo")
        _hold(again.status_code == 403, f"403 for a new machine, not {again.status_code}")
        return "REVOKED, and no machine is admitted"

    # -- other plans --------------------------------------------------------------------------------

    def buy_once(self) -> str:
        self.checkout = self._checkout("dashcaddy/lifetime", 1)
        answer = self._pay("4000002500003155", authenticate=True)
        _hold(answer["payment_status"] == "paid", f"a payment after authentication, not {answer}")
        self.key = self._claimed()[0]["key"]
        verdict = self._verdict()
        _hold(verdict["code"] == "VALID", f"VALID, not {verdict['code']}")
        _hold(verdict["license"]["entitled_until"] is None, "no end")
        return "VALID, does not expire"

    def refund_once(self) -> str:
        self._refund_newest()
        _until(lambda: self._verdict()["code"] == "REVOKED", "REVOKED")
        return "REVOKED"

    def buy_keys(self) -> str:
        self.checkout = self._checkout("dashcaddy/team", 3)
        _hold(self._pay("4242424242424242")["payment_status"] == "paid", "a payment")
        keys = {sold["key"] for sold in self._claimed()}
        _hold(len(keys) == 3, f"three different keys, not {len(keys)}")
        return "three keys"

    def explain(self) -> str:
        done = self._command("license", "explain", self.key)
        _hold(done.returncode == 0, f"`license explain` answers: {done.stderr.strip()}")
        _hold("license.issued" in done.stdout and "license.refunded" in done.stdout, "its story")
        return f"{len(done.stdout.strip().splitlines())} lines of timeline"

    # -- ways to ask --------------------------------------------------------------------------------

    def _checkout(self, plan: str, quantity: int) -> Json:
        body = {"plan": plan, "quantity": quantity, "email": "buyer@example.com"}
        answer = self.server.post("/api/checkout/session", json=body)
        _hold(answer.status_code == 201, f"201 for a checkout, not {answer.status_code} {answer.text[:200]}")
        made: Json = answer.json()
        _hold(made["url"].startswith(self.stage.sandbox_url), "the buyer is sent to the provider")
        return made

    def _pay(self, card: str, *, authenticate: bool = False) -> Json:
        session = self.checkout["url"].rstrip("/").split("/")[-1].split("?")[0].split("#")[0]
        body = {"session": session, "card": card, "email": "buyer@example.com", "name": "A Buyer"}
        if authenticate:
            body["authenticate"] = True
        return self._sandbox("POST", "stripe/pay", body)

    def _status(self) -> str:
        return str(self.server.get(f"/api/checkout/session/{self.checkout['reference']}").json()["status"])

    def _claimed(self) -> list[Json]:
        """The licenses of this checkout, once the webhook has arrived."""
        headers = {"Authorization": f"Claim {self.checkout['claim_token']}"}
        path = f"/api/checkout/session/{self.checkout['reference']}"
        found: list[Json] = _until(
            lambda: (
                (answer := self.server.get(path, headers=headers).json())["status"] == "paid"
                and answer["licenses"]
            ),
            "a paid checkout with its licenses",
        )
        return found

    def _license(self, call: str, fingerprint: str) -> httpx.Response:
        body = {"key": self.key, "fingerprint": fingerprint, "product": "dashcaddy"}
        return self.server.post(f"/api/license/{call}", json=body)

    def _verdict(self) -> Json:
        answer: Json = self.server.post("/api/license/validate", json={"key": self.key}).json()
        return answer

    def _licenses(self) -> list[str]:
        headers = {"Authorization": f"Bearer {self.stage.token}"}
        answer = self.server.get("/api/admin/licenses", headers=headers)
        return sorted(item["id"] for item in answer.raise_for_status().json()["items"])

    def _sandbox(self, method: str, path: str, body: Json | None = None) -> Json:
        url = f"{self.stage.sandbox_url}/_sandbox/{path}"
        answer: Json = httpx.request(method, url, json=body, timeout=60).raise_for_status().json()
        return answer

    def _stripe(self, method: str, path: str, form: dict[str, str] | None = None) -> Json:
        headers = {"Authorization": f"Bearer {self.stage.sandbox_key}"}
        url = f"{self.stage.sandbox_url}/v1/{path}"
        answer: Json = (
            httpx.request(method, url, data=form, headers=headers, timeout=20).raise_for_status().json()
        )
        return answer

    def _subscription(self) -> Json:
        found: Json = self._stripe("GET", "subscriptions?limit=1")["data"][0]
        return found

    def _refund_newest(self) -> None:
        intents = self._stripe("GET", "payment_intents?limit=10")["data"]
        paid = [intent for intent in intents if intent["status"] == "succeeded"]
        self._stripe("POST", "refunds", {"payment_intent": paid[0]["id"]})

    def _turn(self, days: int) -> None:
        self._sandbox("POST", "clock/advance", {"seconds": days * _DAY})
        self._idle()

    def _idle(self) -> None:
        _until(lambda: self._sandbox("GET", "deliveries")["idle"], "all webhooks delivered")

    def _command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "keywright.cli.main", *arguments],
            env=self.stage.environment,
            capture_output=True,
            text=True,
            timeout=60,
            cwd=self.stage.data_dir,
            check=False,
        )


def _hold(condition: bool, wanted: str) -> None:
    if not condition:
        raise DemoFailed(f"expected {wanted}")


def _until(look: Callable[[], Any], wanted: str) -> Any:
    """Look until it is there. What comes by webhook or mail is a moment away."""
    until = time.monotonic() + _PATIENCE
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > until:
            raise DemoFailed(f"expected {wanted} within {_PATIENCE:.0f} s")
        time.sleep(0.05)


def _text_of(raw: bytes) -> str:
    message = email.message_from_bytes(raw, policy=email.policy.default)
    part = message.get_body(("plain",))
    return str(part.get_content()) if part is not None else ""
