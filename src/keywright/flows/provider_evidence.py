"""What the installation itself knows about a provider's deliveries: believed, of the wrong mode, refused."""

from __future__ import annotations

from datetime import datetime

import msgspec

from keywright.flows import credentials
from keywright.flows.context import Context
from keywright.flows.provider_setup import endpoint_kind
from keywright.store import announcements, inbox, vault_entries
from keywright.store.inbox import InboxItem
from keywright.store.tenants import ProviderAccount

_WRONG_MODE = "WRONG_MODE"
_NOT_THEIRS = ("keywright.", "fetched.")
_FETCHED = "fetch_"


class Evidence(msgspec.Struct, frozen=True):
    """`believed_at`: when the newest delivery of the provider itself was taken in.

    `wrong_mode`: the newest one was of the other mode. `refused_at`: the last alarm about bad signatures, of
    whichever provider. `endpoint`: whose secret the vault keeps, and `kept_at`: since when.
    """

    believed_at: datetime | None
    wrong_mode: bool
    refused_at: datetime | None
    endpoint: str | None
    kept_at: datetime | None


def gather(context: Context, account: ProviderAccount, looked_at: int) -> Evidence:
    """Look at the newest `looked_at` events of an account, the alarms, and the vault. Raises VaultRefused."""
    with context.database.read() as connection:
        kept = inbox.list_page(
            connection, account.tenant_id, filters={"account": account.id}, after=None, limit=looked_at
        )
        refused_at = announcements.newest(connection, account.tenant_id, "alarm.bad_signatures")
        kind = endpoint_kind(account.provider)
        endpoint = credentials.find(connection, context.vault, account, kind)
        entries = vault_entries.list_of(connection, account.tenant_id, account.id)
    theirs = [item for item in kept if _is_theirs(item)]
    believed = [item.received_at for item in theirs if item.reason != _WRONG_MODE]
    return Evidence(
        believed_at=max(believed, default=None),
        wrong_mode=bool(theirs) and theirs[0].reason == _WRONG_MODE,
        refused_at=refused_at,
        endpoint=endpoint,
        kept_at=next((entry.created_at for entry in entries if entry.kind == kind), None),
    )


def _is_theirs(item: InboxItem) -> bool:
    """Not our own greeting, and no answer to a question of ours."""
    projected = item.projected
    return not projected.type.startswith(_NOT_THEIRS) and not projected.dedupe_key.startswith(_FETCHED)
