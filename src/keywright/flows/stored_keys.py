"""Whether the keys that are stored with a license are the ones it is found by."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from typing import Literal

from keywright.domain.errors import KeywrightError
from keywright.domain.license import License
from keywright.flows import firm_keys, license_keys
from keywright.flows.context import Context
from keywright.store.firms import KeyRow

Broken = Literal["license", "hmac"]


def first_broken(context: Context, held: License, rows: Sequence[KeyRow]) -> Broken | None:
    """Which stored key does not open, or is not the one that the license is found by. `rows`: what leads from
    HMAC keys to the license."""
    if not is_license_key_intact(context, held):
        return "license"
    return None if firm_keys.is_key_intact(context, held, rows) else "hmac"


def is_license_key_intact(context: Context, held: License) -> bool:
    """Whether the sealed license key opens and hashes to what the license is looked up by."""
    try:
        kept = context.vault.unseal(held.tenant_id, "license-key", held.id, held.key_sealed)
    except KeywrightError:
        return False
    forms = _forms(context, kept)
    if not forms and context.schemes.missing():
        return True  # of a seller's own scheme that is not installed here: nobody can say
    hashes = (context.vault.blind("license-key-lookup", form) for form in forms)
    return any(hmac.compare_digest(one.encode(), held.key_hash.encode()) for one in hashes)


def _forms(context: Context, kept: str) -> tuple[str, ...]:
    """What the kept text may be looked up by."""
    try:
        return license_keys.forms(context.schemes, license_keys.printed("", kept))
    except ValueError:  # no key was ever kept like that
        return ()
