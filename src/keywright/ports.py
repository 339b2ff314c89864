"""What the flows need from the outside. Adapters are named in bootstrap.py and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any, Literal, Protocol

import msgspec
from sqlalchemy import Connection

from keywright.domain.facts import Projected, Reading, Refetch
from keywright.domain.fee import Fee
from keywright.domain.logo import Logo
from keywright.domain.look import PLAIN, Look
from keywright.domain.plan import NoticeKind
from keywright.domain.webhook import Outgoing, Received
from keywright.key_ports import RootKey as RootKey
from keywright.key_ports import Signer as Signer
from keywright.key_ports import TokenType as TokenType
from keywright.key_ports import Vault as Vault


class PaymentEvents(Protocol):
    """The inbound half of a provider. Pure, except for `obtain`: no clock, no network, no database."""

    def authenticate(
        self, raw: bytes, headers: Mapping[str, str], secrets: Sequence[str], now: datetime
    ) -> None:
        """Check the signature over the raw bytes. `headers` has lower-case names.

        Raises BadSignature; Unproven when the proof needs something that `obtain` gets.
        """
        ...

    def obtain(self, raw: bytes, headers: Mapping[str, str], now: datetime) -> None:
        """Get what `authenticate` lacked, over the network, and remember it. Called in a thread of its own.

        Raises BadSignature when it cannot be right, Unavailable when it cannot be had at the moment.
        """
        ...

    def project(self, raw: bytes, *, fetched: bool = False) -> Projected:
        """Reduce an authentic body to its allow-listed members. Raises Unreadable.

        `fetched`: we asked for it ourselves. Only such a body may be of a type that `PaymentApi` makes.
        """
        ...

    def read(self, projected: Projected) -> Reading:
        """The facts of a projection whose standing is `read`. Raises Unreadable."""
        ...


class CheckoutRequest(msgspec.Struct, frozen=True):
    """What a buyer is sent to the provider with. `email` only when the seller passed one on.

    `tenant`: the tenant that it is bought for, which is written to the subscription; `customer`: the one of
    the provider's customers that this tenant is.
    """

    reference: str
    price_external_id: str | None
    amount: int
    currency: str
    interval: str | None
    quantity: int
    success_url: str
    cancel_url: str
    expires_at: datetime
    email: str | None = None
    trial_days: int = 0
    fee: Fee | None = None  # what the platform keeps of it
    tenant: str | None = None
    customer: str | None = None


class CheckoutCreated(msgspec.Struct, frozen=True):
    session: str
    url: str
    expires_at: datetime


class Change(msgspec.Struct, frozen=True):
    """A body for `PaymentEvents.project`: an event as it was sent, or an object that was `fetched`."""

    raw: bytes
    fetched: bool


class ChangePage(msgspec.Struct, frozen=True):
    """`next` None: there is no more. `total`: how many changes there are in all, when the provider tells."""

    changes: tuple[Change, ...]
    next: str | None = None
    total: int | None = None


class PaymentApi(Protocol):
    """The outbound half of a provider, for one provider account."""

    def create_checkout(self, request: CheckoutRequest) -> CheckoutCreated:
        """Open a hosted checkout. Safe to repeat: the idempotency key is the reference.

        Raises ProviderUnavailable, Invalid.
        """
        ...

    def fetch(self, wanted: Refetch, *, look: bool = False) -> tuple[bytes, ...]:
        """What the provider says of an object now, and of what is needed to make sense of it.

        Each is an envelope (raw JSON bytes) for `PaymentEvents.project(..., fetched=True)`, dated by the
        provider's own `Date`. `Refetch("checkout", session)` must bring all that makes the license when no
        webhook ever arrives. Raises ProviderUnavailable, Misconfigured, Invalid; NotFound when there is no
        such object.

        Asking may complete what the buyer has agreed to, as PayPal needs it; with `look` it changes nothing.
        """
        ...

    def list_changes(self, since: datetime, cursor: str | None) -> ChangePage:
        """What happened, or changed, at the provider since then; a page at a time, oldest page first or not.

        `cursor` is the `next` of the page before, None for the first. Raises ProviderUnavailable,
        Misconfigured.
        """
        ...

    def check(self) -> str:
        """Ask who we are. Returns the account's name or id. Raises ProviderUnavailable, Misconfigured."""
        ...


class Deal(msgspec.Struct, frozen=True):
    """The names by which a provider knows a purchase; None where it has none, or we never heard it."""

    subscription: str | None = None
    customer: str | None = None
    price: str | None = None
    charge: str | None = None
    intent: str | None = None
    payment: str | None = None
    email: str | None = None


class Preview(msgspec.Struct, frozen=True):
    """What a change of quantity costs. Amounts in ISO minor units; `due_now` may be negative: a credit."""

    quantity: int
    due_now: int
    next_amount: int
    currency: str
    next_at: datetime | None = None


Markable = Literal["customer", "subscription"]


