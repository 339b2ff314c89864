"""`webhook`: endpoints made, tried, changed and ended from the command line, with somebody who receives."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from keywright.store.engine import Database
from keywright.store.operating_tables import audit
from tests.cli.test_cli import Shell
from tests.conftest import Prepared
from tests.life.receiver import Receiver, receiving

only_sqlite = pytest.mark.parametrize("prepared", ["sqlite"], indirect=True)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as one:
        yield one


class Office(Shell):
    def __init__(self, folder: Path, url: str) -> None:
        super().__init__(folder, DATABASE_URL=url, WEBHOOK_ALLOW_PRIVATE="1")
        self.url = url

    def audit(self) -> list[tuple[str, str]]:
        """Act and actor of what was done to webhooks, oldest first."""
        database = Database(self.url)
        try:
            with database.read() as connection:
                query = sa.select(audit.c.act, audit.c.actor).where(audit.c.act.startswith("webhook"))
                return [(act, actor) for act, actor in connection.execute(query.order_by(audit.c.seq))]
        finally:
            database.dispose()


@pytest.fixture
def shell(prepared: Prepared, tmp_path: Path) -> Office:
    return Office(tmp_path, prepared.url)


@only_sqlite
def test_an_endpoint_from_its_beginning_to_its_end(shell: Office, receiver: Receiver) -> None:
    secret = shell.run(
        "webhook", "create", receiver.url, "--type", "license.issued", "--note", "the shop"
    ).stdout
    assert re.fullmatch(r"whsec_[A-Za-z0-9+/]{43}=\n", secret)
    [made] = shell.json("webhook", "list")
    assert (made["types"], made["note"], made["enabled"]) == (["license.issued"], "the shop", True)
    assert secret.strip() not in shell.run("webhook", "list").stdout
    assert shell.run("webhook", "test", made["id"]).stdout == "Taken: HTTP 204.\n"
    receiver.answer(503)
    tried = shell.json("webhook", "test", made["id"], fails=1)
    assert (tried["taken"], tried["status"], tried["error"]) == (False, 503, "HTTP 503")
    [failed] = shell.json("webhook", "list", made["id"], "--status", "failed")
    assert failed["id"] == tried["delivery"]
    done = shell.run("webhook", "redeliver", failed["id"])
    assert done.stdout == f"{failed['id']} is due.\n"
    assert "No server" in done.stderr or "server" in done.stderr
    turned = shell.run("webhook", "rotate-secret", made["id"], "--overlap-hours", "0").stdout
    assert turned != secret
    shell.run("webhook", "delete", made["id"])
    assert shell.json("webhook", "list") == []
    told = shell.audit()
    assert told == [
        ("webhook_endpoint.created", "command line"),
        ("webhook_endpoint.tested", "command line"),
        ("webhook_endpoint.tested", "command line"),
        ("webhook_delivery.redelivered", "command line"),
        ("webhook_endpoint.secret_rotated", "command line"),
        ("webhook_endpoint.deleted", "command line"),
    ]


@only_sqlite
def test_what_cannot_be_is_one_line(shell: Office) -> None:
    for words in (
        ("create", "http://169.254.169.254/"),
        ("create", "https://hooks.example.com", "--type", "license.painted"),
        ("test", "whe_none"),
        ("redeliver", "msg_none"),
        ("delete", "whe_none"),
    ):
        done = shell.run("webhook", *words, fails=1)
        assert done.stdout == ""
        assert len(done.stderr.strip().splitlines()) == 1, done.stderr
