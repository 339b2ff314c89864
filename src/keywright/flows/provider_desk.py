"""Provider accounts as staff look after them in the console: how they stand, set up, tried out.

What is typed goes into the vault and never comes back: nothing here answers with a credential.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final

import msgspec

from keywright.domain.errors import Invalid, KeywrightError, Misconfigured, NotFound
from keywright.flows import provider_setup
from keywright.flows.context import Context, Door
from keywright.flows.credentials import Credentials
from keywright.flows.operate import Act, text_of
from keywright.flows.provider_checks import (
    Asked,
    Line,
    account_address,
    account_of,
    address_of,
    check_provider,
)
from keywright.flows.provider_setup import Done, Wish, setting_of
from keywright.store import admin_views, connected, vault_entries

_AROUND_A_KEY: Final = " \t\r\n'\""
_LONGEST_KEY: Final = 500
# What people paste where an API key belongs, by its first letters.
_MISTAKEN: Final[Mapping[str, str]] = {
    "whsec_": "That is a webhook secret, and no API key: it is of one endpoint. Set-up keeps it by itself.",
    "pk_": "That is the publishable key, which every buyer sees. The secret one begins with sk_.",
    "kw_": "That is an API token of this server, and no key of a provider.",
}


class Kept(msgspec.Struct, frozen=True):
    """A secret in the vault: what it is called in the environment, of which mode, since when."""

    setting: str
    live: bool
    since: datetime


class Standing(msgspec.Struct, frozen=True):
    """How this installation stands with a provider.

    `live` None: nothing is set up. `environment`: the settings that come from there, and win. `restart`: this
    server still runs with what was there when it started. `problem`: why the credentials cannot be used.
    `connected`: it sells through an account that the platform's keys speak for.
    """

    provider: str
    live: bool | None
    sells: bool
    listens: bool
    environment: list[str]
    kept: list[Kept]
    webhook: str
    restart: bool = False
    problem: str = ""
    connected: bool = False


class Tried(msgspec.Struct, frozen=True):
    """What was found out. `warnings`: what was set up and will not do what was meant."""

    done: Done
    warnings: list[str]


def list_standings(context: Context, tenant: str) -> list[Standing]:
    """Every provider that there is."""
    own = context.of(tenant)
    return [_standing(own, name, door) for name, door in own.doors.items()]


def try_out(context: Context, tenant: str, provider: str) -> list[Line]:
    """Tell mistakes in the API key, the mode, the webhook and its secret apart.

    Takes seconds: the provider is asked, and our own webhook address. Raises NotFound.
    """
    own = context.of(tenant)
    _door(own, provider)
    return list(check_provider(Asked(own, provider, strict=True)))


def fields_of(context: Context, tenant: str, provider: str) -> list[str]:
    """What the provider's credentials are called, in the order in which they are typed. Raises NotFound."""
    return [setting_of(kind) for kind in _door(context.of(tenant), provider).kinds.keys]


def set_up(
    context: Context, tenant: str, provider: str, keys: tuple[str, ...], act: Act, *, replace: bool
) -> Tried:
    """Keep the credentials, register our webhook, keep its secret, compare the prices.

    Args:
        keys: as typed, in the order of `fields_of`. All empty: those that are there already.
        replace: make a new endpoint with a new secret in the place of the old.

    Raises:
        NotFound: there is no such provider.
        Invalid: something else than a key was typed, or a part of the credentials is missing.
        Misconfigured: the key is wrong, revoked, or of a mode that cannot be here.
        Forbidden, ProviderUnavailable: as the provider's calls do.
    """
    own = context.of(tenant)
    door = _door(own, provider)
    why = text_of("reason", act.reason)
    found = _typed(door, keys)
    setup, account = door.open(found), account_of(own, found)
    wish = Wish(
        url=account_address(own, account),
        kinds=door.kinds,
        given=door.given[1],
        replace=replace,
        keys=tuple(zip(door.kinds.keys, found.keys, strict=False)) if any(keys) else (),
        by=act.by,
        why=why,
    )
    done = provider_setup.set_up(own, setup, account, wish)
    return Tried(done, _warnings(door, found, typed=any(keys)))


def _typed(door: Door, keys: tuple[str, ...]) -> Credentials:
    bare = tuple(key.strip(_AROUND_A_KEY) for key in keys)
    if not any(bare):
        return door.find()
    if not all(bare):
        raise Invalid("All parts of the credentials are needed together.")
    for key in bare:
        if len(key) > _LONGEST_KEY or not key.isascii() or not key.isprintable() or " " in key or "," in key:
            raise Invalid("That is no key: copy it from the provider once more, and nothing around it.")
        for beginning, told in _MISTAKEN.items():
            if key.startswith(beginning):
                raise Invalid(told)
    return door.typed(bare)


def _warnings(door: Door, found: Credentials, *, typed: bool) -> list[str]:
    """Where credentials are in the vault and others are used."""
    if not typed:
        return []
    names = " and ".join(setting_of(kind) for kind in door.kinds.keys)
    try:
        used = door.find()
    except Misconfigured as error:
        return [error.detail]
    if used.keys == found.keys:
        return []
    if door.given[0]:
        return [f"{names} is set in the environment, and the environment wins: take it out there."]
    mode, other = ("live", "test") if used.live else ("test", "live")
    return [f"Credentials of both modes are kept, and those of {mode} mode are used: {other} ones wait."]


def _standing(context: Context, provider: str, door: Door) -> Standing:
    tenant, names = context.tenant.id, [setting_of(kind) for kind in door.kinds.keys]
    secret = setting_of(door.kinds.secret)
    with context.database.read() as connection:
        accounts = [one for one in admin_views.list_accounts(connection, tenant) if one.provider == provider]
        entries = [
            (entry, account.mode == "live")
            for account in accounts
            for entry in vault_entries.list_of(connection, tenant, account.id)
        ]
        tied = connected.find(connection, tenant, provider)
    shown = {*names, secret}
    kept = [
        Kept(setting_of(entry.kind), live, entry.created_at)
        for entry, live in entries
        if setting_of(entry.kind) in shown
    ]
    given = [*(names if door.given[0] else []), *([secret] if door.given[1] else [])]
    found, problem = door.started_with, ""
    try:
        found = door.find()
    except KeywrightError as error:
        problem = error.detail
    is_there = bool(found.keys or found.secrets)
    return Standing(
        provider=provider,
        live=bool(found.live) if is_there else None,
        sells=bool(found.keys),
        listens=bool(found.secrets),
        environment=list(dict.fromkeys(given)),
        kept=kept,
        webhook=address_of(context, provider),
        restart=found != door.started_with,
        problem=problem,
        connected=tied is not None and tied.left_at is None,
    )


def _door(context: Context, provider: str) -> Door:
    door = context.doors.get(provider)
    if door is None:
        raise NotFound("There is no such provider.", code="PROVIDER_UNKNOWN")
    return door
