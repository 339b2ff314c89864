"""HMAC keys of licenses: made when what they say changes, stored sealed, and known by their hashes.

The newest key is on the license's row, under the row's MAC. Every key that was ever made still leads to its
license, under a MAC of its own, so that a customer who has not yet put the newest one in is not locked out.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from datetime import datetime

import msgspec
import sqlalchemy as sa

from keywright.domain import hmac_key
from keywright.domain.errors import KeywrightError, Misconfigured
from keywright.domain.hmac_key import Body, Presented
from keywright.domain.license import License
from keywright.domain.plan import Plan
from keywright.flows.context import Context
from keywright.ports import FirmSecrets
from keywright.store import announcements, firms
from keywright.store.announcements import Announcement
from keywright.store.firms import Codes, KeyRow

KIND = "hmac-key"
"""The vault's name of a license's HMAC key."""

_ACCEPTED_EPOCHS = 2


class FirmKey(msgspec.Struct, frozen=True):
    """The HMAC key of a license. `full`: in its full form."""

    full: str
    body: Body

    @property
    def short(self) -> str:
        return hmac_key.grouped(hmac_key.shortened(self.full))

    def __repr__(self) -> str:  # keys never reach a log
        return "FirmKey(...)"


class FirmKeys:
    """The HMAC keys that one transaction makes. `write` keeps how they are found."""

    def __init__(self, context: Context, connection: sa.Connection, now: datetime) -> None:
        self._context = context
        self._connection = connection
        self._now = now
        self._codes: dict[str, Codes] = {}
        self._epochs: dict[str, int] = {}
        self._made: list[KeyRow] = []

    def keyed(self, held: License, plan: Plan | None = None) -> tuple[License, bool]:
        """The license with the HMAC key that says what it says, and whether the customer needs to be told.

        Most licenses have none, and stay as they are. `held` must be worked out from what is proven: a key
        that is made of an altered row would make the alteration good.

        Args:
            held: before it is sealed.
            plan: its plan; may be left out where a license has a key already.
        """
        if plan is None and held.hmac_sealed is None:
            return held, False
        if plan is not None and plan.terms.profile != "hmac":
            return held, False
        secrets, firm, end = self._context.firm_secrets, held.firm, _end(held)
        codes = self._codes_of(held.plan_id)
        if secrets is None or firm is None or end is None or codes.product is None or codes.tier is None:
            return held, False
        body = Body(
            tier=codes.tier,
            product=codes.product,
            seats=min(held.seats, hmac_key.MOST_SEATS),
            last_day=hmac_key.last_day_of(end),
            epoch=self._epoch_of(held.tenant_id, firm),
            serial=serial_of(held),
            trial=held.trial,
        )
        known = opened(self._context, held)
        if known is not None and known.body == body:
            return held, False
        return self._with(held, secrets, firm, body), known is None or _is_news(known.body, body)

    def _with(self, held: License, secrets: FirmSecrets, firm: str, body: Body) -> License:
        secret = secrets.secret_of(held.tenant_id, body.product, firm, body.epoch)
        full = hmac_key.make(secret, firm, body)
        hashed = _hash(self._context, hmac_key.shortened(full))
        mac = row_mac(self._context, held.tenant_id, hashed, held.id)
        self._made.append(KeyRow(hashed, held.tenant_id, held.id, mac, self._now))
        sealed = self._context.vault.seal(held.tenant_id, KIND, held.id, full)
        return msgspec.structs.replace(held, hmac_sealed=sealed)

    def write(self) -> None:
        """After the licenses: the rows refer to them."""
        firms.insert_keys(self._connection, self._made)
        self._made = []

    def _codes_of(self, plan_id: str) -> Codes:
        if plan_id not in self._codes:
            self._codes[plan_id] = firms.codes_of(self._connection, plan_id)
        return self._codes[plan_id]

    def _epoch_of(self, tenant: str, firm: str) -> int:
        if firm not in self._epochs:
            self._epochs[firm] = firms.epoch_of(self._connection, tenant, firm)
        return self._epochs[firm]


def opened(context: Context, held: License) -> FirmKey | None:
    """The license's HMAC key, out of the vault. None: it has none, or what is stored does not open."""
    if held.hmac_sealed is None:
        return None
    try:
        full = context.vault.unseal(held.tenant_id, KIND, held.id, held.hmac_sealed)
    except KeywrightError:
        return None
    known = hmac_key.read(full)
    return None if known is None or not known.is_full else FirmKey(full, known.body)


def occurrence_of(held: License) -> str:
    """What tells the mails that bring the HMAC keys of one license apart."""
    return f"hmac {hashlib.sha256((held.hmac_sealed or '').encode()).hexdigest()[:32]}"


def follow(context: Context, connection: sa.Connection, after: License, now: datetime) -> License:
    """A license that is about to be written with the HMAC key that says what it says by then.

    `after` must have come from a row that was as we wrote it. Its customer is owed the mail where the new key
    is worth more.
    """
    if after.hmac_sealed is None:
        return after
    maker = FirmKeys(context, connection, now)
    keyed, news = maker.keyed(after)
    maker.write()
    if news:
        owe(context, connection, keyed, now)
    return keyed


