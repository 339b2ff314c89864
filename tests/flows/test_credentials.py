"""Credentials come from the environment and from the vault; the environment wins, and secrets add up."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa

from keywright import adapters, bootstrap
from keywright.domain.errors import KeywrightError, Misconfigured
from keywright.flows import credentials
from keywright.flows.context import Context, new_id
from keywright.store import tenants, vault_entries
from tests.conftest import SECRET, Prepared, test_settings

NO_STRIPE: dict[str, object] = {"stripe_secret_key": None, "stripe_webhook_secret": None}


@contextmanager
def built(prepared: Prepared, **more: Any) -> Iterator[Context]:
    settings = test_settings(prepared.url, prepared.folder, **more)
    database = bootstrap.open_database(settings)
    try:
        yield bootstrap.build(settings, database)
    finally:
        database.dispose()


def keep(context: Context, *, live: bool = False, **kept: str) -> str:
    """Seal these for the master tenant's Stripe account; returns the account's id."""
    now = context.clock.now()
    with context.database.write() as connection:
        account = tenants.get_account(
            connection, context.master.id, "stripe", live=live, new_id=new_id("pac"), now=now
        )
        named = {f"stripe.{name}": text for name, text in kept.items()}
        credentials.keep(connection, context.vault, account, named, now)
    return account.id


def test_the_vault_is_enough(prepared: Prepared) -> None:
    with built(prepared, **NO_STRIPE) as context:
        assert context.channels == {}
        account = keep(context, secret_key="sk_test_kept_0123", webhook_secret="whsec_kept_0123")
    with built(prepared, **NO_STRIPE) as context:
        channel = context.channels["stripe"]
        assert channel.account.id == account
        assert channel.secrets == ("whsec_kept_0123",)
        assert channel.api is not None


def test_the_environment_wins_and_secrets_add_up(prepared: Prepared) -> None:
    with built(prepared) as context:
        keep(context, secret_key="sk_test_kept_0123", webhook_secret=f"whsec_kept_0123,{SECRET}")
        settings = test_settings(prepared.url, prepared.folder)
        vault: Any = context.vault
        found = adapters.find_credentials(settings, context.database, vault, context.master, "stripe")
        assert found.keys == ("sk_test_keywright",)
        assert found.secrets == (SECRET, "whsec_kept_0123")
        assert "whsec" not in repr(found)
        assert "sk_test" not in repr(found)


def test_the_kept_key_tells_the_mode(prepared: Prepared) -> None:
    with built(prepared, **NO_STRIPE) as context:
        live = keep(context, live=True, secret_key="sk_live_kept_0123")
        keep(context, secret_key="sk_test_kept_0123")
    https = {"app_base_url": "https://licenses.example.com"}
    with built(prepared, **NO_STRIPE, **https) as context:
        assert context.channels["stripe"].account.live
        assert context.channels["stripe"].account.id == live
    with built(prepared, **https) as context:
        assert not context.channels["stripe"].account.live


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"app_base_url": "http://licenses.example.com"}, "https://"),
        ({"keywright_mode": "sandbox"}, "sandbox"),
    ],
)
def test_a_kept_live_key_is_refused_where_a_given_one_is(
    prepared: Prepared, more: dict[str, str], reason: str
) -> None:
    with built(prepared, **NO_STRIPE) as context:
        keep(context, live=True, secret_key="sk_live_kept_0123")
    with pytest.raises(Misconfigured, match=reason), built(prepared, **NO_STRIPE, **more):
        pass


def test_a_sealed_text_opens_in_its_own_place_only(prepared: Prepared) -> None:
    with built(prepared) as context:
        test, live = keep(context, webhook_secret="whsec_kept_0123"), keep(context, live=True, secret_key="x")
        with context.database.write() as connection:
            (entry,) = vault_entries.list_of(connection, context.master.id, test)
            assert "whsec" not in entry.sealed
            vault_entries.drop(connection, context.master.id, live, ["stripe.secret_key"])
            connection.execute(sa.text("UPDATE vault_entries SET owner = :live"), {"live": live})
        account = tenants.ProviderAccount(live, context.master.id, "stripe", True)
        with context.database.read() as connection, pytest.raises(KeywrightError) as refused:
            credentials.find(connection, context.vault, account, "stripe.webhook_secret")
        assert refused.value.code == "VAULT_REFUSED"
