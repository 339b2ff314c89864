"""What every flow is handed: the database, the clock, and the ports."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from keywright.ports import Clock, Followups, Letters, Mailer, PaymentApi, PaymentEvents, Signer, Vault
from keywright.store.engine import Database
from keywright.store.tenants import ProviderAccount, Tenant

_BASE32 = "0123456789abcdefghjkmnpqrstvwxyz"


def new_id(prefix: str) -> str:
    """A prefixed id that sorts by time: 48 bits of milliseconds, 72 random bits, Crockford base32."""
    number = (time.time_ns() // 1_000_000) << 72 | int.from_bytes(os.urandom(9), "big")
    digits = []
    for _ in range(24):
        digits.append(_BASE32[number & 31])
        number >>= 5
    return f"{prefix}_{''.join(reversed(digits))}"


@dataclass(frozen=True, slots=True)
class Channel:
    """A provider account of a tenant with what is needed to hear it and to talk to it."""

    account: ProviderAccount
    events: PaymentEvents
    secrets: tuple[str, ...]
    api: PaymentApi | None = None


@dataclass(frozen=True, slots=True)
class Policy:
    """What the operator set. Secrets are not in here."""

    base_url: str
    sandbox: bool = False
    mail_from: str = "licenses@localhost"
    alert_email: str | None = None
    return_origins: tuple[str, ...] = ()
    claim_for: timedelta = timedelta(hours=24)
    checkout_for: timedelta = timedelta(hours=24)
    per_key_a_minute: int = 60
    failures_a_minute: int = 30
    batch: int = 64
    attempts: int = 8


@dataclass(frozen=True, slots=True)
class Context:
    database: Database
    clock: Clock
    vault: Vault
    signer: Signer
    mailer: Mailer
    letters: Letters
    followups: Followups
    master: Tenant
    channels: Mapping[str, Channel]  # by provider, of the master tenant
    policy: Policy
    new_id: Callable[[str], str] = field(default=new_id)

    def issuer(self, tenant: str) -> str:
        """The `iss` claim of everything this tenant signs."""
        return f"{self.policy.base_url}/t/{tenant}"