def owe(context: Context, connection: sa.Connection, held: License, now: datetime) -> None:
    """Owe the customer the mail with a license's keys, in the caller's transaction."""
    owed = Announcement(
        id=context.new_id("ann"),
        tenant_id=held.tenant_id,
        kind="license.issued",
        occurrence=occurrence_of(held),
        subject_id=held.id,
        license_id=held.id,
        batch=context.new_id("bat"),
        created_at=now,
    )
    announcements.insert(connection, [owed])
    context.followups.announce(connection, owed.batch)


def serial_of(held: License) -> bytes:
    """Five bytes that stay with a license, so that its keys are the same whenever they say the same."""
    return hashlib.sha256(b"keywright-serial/1\x00" + held.id.encode()).digest()[: hmac_key.SERIAL_BYTES]


def hash_of(context: Context, presented: Presented) -> str:
    """What a key is looked up by, whichever form it came in."""
    return _hash(context, hmac_key.canonical(presented))


def row_mac(context: Context, tenant: str, key_hash: str, license_id: str) -> str:
    """What binds a key's hash to its license. HMAC-SHA256 cut to 128 bits, hex."""
    text = f"hmac-key-row/1:{key_hash}:{license_id}"
    return hmac.digest(context.vault.row_key(tenant), text.encode(), "sha256")[:16].hex()


def is_row_intact(context: Context, row: KeyRow) -> bool:
    """Whether the row that leads from a key to its license is as we wrote it."""
    try:
        expected = row_mac(context, row.tenant_id, row.key_hash, row.license_id)
    except KeywrightError:  # no tenant of that name has keys
        return False
    return hmac.compare_digest(row.mac.encode(), expected.encode())


def is_key_intact(context: Context, held: License, rows: Sequence[KeyRow]) -> bool:
    """Whether a license's stored HMAC key opens, is proven under its firm's secret, and is found by its hash;
    and whether every key that leads to the license was made by us. For a license without one: all is well."""
    if not all(is_row_intact(context, row) for row in rows):
        return False
    if held.hmac_sealed is None:
        return True
    known = opened(context, held)
    if known is None or held.firm is None:
        return False
    presented = hmac_key.read(known.full)
    if presented is None or hash_of(context, presented) not in {row.key_hash for row in rows}:
        return False
    # Without LICENSE_SECRET the proof cannot be looked at; whether it opens, and is found, can.
    return context.firm_secrets is None or _is_proven(context, held, presented)


class Answered(msgspec.Struct, frozen=True):
    """What became of a presented HMAC key. `license_key_hash` finds its license; None: no such key.

    `altered`: the stored key was altered by hand. `over`: this key has come to its end, whatever the license.
    """

    license_key_hash: str | None
    altered: bool = False
    over: bool = False


def look_up(context: Context, connection: sa.Connection, presented: Presented) -> Answered:
    """The license of a presented HMAC key.

    A key works until its own last day and no longer than two epochs: an older one than the newest is honored
    until then, so that a renewal does not lock out whoever has not put the new key in.
    """
    hashed = hash_of(context, presented)
    known = firms.find_keys(connection, [hashed]).get(hashed)
    if known is None:
        return Answered(None)
    if known.license_key_hash is None or not is_row_intact(context, known.row):
        return Answered(known.license_key_hash, altered=True)
    firm = known.firm
    if presented.is_full and (
        firm is None or not is_proven_at(context, known.row.tenant_id, firm, presented)
    ):
        # The first bytes of the tag are right and the rest is not: nobody was ever given this key.
        return Answered(None)
    newest = 1 if firm is None else firms.epoch_of(connection, known.row.tenant_id, firm)
    old = presented.body.epoch <= newest - _ACCEPTED_EPOCHS
    return Answered(known.license_key_hash, over=old or presented.body.ends_at <= context.clock.now())


def is_proven_at(context: Context, tenant: str, firm: str, presented: Presented) -> bool:
    """Whether a key's tag is right for this firm."""
    if context.firm_secrets is None:
        return False
    body = presented.body
    secret = context.firm_secrets.secret_of(tenant, body.product, firm, body.epoch)
    return hmac_key.is_proven(presented, firm, secret)


def needed_secrets(context: Context) -> FirmSecrets:
    """Raises Misconfigured without LICENSE_SECRET."""
    if context.firm_secrets is None:
        raise Misconfigured("Plans with the hmac profile need LICENSE_SECRET, and it is not set.")
    return context.firm_secrets


def _is_proven(context: Context, held: License, presented: Presented) -> bool:
    return held.firm is not None and is_proven_at(context, held.tenant_id, held.firm, presented)


def _hash(context: Context, short: str) -> str:
    # With a name before it: what license keys are looked up by never looks like this.
    return context.vault.blind("license-key-lookup", f"hmac\n{short}")


def _end(held: License) -> datetime | None:
    """Until when a key for this license may run: the grace period is in it, for the next key has to reach a
    machine that nobody can reach."""
    ends = (held.entitled_until, held.active_until, held.grace_until)
    return max((end for end in ends if end is not None), default=None)


def _is_news(old: Body, new: Body) -> bool:
    """Whether a customer who holds the old key needs the new one."""
    return (
        new.last_day > old.last_day
        or new.seats > old.seats
        or (new.tier, new.product, new.epoch, new.trial) != (old.tier, old.product, old.epoch, old.trial)
    )
