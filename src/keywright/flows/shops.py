"""The shops of this installation: what each tenant sells and hears through, made when first asked for.

A shop is kept until a tenant or its credentials change. A change raises a generation number in the database;
this process looks again at once where it made the change, and every other one within `LOOK` seconds. The
master tenant's shop is there from the start and for as long as the process runs: nothing is asked for it.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeVar

from keywright.domain.errors import NotFound
from keywright.store import connected, tenants
from keywright.store.engine import Database
from keywright.store.tenants import Tenant

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from keywright.flows.context import Channel, Door

LOOK: Final = 2.0
"""Seconds of real time for which what is known is believed."""

_V = TypeVar("_V")
_SHOPS: Final = 512
_STRANGERS: Final = 4096


@dataclass(frozen=True, slots=True)
class Shop:
    """A tenant, and what it has. `channels`: by provider, those with credentials. `doors`: every provider."""

    tenant: Tenant
    channels: Mapping[str, Channel]
    doors: Mapping[str, Door]
    pay_origins: tuple[str, ...] = ()
    publishable_keys: Mapping[str, str] = field(default_factory=dict)
    return_origins: tuple[str, ...] = ()
    website_origins: tuple[str, ...] = ()


class Shops:
    """Every tenant's shop, by the tenant's id and by the ids of its provider accounts. Safe for threads."""

    def __init__(self, database: Database, furnish: Callable[[Tenant], Shop], master: Shop) -> None:
        self.master = master
        self._database = database
        self._furnish = furnish
        self._lock = threading.Lock()
        self._shops: OrderedDict[str, Shop] = OrderedDict()
        self._owners: OrderedDict[str, str | None] = OrderedDict()  # account -> tenant; None: there is none
        self._slugs: OrderedDict[str, str | None] = OrderedDict()
        self._connected: OrderedDict[str, str | None] = OrderedDict()
        self._generation = -1
        self._looked = -LOOK

    def of(self, tenant: str) -> Shop:
        """The shop of a tenant, by its id. Raises NotFound (TENANT_UNKNOWN)."""
        if tenant == self.master.tenant.id:
            return self.master
        generation = self._look()
        with self._lock:
            found = self._shops.get(tenant)
            if found is not None:
                self._shops.move_to_end(tenant)
                return found
        with self._database.read() as connection:
            row = tenants.find_by_id(connection, tenant)
        if row is None:
            raise NotFound("There is no such tenant.", code="TENANT_UNKNOWN")
        made = self._furnish(row)
        with self._lock:
            # One that was read before the last change is for this caller alone.
            if generation == self._generation:
                _put(self._shops, tenant, made, _SHOPS)
        return made

    def find(self, slug: str) -> Shop | None:
        """The shop under this slug, or None."""
        if slug == self.master.tenant.slug:
            return self.master
        tenant = self._known(self._slugs, slug, tenants.id_of_slug)
        return None if tenant is None else self.of(tenant)

    def channel(self, account: str) -> Channel | None:
        """The channel of a provider account of any tenant, or None without credentials or account."""
        mine = _channel_of(self.master, account)
        if mine is not None:
            return mine
        tenant = self._known(self._owners, account, tenants.owner_of)
        return None if tenant is None else _channel_of(self.of(tenant), account)

    def connected(self, platform: str, external: str) -> Channel | None:
        """The channel of the account that this provider account knows under this name, or None."""
        known = self.connected_id(platform, external)
        return None if known is None else self.channel(known)

    def connected_id(self, platform: str, external: str) -> str | None:
        """Our id of that account, also of one that has no channel any more: its tenant was shredded."""

        def find(connection: Connection, _name: str) -> str | None:
            return connected.id_of(connection, platform, external)

        return self._known(self._connected, f"{platform} {external}", find)

    def has_connected(self, platform: str) -> bool:
        """Whether any account is connected to this provider account, or was one of a shredded tenant."""

        def find(connection: Connection, name: str) -> str | None:
            return name if connected.any_of(connection, name) else None

        return self._known(self._connected, platform, find) is not None

    def ready(self, account: str) -> Channel | None:
        """As `channel`, from what is at hand: None also when the database would have to be asked."""
        if time.monotonic() - self._looked >= LOOK:
            return None
        with self._lock:
            shop = self._shops.get(self._owners.get(account) or "")
        return None if shop is None else _channel_of(shop, account)

    def look_again(self) -> None:
        """Believe nothing any longer: something was changed by this process, and is committed."""
        self._looked = -LOOK

    def _known(
        self,
        index: OrderedDict[str, str | None],
        name: str,
        find: Callable[..., str | None],
    ) -> str | None:
        generation = self._look()
        with self._lock:
            if name in index:
                index.move_to_end(name)
                return index[name]
        with self._database.read() as connection:
            found = find(connection, name)
        with self._lock:
            if generation == self._generation:
                _put(index, name, found, _STRANGERS)
        return found

    def _look(self) -> int:
        """The generation that holds now, after forgetting everything of an earlier one."""
        now = time.monotonic()
        if now - self._looked < LOOK:
            return self._generation
        with self._database.read() as connection:
            generation = tenants.generation(connection)
        with self._lock:
            self._looked = now
            if generation != self._generation:
                self._generation = generation
                for kept in (self._shops, self._owners, self._slugs, self._connected):
                    kept.clear()
        return generation


def _put(kept: OrderedDict[str, _V], name: str, value: _V, most: int) -> None:
    kept[name] = value
    kept.move_to_end(name)
    while len(kept) > most:
        kept.popitem(last=False)


def _channel_of(shop: Shop, account: str) -> Channel | None:
    return next((one for one in shop.channels.values() if one.account.id == account), None)
