"""The demo's visits to shops that sell through Paystack and PayPal, whose events prove nothing."""

from __future__ import annotations

import httpx

from keywright.cli.demo_visit import Json, Step, Visit, hold, until

_PAYS = "4084084084084081"
_DECLINES = "4084080000005408"


class _Elsewhere(Visit):
    """What both visits have in common: a subscription that begins, renews, and is changed from our side."""

    provider: str

    def buy(self, plan: str, quantity: int) -> None:
        self.checkout = self.open(plan, quantity, provider=self.provider)
        self.agree()
        (sold,) = self.claimed()
        self.key, self.license = sold["key"], sold["id"]
        self.becomes("VALID")

    def agree(self) -> None:
        """What the buyer does on the provider's page."""
        raise TypeError("each provider has a page of its own")

    def renews(self) -> str:
        before = self.verdict()["license"]["entitled_until"]
        self.turn(32)
        after: str = until(
            lambda: (end := self.verdict()["license"]["entitled_until"]) > before and end, "a later end"
        )
        self.becomes("VALID")
        return f"{before[:10]} -> {after[:10]}"

    def refund(self) -> str:
        self.act("refund")
        self.becomes("REVOKED")
        return "REVOKED"


class AtPaystack(_Elsewhere):
    """A firm that sells in Lagos."""

    provider = "paystack"

    def steps(self) -> list[Step]:
        """What happens, in order."""
        return [
            ("Paystack: a license for ever is paid in naira", self.buy_once),
            ("Paystack: the buyer closes the browser and no webhook comes: asking is enough", self.verify),
            ("Paystack: a refund turns a license off", self.refund),
            ("Paystack: a subscription begins", self.subscribe),
            ("Paystack: a month passes and it renews", self.renews),
            ("Paystack: the card is refused: grace", self.fail_payment),
        ]

    def agree(self) -> None:
        self.sandbox("POST", "paystack/pay", {"reference": self.checkout["reference"], "card": _PAYS})

    def buy_once(self) -> str:
        self.checkout = self.open("dashcaddy/lifetime", 1, provider=self.provider)
        self.sandbox("POST", "paystack/pay", {"reference": self.checkout["reference"], "card": _DECLINES})
        self.idle()
        hold(self.status() != "paid", "a declined card sells nothing")
        self.buy("dashcaddy/lifetime", 1)
        return "declined first, then VALID for ever"

    def verify(self) -> str:
        self.sandbox("POST", "switches", {"loss": 1})
        try:
            self.checkout = self.open("dashcaddy/lifetime", 1, provider=self.provider)
            self.agree()
            path = f"/api/checkout/session/{self.checkout['reference']}/verify"
            hold(self.server.post(path).json()["status"] == "paid", "a paid checkout")
        finally:
            self.sandbox("POST", "switches", {"loss": 0})
        (sold,) = self.claimed()
        self.key, self.license = sold["key"], sold["id"]
        self.becomes("VALID")
        return "VALID without a webhook"

    def subscribe(self) -> str:
        self.buy("dashcaddy/pro", 1)
        return f"VALID until {self.verdict()['license']['entitled_until'][:10]}"

    def fail_payment(self) -> str:
        environment = self.stage.environment
        key = {"Authorization": f"Bearer {environment['PAYSTACK_SECRET_KEY']}"}
        answer = httpx.get(f"{environment['PAYSTACK_API_BASE']}/subscription", headers=key, timeout=20)
        customer = answer.raise_for_status().json()["data"][0]["customer"]["customer_code"]
        self.sandbox("POST", f"paystack/customers/{customer}/card", {"behavior": "declines"})
        self.turn(32)
        verdict = self.becomes("GRACE")
        return f"GRACE until {verdict['license']['grace_until'][:10]}"


class AtPayPal(_Elsewhere):
    """A shop whose buyers have PayPal."""

    provider = "paypal"

    def steps(self) -> list[Step]:
        """What happens, in order."""
        return [
            ("PayPal: a subscription with three seats is agreed to", self.subscribe),
            ("PayPal: a month passes and it renews", self.renews),
            ("PayPal: it is cancelled, and the paid time stays", self.cancel),
            ("PayPal: a license for ever is bought", self.buy_once),
            ("PayPal: its refund turns it off", self.refund),
        ]

    def agree(self) -> None:
        self.sandbox("POST", "paypal/approve", {"id": self.checkout["url"].rsplit("/", 1)[-1]})

    def subscribe(self) -> str:
        self.buy("dashcaddy/pro", 3)
        seats = self.verdict()["license"]["seats"]
        hold(seats == 3, f"3 seats, not {seats}")
        return "VALID, 3 seats"

    def cancel(self) -> str:
        self.act("cancel")
        until(lambda: self.verdict()["license"]["grace_until"] == self._end(), "no grace after the paid time")
        self.becomes("VALID")
        end = self._end()
        self.turn(32)
        self.becomes("EXPIRED")
        return f"VALID until {end[:10]}, then EXPIRED"

    def _end(self) -> str:
        license_: Json = self.verdict()["license"]
        return str(license_["entitled_until"])

    def buy_once(self) -> str:
        self.buy("dashcaddy/lifetime", 1)
        return "VALID, does not expire"