class BillingApi(Protocol):
    """What a seller changes at the provider. All raise Unsupported where the provider has no such thing,
    and then the detail says what to do instead; ProviderUnavailable, Misconfigured and Invalid as above."""

    def preview_quantity(self, deal: Deal, quantity: int) -> Preview:
        """What it would cost to have so many from now on."""
        ...

    def change_quantity(self, deal: Deal, quantity: int, key: str) -> str | None:
        """Have so many from now on. `key` makes it safe to repeat.

        Returns an address when the buyer has to agree there, else None.
        """
        ...

    def cancel(self, deal: Deal) -> None:
        """Do not renew. Where the provider ends a subscription at once, the paid time is ours to keep."""
        ...

    def resume(self, deal: Deal) -> None:
        """Renew after all."""
        ...

    def refund(
        self, deal: Deal, amount: int | None, currency: str, key: str, *, fee_back: bool = False
    ) -> None:
        """Give the money of one payment back; `amount` None: all that is left of it. `fee_back`: and what
        the platform got of it, in proportion, where the provider can."""
        ...

    def portal(self, deal: Deal, return_url: str) -> str:
        """Where the buyer looks after card, invoices and subscription."""
        ...

    def mark(self, thing: Markable, external_id: str, words: Mapping[str, str], key: str) -> bool:
        """Write words beside a customer or a subscription, where the seller's own programs read them.

        Once: False when they stood there already. `key` makes it safe to repeat.
        """
        ...


class Endpoint(msgspec.Struct, frozen=True):
    """Where a provider sends its events to, as the provider keeps it.

    `secret` is what its deliveries are checked with, when the provider told it. `lacks`: in words, what keeps
    events from us; `differs`: what is not as we would have it, and does no harm.
    """

    id: str
    url: str
    secret: str | None = None
    lacks: tuple[str, ...] = ()
    differs: tuple[str, ...] = ()

    def __repr__(self) -> str:  # the secret never reaches a log
        return f"Endpoint({self.id!r}, {self.url!r})"


class PriceSeen(msgspec.Struct, frozen=True):
    """A price, or a plan, at the provider. `amount` in ISO minor units; `interval` in the catalog's words."""

    external_id: str
    name: str
    amount: int
    currency: str
    interval: str | None


class Delivery(msgspec.Struct, frozen=True):
    """What arrives at a webhook address. `genuine`: signed with our secret, so that we believe it."""

    raw: bytes
    headers: Mapping[str, str]
    genuine: bool


class Knocked(msgspec.Struct, frozen=True):
    """What came back. `status` None: nobody answered, and `problem` names the kind of trouble."""

    status: int | None
    told: Mapping[str, object] = {}
    problem: str = ""


class ProviderSetup(Protocol):
    """What it takes to go live at a provider. All raise Misconfigured for a key that is wrong, revoked, or of
    the other mode; Forbidden for one that may not do this; ProviderUnavailable, Invalid as above."""

    def whose(self) -> str:
        """The name, or the id, of the account that the key opens."""
        ...

    def clicks(self, url: str) -> tuple[str, ...]:
        """What a person has to do at the provider, where it has no call for it; else nothing."""
        ...

    def list_endpoints(self, url: str) -> tuple[Endpoint, ...]:
        """The endpoints at exactly this address, the oldest first. Raises Unsupported where none are told."""
        ...

    def register(self, url: str, known: Endpoint | None) -> Endpoint:
        """Make an endpoint for exactly the events that we read, or make the known one so."""
        ...

    def remove(self, endpoint: Endpoint) -> None:
        """Send nothing there any more."""
        ...

    def list_prices(self) -> tuple[PriceSeen, ...]:
        """Every price or plan on sale at the provider, in this mode, that could be in a catalog."""
        ...

    def count_undelivered(self, since: datetime) -> int | None:
        """How many events since then the provider could not deliver; None where it does not tell."""
        ...

    def greeting(self, secret: str, now: datetime) -> Delivery:
        """A delivery to ourselves that means nothing. Genuine where we can sign like the provider, and then
        it is ignored; else it is to be refused for its signature."""
        ...


class Mail(msgspec.Struct, frozen=True):
    """A mail ready to send. `message_id` is stable over retries, so a doubled mail is recognizable.

    `logo`: what the HTML shows as `cid:{its digest}@logo`.
    """

    to: str
    subject: str
    text: str
    html: str
    message_id: str
    logo: Logo | None = None


class Mailer(Protocol):
    def send(self, mail: Mail) -> None:
        """Hand the mail over. Raises MailRefused (permanent) or MailDelayed (try again).

        Neither names the address: what they say is kept and shown.
        """
        ...


class FirmSecrets(Protocol):
    """The secrets of firms, for plans with `profile = "hmac"`."""

    def secret_of(self, tenant: str, product: int, firm: str, epoch: int) -> bytes:
        """What a firm's installation checks the keys of one product with. `product`: its code."""
        ...


