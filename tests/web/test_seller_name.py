"""The name customers know the seller by: given at a start, kept afterwards, and shown to people."""

from __future__ import annotations

from pathlib import Path

import pytest
from litestar.testing import TestClient

from keywright import bootstrap
from keywright.domain.errors import Misconfigured
from keywright.flows.context import Context
from keywright.web.app import create_app
from tests.conftest import Prepared, test_settings
from tests.web.conftest import BASE, IdleEngine


def start(url: str, folder: Path, name: str | None) -> str:
    """Start a server with this SELLER_NAME, or without one. Returns the seller's name."""
    made = test_settings(url, folder) if name is None else test_settings(url, folder, seller_name=name)
    database = bootstrap.open_database(made)
    try:
        named = bootstrap.prepare(made, database).name
        assert bootstrap.build(made, database).master.name == named
        return named
    finally:
        database.dispose()


def test_the_first_start_names_the_seller(database_url: str, tmp_path: Path) -> None:
    assert start(database_url, tmp_path, "Acme <Tools> & Co") == "Acme <Tools> & Co"
    assert start(database_url, tmp_path, None) == "Acme <Tools> & Co"


def test_a_later_start_writes_a_name_that_changed_and_keeps_the_tenant(prepared: Prepared) -> None:
    told = [start(prepared.url, prepared.folder, name) for name in (None, " Acme ", "", "  ", "Bcme")]
    assert told == ["Software store", "Acme", "Acme", "Acme", "Bcme"]
    made = test_settings(prepared.url, prepared.folder)
    database = bootstrap.open_database(made)
    context = bootstrap.build(made, database)
    assert context.signer.active_key(context.master.id, "lease+jwt")
    assert context.master.slug == "master"
    database.dispose()


@pytest.mark.parametrize("name", ["Acme\nBcc: eve@example.com", "Acme\x00", "a" * 101])
def test_what_would_break_a_mail_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(Misconfigured, match="SELLER_NAME"):
        test_settings(f"sqlite:///{tmp_path / 'x.sqlite'}", tmp_path, seller_name=name)


def test_customers_read_the_name(context: Context) -> None:
    with TestClient(create_app(context, IdleEngine()), base_url=BASE) as client:
        assert "Software store" in client.get("/").text
