"""What the flows need from the outside. Adapters are named in bootstrap.py and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, Protocol

import msgspec
from sqlalchemy import Connection

from keywright.domain.facts import Projected, Reading
from keywright.domain.license_token import VerifyFn


class PaymentEvents(Protocol):
    """The inbound half of a provider. All three methods are pure: no clock, no network, no database."""

    def authenticate(
        self, raw: bytes, headers: Mapping[str, str], secrets: Sequence[str], now: datetime
    ) -> None:
        """Check the signature over the raw bytes. `headers` has lower-case names.

        Raises BadSignature.
        """
        ...

    def project(self, raw: bytes) -> Projected:
        """Reduce an authentic body to its allow-listed members. Raises Unreadable."""
        ...

    def read(self, projected: Projected) -> Reading:
        """The facts of a projection whose standing is `read`. Raises Unreadable."""
        ...


class CheckoutRequest(msgspec.Struct, frozen=True):
    """What a buyer is sent to the provider with. `email` only when the seller passed one on."""

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


class CheckoutCreated(msgspec.Struct, frozen=True):
    session: str
    url: str
    expires_at: datetime


class PaymentApi(Protocol):
    """The outbound half of a provider, for one provider account."""

    def create_checkout(self, request: CheckoutRequest) -> CheckoutCreated:
        """Open a hosted checkout. Safe to repeat: the idempotency key is the reference.

        Raises ProviderUnavailable, Invalid.
        """
        ...

    def fetch_checkout(self, session: str) -> tuple[bytes, ...]:
        """The checkout as the provider sees it now, and the subscription that it began, if it began one.

        Each is shaped like one of the provider's own events (raw JSON bytes): both together are enough to
        make the license when no webhook ever arrives. Raises ProviderUnavailable, Misconfigured, Invalid.
        """
        ...

    def check(self) -> str:
        """Ask who we are. Returns the account's name or id. Raises ProviderUnavailable, Misconfigured."""
        ...


class Mail(msgspec.Struct, frozen=True):
    """A mail ready to send. `message_id` is stable over retries, so a doubled mail is recognizable."""

    to: str
    subject: str
    text: str
    html: str
    message_id: str


class Mailer(Protocol):
    def send(self, mail: Mail) -> None:
        """Hand the mail over. Raises MailRefused (permanent) or MailDelayed (try again).

        Neither names the address: what they say is kept and shown.
        """
        ...


class LicenseLetter(msgspec.Struct, frozen=True):
    """What a customer is told with a license key.

    Nothing in here was typed by a buyer: a letter must not carry a stranger's words in the seller's name.
    `machines` None: no limit. `valid_until` FOREVER: never ends; None: not valid at present.
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


class Letter(msgspec.Struct, frozen=True):
    """The words of a mail, without the envelope."""

    subject: str
    text: str
    html: str


class Letters(Protocol):
    def license_issued(self, told: LicenseLetter) -> Letter:
        """The letter that brings a license key."""
        ...

    def alarm(self, kind: str, subject: str, detail: Mapping[str, Any]) -> Letter:
        """The letter that tells the operator of trouble. `subject` is the id of what it is about."""
        ...


class Followups(Protocol):
    """Durable work that starts when, and only when, the caller's transaction commits."""

    def announce(self, connection: Connection, batch: str) -> None:
        """Send what the batch owes."""
        ...


class Clock(Protocol):
    def now(self) -> datetime:
        """The current time, aware, UTC."""
        ...


class Vault(Protocol):
    """Secrets at rest. Each ciphertext is bound to its tenant, kind and owner."""

    def seal(self, tenant: str, kind: str, owner: str, plaintext: str) -> str: ...

    def unseal(self, tenant: str, kind: str, owner: str, sealed: str) -> str:
        """Raises VaultRefused when the text was altered or belongs somewhere else."""
        ...

    def row_key(self, tenant: str) -> bytes:
        """The key of the MAC on this tenant's license rows."""
        ...

    def blind(self, purpose: Literal["license-key-lookup", "fingerprint", "claim"], text: str) -> str:
        """A keyed hash for look-ups: equal texts give equal hashes, and nothing leads back."""
        ...


TokenType = Literal["lic+jwt", "lease+jwt"]


class Signer(Protocol):
    """Signing keys, one active pair per tenant and token type."""

    def sign(self, tenant: str, token_type: TokenType, claims: Mapping[str, Any]) -> str: ...

    def active_key(self, tenant: str, token_type: TokenType) -> str:
        """The key id that signs now; a lease signed by another one is renewed."""
        ...

    def verifiers(self, tenant: str, token_type: TokenType) -> Mapping[str, VerifyFn]:
        """Key id -> check, for every key whose tokens are still good."""
        ...

    def key_set(self, tenant: str) -> dict[str, Any]:
        """The public JWKS document."""
        ...
