"""Who lives: one actor for each provider. Buys through the shop, does all else at the provider."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.e2e.server import wait_until

if TYPE_CHECKING:
    from tests.e2e.town import Town

Json = dict[str, Any]


class Actor:
    """What all have in common. `references` are of the purchases in order, `names` of whatever is its own."""

    provider = ""

    def __init__(self, town: Town, name: str) -> None:
        self.town = town
        self.email = f"{name}@lives.example"
        self.references: list[str] = []
        self.names = {self.email}
        self.bought: list[str] = []  # what a purchase is called at the provider

    def buy(self, plan: str, quantity: int = 1) -> None:
        wish: Json = {"plan": f"app/{plan}", "provider": self.provider, "email": self.email}
        if quantity > 1:
            wish["quantity"] = quantity
        # Each from an address of his own: one alone may not open so many checkouts in a minute.
        address = {"X-Forwarded-For": f"198.51.100.{sum(self.email.encode()) % 250}"}
        answer = self.town.shop.post("/api/checkout/session", json=wish, headers=address)
        assert answer.status_code == 201, answer.text
        opened = answer.json()
        self.references.append(opened["reference"])
        self.names.add(opened["reference"])
        self.bought.append(self._pay(opened))
        self.names.add(self.bought[-1])

    def _pay(self, opened: Json) -> str:
        """Pay a checkout. Returns what the purchase is called at the provider."""
        raise LookupError(f"nobody pays {opened['reference']}")


class AtStripe(Actor):
    provider = "stripe"

    def __init__(self, town: Town, name: str) -> None:
        super().__init__(town, name)
        self.customer = self.refunded = self.contested = ""

    def _pay(self, opened: Json) -> str:
        session = self._find("checkout.session", "client_reference_id", opened["reference"])["id"]
        paid = self.town.pull("stripe/pay", session=session, email=self.email)
        self.customer = paid["customer"] or self.customer
        self.names |= {session} | ({self.customer} if self.customer else set())
        return str(paid["subscription"] or paid["payment_intent"])

    def _find(self, kind: str, member: str, value: str) -> Json:
        return [one for one in self.town.sandbox.state.every(kind) if one[member] == value][-1]

    def _call(self, path: str, **params: str) -> Json:
        answer = self.town.api.post(f"/v1/{path}", data=params, auth=(self.town.stripe_key, ""))
        assert answer.status_code == 200, answer.text
        told: Json = answer.json()
        return told

    def _change(self, **item: str) -> None:
        id_ = self.bought[-1]
        held = self.town.sandbox.state.get("subscription", id_)["items"]["data"][0]["id"]
        params = {f"items[0][{name}]": value for name, value in {"id": held, **item}.items()}
        self._call(f"subscriptions/{id_}", **params)

    def seats(self, quantity: int) -> None:
        self._change(quantity=str(quantity))

    def upgrade(self, plan: str) -> None:
        self._change(price=self.town.prices["stripe", plan])

    def card(self, *, pays: bool) -> None:
        behavior = "pays" if pays else "declines"
        self.town.pull(f"stripe/customers/{self.customer}/card", behavior=behavior)
        state = self.town.sandbox.state
        mine = [one for one in state.every("invoice") if one["customer"] == self.customer]
        for invoice in mine if pays else ():
            if invoice["status"] == "open":
                self.town.pull(f"stripe/invoices/{invoice['id']}/retry")

    def cancel(self) -> None:
        self._call(f"subscriptions/{self.bought[-1]}", cancel_at_period_end="true")

    def resume(self) -> None:
        self._call(f"subscriptions/{self.bought[-1]}", cancel_at_period_end="false")

    def _charge(self, purchase: int = -1) -> Json:
        """The newest charge of a purchase."""
        state, name = self.town.sandbox.state, self.bought[purchase]
        if name.startswith("pi_"):
            return self._find("charge", "payment_intent", name)
        paid = [
            one["payment"]["payment_intent"]
            for one in state.every("invoice_payment")
            if _subscription_of(state.get("invoice", one["invoice"])) == name
        ]
        return self._find("charge", "payment_intent", paid[-1])

    def refund(self, share: float, *, purchase: int = -1, arrives: bool = True) -> None:
        del arrives  # it always looks as if it did, at first
        charge = self._charge(purchase)
        made = self._call("refunds", charge=charge["id"], amount=str(round(charge["amount"] * share)))
        self.refunded = made["id"]

    def fail_refund(self) -> None:
        self.town.pull(f"stripe/refunds/{self.refunded}/fail")

    def dispute(self) -> None:
        charge = self._charge()
        # The bank asks for what is left to the seller.
        left = charge["amount"] - charge["amount_refunded"]
        made = self.town.pull(f"stripe/charges/{charge['id']}/dispute", amount=left)
        self.contested = made["dispute"]

    def resolve(self, *, won: bool) -> None:
        self.town.pull(f"stripe/disputes/{self.contested}", status="won" if won else "lost")


def _subscription_of(invoice: Json) -> str | None:
    details = (invoice.get("parent") or {}).get("subscription_details") or {}
    found: str | None = details.get("subscription")
    return found


class AtPaystack(Actor):
    provider = "paystack"

    def __init__(self, town: Town, name: str) -> None:
        super().__init__(town, name)
        self.customer, self.refunded, self.contested = "", 0, 0

    def _pay(self, opened: Json) -> str:
        paid = self.town.pull("paystack/pay", reference=opened["reference"])
        self.customer = paid["customer"]
        self.names.add(self.customer)
        return str(opened["reference"])

    def _subscription(self) -> str:
        mine = [
            one
            for one in self.town.sandbox.paystack.state.every("subscription")
            if one["customer"]["customer_code"] == self.customer
        ]
        return str(mine[-1]["subscription_code"]) if mine else ""

    def card(self, *, pays: bool) -> None:
        behavior = "pays" if pays else "declines"
        self.town.pull(f"paystack/customers/{self.customer}/card", behavior=behavior)

    def _call(self, path: str, **body: Any) -> Json:
        key = {"Authorization": f"Bearer {self.town.sandbox.paystack.secret_key}"}
        answer = self.town.api.post(f"/paystack/{path}", json=body, headers=key)
        assert answer.status_code == 200, answer.text
        told: Json = answer.json()
        return told

    def cancel(self) -> None:
        # The subscription may begin a moment after its first payment.
        wait_until(self._subscription, 5, "a subscription")
        code = self._subscription()
        self._call(
            "subscription/disable", code=code, token=self.town.sandbox.paystack.state.email_tokens[code]
        )

    def _charge(self, purchase: int = -1) -> Json:
        """The newest charge of a purchase: its renewals have references of their own."""
        first = self.town.sandbox.paystack.state.get("transaction", self.bought[purchase])
        if purchase != -1 or len(self.bought) > 1 or first["plan"] is None:
            return first
        mine = [
            one
            for one in self.town.sandbox.paystack.state.every("transaction")
            if one["customer"]["customer_code"] == self.customer and one["status"] == "success"
        ]
        return mine[-1]

    def refund(self, share: float, *, purchase: int = -1, arrives: bool = True) -> None:
        charge = self._charge(purchase)
        self.town.pull("paystack/habits", refunds="processed" if arrives else "none")
        amount = round(charge["amount"] * share)
        self.refunded = self._call("refund", transaction=charge["reference"], amount=amount)["data"]["id"]

    def fail_refund(self) -> None:
        self.town.pull(f"paystack/refunds/{self.refunded}/settle", outcome="failed")

    def dispute(self) -> None:
        made = self.town.pull(f"paystack/transactions/{self._charge()['reference']}/dispute")
        self.contested = made["dispute"]

    def resolve(self, *, won: bool) -> None:
        resolution = "declined" if won else "merchant-accepted"
        self.town.pull(f"paystack/disputes/{self.contested}/resolve", resolution=resolution)


class AtPayPal(Actor):
    provider = "paypal"

    def __init__(self, town: Town, name: str) -> None:
        super().__init__(town, name)
        self.contested = ""

    def _pay(self, opened: Json) -> str:
        id_ = str(opened["url"]).rpartition("/")[2]
        self.town.pull("paypal/approve", id=id_, email=self.email)
        if not id_.startswith("I-"):
            # The buyer came back to the shop, and all that the shop heard after that was lost again.
            self.town.at_paypal(f"/v2/checkout/orders/{id_}/capture")
        return id_

    def _revise(self, **change: str) -> None:
        self.town.at_paypal(f"/v1/billing/subscriptions/{self.bought[-1]}/revise", **change)
        self.town.pull("paypal/approve", id=self.bought[-1], email=self.email)

    def seats(self, quantity: int) -> None:
        self._revise(quantity=str(quantity))

    def upgrade(self, plan: str) -> None:
        self._revise(plan_id=self.town.prices["paypal", plan])

    def card(self, *, pays: bool) -> None:
        self.town.pull(f"paypal/funding/{self.bought[-1]}", funding="pays" if pays else "declines")

    def cancel(self) -> None:
        self.town.at_paypal(f"/v1/billing/subscriptions/{self.bought[-1]}/cancel", reason="enough")

    def _charge(self, purchase: int = -1) -> tuple[str, str, float]:
        """Where a refund of the newest payment goes, its id, and its amount."""
        state, name = self.town.sandbox.paypal.state, self.bought[purchase]
        if name.startswith("I-"):
            sale = [one for one in state.every("sale") if one["billing_agreement_id"] == name][-1]
            return "/v1/payments/sale", str(sale["id"]), float(sale["amount"]["total"])
        capture = state.get("order", name)["purchase_units"][0]["payments"]["captures"][0]
        return "/v2/payments/captures", str(capture["id"]), float(capture["amount"]["value"])

    def refund(self, share: float, *, purchase: int = -1, arrives: bool = True) -> None:
        assert arrives
        path, id_, amount = self._charge(purchase)
        value, currency = f"{amount * share:.2f}", "USD"
        named = {"total": value, "currency": currency} if "sale" in path else None
        self.town.at_paypal(
            f"{path}/{id_}/refund", amount=named or {"value": value, "currency_code": currency}
        )

    def dispute(self) -> None:
        self.contested = self.town.pull("paypal/disputes", charge=self._charge()[1])["id"]

    def resolve(self, *, won: bool) -> None:
        outcome = "RESOLVED_SELLER_FAVOUR" if won else "RESOLVED_BUYER_FAVOUR"
        self.town.pull(f"paypal/disputes/{self.contested}/resolve", outcome=outcome)


ACTORS: dict[str, type[Actor]] = {"stripe": AtStripe, "paystack": AtPaystack, "paypal": AtPayPal}
