"""What staff do about firms: hand out a firm's secret, change it, and name the firm of a license."""

from __future__ import annotations

import base64
import hashlib

import msgspec
import sqlalchemy as sa

from keywright.domain import hmac_key
from keywright.domain.errors import Conflict, Invalid, NotFound
from keywright.domain.license import License
from keywright.flows import firm_keys
from keywright.flows.context import Context
from keywright.flows.firm_keys import FirmKeys
from keywright.flows.license_views import unknown_license
from keywright.flows.license_writes import is_as_written, record
from keywright.flows.licensing import Asked
from keywright.flows.operate import Act, told_of
from keywright.store import audit, firms, licenses


class FirmSecret(msgspec.Struct, frozen=True):
    """What an installation checks a firm's keys of one product with.

    `secret`: the epoch, a point, and the secret in base64url, as `verify --hmac` reads it.
    """

    firm: str
    product: str
    epoch: int
    secret: str

    def __repr__(self) -> str:  # secrets never reach a log
        return f"FirmSecret({self.product!r}, {self.epoch})"


class HmacKeyShown(msgspec.Struct, frozen=True):
    """A license's HMAC key for whoever holds a key of the license. `last_day` None: it never ends."""

    key: str
    file: str
    firm: str
    product: int
    tier: int
    seats: int
    epoch: int
    trial: bool
    last_day: str | None


def secrets_of(
    context: Context, tenant: str, firm: str, act: Act, *, product: str | None = None, rotate: bool = False
) -> FirmSecret:
    """The newest secret of a firm, written down in the audit as handed out.

    With `rotate` a new one is made first, and with it a new key for each of the firm's licenses. The one
    before it stays good, the one before that does not.

    Raises:
        Misconfigured: without LICENSE_SECRET.
        NotFound: no product of that name has a code.
        Invalid: a firm that is none; or several products have codes and none is named.
        Conflict: the firm has had its last secret.
    """
    derived = firm_keys.needed_secrets(context)
    named = hmac_key.checked_firm(firm)
    now = context.clock.now()
    with context.database.write() as connection:
        slug, code = _product(connection, tenant, product)
        epoch = firms.epoch_of(connection, tenant, named)
        if rotate:
            epoch = _rotate(context, connection, tenant, named, epoch, act)
        secret = derived.secret_of(tenant, code, named, epoch)
        # A digest of the firm: it may be a person's name, and nothing is ever taken out of the audit.
        digest = hashlib.sha256(named.encode()).hexdigest()[:16]
        told = told_of(act, firm_sha256=digest, product=slug, epoch=epoch, rotated=rotate)
        audit.append(connection, tenant, act.by, "firm.secret_shown", slug, told, now)
    text = base64.urlsafe_b64encode(secret).decode().rstrip("=")
    return FirmSecret(named, slug, epoch, f"{epoch}.{text}")


def name_firm(context: Context, tenant: str, license_id: str, firm: str, act: Act) -> License:
    """Name the firm of a license that has none, or another one, and make its HMAC key where it has one.

    Raises NotFound, Invalid, Misconfigured; Conflict for a license that was altered.
    """
    named = hmac_key.checked_firm(firm)
    now = context.clock.now()
    with context.database.write() as connection:
        held = licenses.find(connection, tenant, license_id, lock=True)
        if held is None:
            raise unknown_license()
        plan, _, _ = licenses.plan_and_product(connection, held)
        if not is_as_written(context, held):
            raise Conflict("This license was altered outside the server.", code="TAMPERED")
        if plan.terms.profile == "hmac":
            firm_keys.needed_secrets(context)
        maker = FirmKeys(context, connection, now)
        # The old key is of the old firm: it is not compared with.
        after, _ = maker.keyed(msgspec.structs.replace(held, firm=named, hmac_sealed=None), plan)
        after = record(context, connection, held, after, "license.firm_named", detail=told_of(act), now=now)
        maker.write()
        if after.hmac_sealed is not None:
            firm_keys.owe(context, connection, after, now)
        return after


def hmac_key_of(context: Context, asked: Asked) -> HmacKeyShown | None:
    """The HMAC key of the license that was asked for by one of its keys.

    None: there is no such license. Raises Conflict `TAMPERED`, and NotFound `NO_HMAC_KEY` where it has none.
    """
    if asked.key_hash is None:
        return None
    with context.database.read() as connection:
        found = licenses.find_for_verdict(connection, asked.key_hash, None)
    if found is None:
        return None
    held = found.license
    if asked.altered or not is_as_written(context, held):
        raise Conflict("The stored license was altered. Please contact the seller.", code="TAMPERED")
    key = firm_keys.opened(context, held)
    if key is None or held.firm is None:
        raise NotFound("This license has no HMAC key: its plan is for no firm.", code="NO_HMAC_KEY")
    last = key.body.last_date
    return HmacKeyShown(
        key=key.short,
        file=hmac_key.to_file(key.full),
        firm=held.firm,
        product=key.body.product,
        tier=key.body.tier,
        seats=key.body.seats,
        epoch=key.body.epoch,
        trial=key.body.trial,
        last_day=None if last is None else last.isoformat(),
    )


def _product(connection: sa.Connection, tenant: str, product: str | None) -> tuple[str, int]:
    known = firms.product_codes(connection, tenant)
    if product is None and len(known) == 1:
        return next(iter(known.items()))
    if product is None and known:
        raise Invalid(f"Name the product: {', '.join(sorted(known))}.", code="PRODUCT_NEEDED")
    if product is None or product not in known:
        raise NotFound("No such product has a code in the catalog.", code="PRODUCT_UNKNOWN")
    return product, known[product]


def _rotate(context: Context, connection: sa.Connection, tenant: str, firm: str, epoch: int, act: Act) -> int:
    """The next epoch, with new keys for all of the firm's licenses."""
    if epoch >= hmac_key.LARGEST_EPOCH:
        raise Conflict("This firm has had its last secret: give it another name.", code="EPOCHS_EXHAUSTED")
    now = context.clock.now()
    firms.raise_epoch(connection, tenant, firm, epoch + 1, now)
    for held in firms.licenses_of_firm(connection, tenant, firm, lock=True):
        if held.hmac_sealed is not None and is_as_written(context, held):
            # Writing it makes the key anew, for it says another epoch by now, and owes the mail.
            record(context, connection, held, held, "license.hmac_key_changed", detail=told_of(act), now=now)
    return epoch + 1