class LicenseLetter(msgspec.Struct, frozen=True):
    """What a customer is told with a license key.

    Nothing in here was typed by a buyer: a letter must not carry a stranger's words in the seller's name.
    `machines` None: no limit. `valid_until` FOREVER: never ends; None: not valid at present. `device`: the
    machine it was bought for, by a name that `domain/device.py` has made harmless, empty for one without a
    name; None: for none. `manage_url`: where the customer frees machines. `hmac_key`: of a firm's license,
    for machines that ask nobody; `hmac_last_day`: None when it has none.
    """

    seller: str
    product: str
    plan: str
    key: str
    seats: int
    machines: int | None
    valid_until: datetime | None
    renews: bool
    trial: bool
    device: str | None = None
    manage_url: str = ""
    hmac_key: str | None = None
    hmac_last_day: date | None = None


class NoticeLetter(msgspec.Struct, frozen=True):
    """What a customer is told about a license he has. Nothing in here was typed by a buyer, either.

    `detail` is the notice's own (`domain/notice.py`). `works`: the license is good now. `stops_at`: when it
    stops, or stopped, if no payment comes. `cause`: why it ended. `manage_url`: where the customer looks
    after the purchase; `shop_url`: where it is for sale. `becomes_paid`: a subscription follows the trial.
    """

    kind: NoticeKind
    seller: str
    product: str
    plan: str
    key_last5: str
    seats: int
    works: bool
    entitled_until: datetime | None
    stops_at: datetime | None
    cause: str
    detail: Mapping[str, str | int]
    manage_url: str
    shop_url: str
    becomes_paid: bool = True


class PortalLetter(msgspec.Struct, frozen=True):
    """What a customer is told who asked to sign in. `url` is the secret: whoever has it and asked, is in."""

    seller: str
    url: str
    minutes: int


class Letter(msgspec.Struct, frozen=True):
    """The words of a mail, without the envelope. `logo`: the picture that the HTML shows."""

    subject: str
    text: str
    html: str
    logo: Logo | None = None


class Letters(Protocol):
    """Every letter in the language of its `look`, and dressed by it."""

    def license_issued(self, told: LicenseLetter, look: Look = PLAIN) -> Letter:
        """The letter that brings a license key."""
        ...

    def notice(self, told: NoticeLetter, look: Look = PLAIN) -> Letter:
        """The letter that tells of one thing that became of a license, and what to do about it."""
        ...

    def portal_link(self, told: PortalLetter, look: Look = PLAIN) -> Letter:
        """The letter that lets a customer into the portal."""
        ...

    def address_link(self, told: PortalLetter, look: Look = PLAIN) -> Letter:
        """The letter to an address that a customer says is his: opening its link makes it his."""
        ...

    def address_moved(self, told: PortalLetter, look: Look = PLAIN) -> Letter:
        """The letter to the address that was a customer's until now."""
        ...

    def staff_invited(self, told: PortalLetter, look: Look = PLAIN) -> Letter:
        """The letter that lets the first person of a new tenant, the seller, into the console."""
        ...

    def alarm(
        self,
        kind: str,
        subject: str,
        detail: Mapping[str, Any],
        seller: str = "",
        look: Look = PLAIN,
        *,
        door: str = "",
    ) -> Letter:
        """The letter that tells the operator of trouble, or one of the staff what happened to his account.
        `subject` is the id of what it is about; `door`: where he signs in."""
        ...


class WebhookSender(Protocol):
    def check(self, url: str) -> None:
        """Raises Invalid for an address that nothing would be sent to."""
        ...

    def send(self, outgoing: Outgoing) -> Received:
        """Sign it, send it once, and tell what came back. Raises nothing for what the other side does."""
        ...


class Followups(Protocol):
    """Durable work that starts when, and only when, the caller's transaction commits."""

    def announce(self, connection: Connection, batch: str) -> None:
        """Send what the batch owes."""
        ...

    def refetch(self, connection: Connection, batch: str) -> None:
        """Fetch what is due from the providers."""
        ...

    def reconcile(self, connection: Connection, batch: str, wish: str) -> str:
        """Compare with the providers. `wish`: what exactly, as JSON. Returns the id of the work."""
        ...

    def provision(self, connection: Connection, work: str, *, anew: bool = False) -> None:
        """Make the tenant that is written down under this id of the work, once however often asked for.

        `anew`: once more, where it was made and is gone.
        """
        ...

    def bring(self, connection: Connection, work: str, tenant: str, run: str) -> str:
        """Work on an import of a tenant to its end. `work` names the work; returns its id."""
        ...


class KeyScheme(Protocol):
    """A seller's own license keys. A package offers one by an entry point of `keywright.key_schemes`."""

    def make(self, random: bytes) -> str:
        """A new key as it is printed, 4 to 256 printable characters, from 32 bytes of a cryptographic source.

        It is the only thing a program shows to be let in: one key must not lead to the next.
        """
        ...

    def canonical(self, text: str) -> str | None:
        """What a typed text is looked up by, or None when it cannot be a key of this scheme.

        Texts that mean the same key give the same answer, now and in every later release. Called for every
        text that is no key of ours, so it must be quick, and touch neither files nor the network.
        """
        ...


class Clock(Protocol):
    def now(self) -> datetime:
        """The current time, aware, UTC."""
        ...
