"""The demo's visit to a shop that sells through Stripe: the whole life of a license."""

from __future__ import annotations

import email
import email.policy

import httpx

from keywright.cli.demo import Stage
from keywright.cli.demo_visit import Json, Step, Visit, hold, text_of, until


class AtStripe(Visit):
    """Buys a subscription, a license for ever and three keys."""

    def __init__(self, stage: Stage, server: httpx.Client) -> None:
        super().__init__(stage, server)
        # A folder that is used again holds those of earlier runs.
        self.earlier = self.licenses()

    def steps(self) -> list[Step]:
        """What happens, in order."""
        return [
            ("the shop offers its plans", self.plans),
            ("a buyer goes to the checkout", self.open_checkout),
            ("a card without money is declined, and nothing is sold", self.decline),
            ("the buyer pays, the signed webhook arrives, a license exists", self.pay),
            ("the key is in the mail", self.mail),
            ("the program activates on as many machines as there are seats", self.activate),
            ("the program asks whether it may run", self.validate),
            ("its lease is verified offline, with the public keys alone", self.verify_offline),
            ("a license file for a machine without network verifies, too", self.carry_along),
            ("the same webhooks again change nothing", self.redeliver),
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

    # -- buying -------------------------------------------------------------------------------------

    def plans(self) -> str:
        page = self.server.get("/")
        hold(page.status_code == 200 and "DashCaddy" in page.text, "the storefront shows the product")
        plans = self.server.get("/api/public/plans").json()
        text = str(plans)
        hold(all(name in text for name in ("pro", "team", "lifetime")), f"three plans, not {plans}")
        return "pro, team, lifetime"

    def open_checkout(self) -> str:
        self.checkout = self.open("dashcaddy/pro", 2)
        hold(self.status() == "open", "a new checkout is open")
        return str(self.checkout["reference"])

    def decline(self) -> str:
        answer = self._pay("4000000000009995")
        hold(answer["status"] == "declined", f"a refusal of the card, not {answer['status']}")
        hold(self.status() == "open", "the checkout is still open")
        hold(self.licenses() == self.earlier, "no new license")
        return f"{answer['decline_code']}, checkout still open, no license"

    def pay(self) -> str:
        answer = self._pay("4242424242424242")
        hold(answer["payment_status"] == "paid", f"a payment, not {answer}")
        sold = self.claimed()
        hold(len(sold) == 1 and sold[0]["seats"] == 2, f"one license with 2 seats, not {sold}")
        self.key = sold[0]["key"]
        deliveries = self.sandbox("GET", "deliveries")["deliveries"]
        hold(bool(deliveries), "signed webhooks were delivered")
        return f"{self.key[:8]}…, 2 seats, {len(deliveries)} webhooks"

    def mail(self) -> str:
        folder = self.stage.data_dir / "outbox"
        found = until(
            lambda: [m for m in sorted(folder.glob("*.eml")) if self.key in text_of(m.read_bytes())],
            "a mail with the key",
        )
        message = email.message_from_bytes(found[0].read_bytes(), policy=email.policy.default)
        return f"to {message['To']}: {message['Subject']}"

    # -- licensing ----------------------------------------------------------------------------------

    def activate(self) -> str:
        codes = [self.ask("activate", f"machine-{n}-of-the-demo") for n in (1, 2, 3, 1)]
        seen = [(answer.status_code, answer.json()["code"]) for answer in codes]
        wanted = [(200, "VALID"), (200, "VALID"), (409, "TOO_MANY_ACTIVATIONS"), (200, "VALID")]
        hold(seen == wanted, f"{wanted}, not {seen}")
        return "two machines admitted, the third refused, the first again welcome"

    def validate(self) -> str:
        verdict = self.ask("validate", "machine-1-of-the-demo").json()
        hold(verdict["code"] == "VALID" and verdict["valid"] is True, f"VALID, not {verdict['code']}")
        hold(bool(verdict["lease"]), "a lease")
        strange = self.ask("validate", "machine-9-of-the-demo").json()
        hold(strange["code"] == "NOT_ACTIVATED", f"NOT_ACTIVATED elsewhere, not {strange['code']}")
        return f"VALID until {verdict['license']['entitled_until']}; another machine is NOT_ACTIVATED"

    def verify_offline(self) -> str:
        lease = self.ask("validate", "machine-1-of-the-demo").json()["lease"]
        good = self.command("verify", lease)
        hold(good.returncode == 0, f"the lease verifies: {good.stderr.strip()}")
        head, body, signature = lease.split(".")
        forged = f"{head}.{body}.{'A' if signature[0] != 'A' else 'B'}{signature[1:]}"
        bad = self.command("verify", forged)
        hold(bad.returncode == 1, "a forged lease is refused")
        return "good as issued, refused with one character changed"

    def carry_along(self) -> str:
        made = self.ask("file", "machine-1-of-the-demo")
        hold(made.status_code == 200, f"200 for a license file, not {made.status_code} {made.text[:200]}")
        path = self.stage.data_dir / "machine-1.license"
        path.write_text(made.json()["file"])
        good = self.command("verify", str(path), "--fingerprint", "machine-1-of-the-demo")
        hold(good.returncode == 0, f"the file verifies: {good.stderr.strip()}")
        bad = self.command("verify", str(path), "--fingerprint", "machine-2-of-the-demo")
        hold(bad.returncode == 1, "the file is refused on another machine")
        strange = self.ask("file", "machine-9-of-the-demo")
        seen = (strange.status_code, strange.json()["code"])
        hold(seen == (403, "NOT_ACTIVATED"), f"no file for a machine that is not activated, not {seen}")
        return f"{len(made.json()['file'])} bytes, until {made.json()['expires_at']}, on that machine alone"

    # -- the life of a subscription -----------------------------------------------------------------

    def redeliver(self) -> str:
        before = self.licenses()
        events = sorted({one["event"] for one in self.sandbox("GET", "deliveries")["deliveries"]})
        for event in events:
            self.sandbox("POST", "redeliver", {"event": event})
        self.idle()
        hold(self.licenses() == before, "the same licenses as before")
        return f"{len(events)} sent again, still {len(before) - len(self.earlier)} license"

    def seats(self) -> str:
        subscription = self._subscription()
        item = subscription["items"]["data"][0]
        form = {"items[0][id]": item["id"], "items[0][quantity]": "4"}
        self._stripe("POST", f"subscriptions/{subscription['id']}", form)
        until(lambda: self.verdict()["license"]["seats"] == 4, "4 seats")
        third = self.ask("activate", "machine-3-of-the-demo")
        hold(third.status_code == 200, f"the third machine fits, not {third.text[:200]}")
        return "4 seats, machine 3 admitted"

    def renew(self) -> str:
        before = self.verdict()["license"]["entitled_until"]
        self.turn(32)
        after = until(
            lambda: (end := self.verdict()["license"]["entitled_until"]) > before and end, "a later end"
        )
        hold(self.verdict()["code"] == "VALID", "VALID after the renewal")
        return f"{before[:10]} -> {after[:10]}"

    def fail_payment(self) -> str:
        customer = self._subscription()["customer"]
        self.sandbox("POST", f"stripe/customers/{customer}/card", {"behavior": "declines"})
        self.turn(31)
        code = until(lambda: (c := self.verdict()["code"]) == "GRACE" and c, "GRACE")
        verdict = self.verdict()
        hold(
            verdict["valid"] is True and verdict["next_action"] == "renew", "valid, with the advice to renew"
        )
        return f"{code} until {verdict['license']['grace_until'][:10]}"

    def recover(self) -> str:
        customer = self._subscription()["customer"]
        self.sandbox("POST", f"stripe/customers/{customer}/card", {"behavior": "pays"})
        invoices = self._stripe("GET", "invoices?status=open&limit=10")["data"]
        hold(bool(invoices), "an open invoice")
        self.sandbox("POST", f"stripe/invoices/{invoices[0]['id']}/retry", {})
        until(lambda: self.verdict()["code"] == "VALID", "VALID")
        return "VALID again"

    def refund(self) -> str:
        self._refund_newest()
        until(lambda: self.verdict()["code"] == "REVOKED", "REVOKED")
        again = self.ask("activate", "machine-4-of-the-demo")
        hold(again.status_code == 403, f"403 for a new machine, not {again.status_code}")
        return "REVOKED, and no machine is admitted"

    # -- other plans --------------------------------------------------------------------------------

    def buy_once(self) -> str:
        self.checkout = self.open("dashcaddy/lifetime", 1)
        answer = self._pay("4000002500003155", authenticate=True)
        hold(answer["payment_status"] == "paid", f"a payment after authentication, not {answer}")
        self.key = self.claimed()[0]["key"]
        verdict = self.verdict()
        hold(verdict["code"] == "VALID", f"VALID, not {verdict['code']}")
        hold(verdict["license"]["entitled_until"] is None, "no end")
        return "VALID, does not expire"

    def refund_once(self) -> str:
        self._refund_newest()
        until(lambda: self.verdict()["code"] == "REVOKED", "REVOKED")
        return "REVOKED"

    def buy_keys(self) -> str:
        self.checkout = self.open("dashcaddy/team", 3)
        hold(self._pay("4242424242424242")["payment_status"] == "paid", "a payment")
        keys = {sold["key"] for sold in self.claimed()}
        hold(len(keys) == 3, f"three different keys, not {len(keys)}")
        return "three keys"

    def explain(self) -> str:
        done = self.command("license", "explain", self.key)
        hold(done.returncode == 0, f"`license explain` answers: {done.stderr.strip()}")
        hold("license.issued" in done.stdout and "license.refunded" in done.stdout, "its story")
        return f"{len(done.stdout.strip().splitlines())} lines of timeline"

    # -- Stripe's own -------------------------------------------------------------------------------

    def _pay(self, card: str, *, authenticate: bool = False) -> Json:
        session = self.checkout["url"].rstrip("/").split("/")[-1].split("?")[0].split("#")[0]
        body = {"session": session, "card": card, "email": "buyer@example.com", "name": "A Buyer"}
        if authenticate:
            body["authenticate"] = True
        return self.sandbox("POST", "stripe/pay", body)

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
