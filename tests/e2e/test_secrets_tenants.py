"""A second tenant's secrets, and a master key from a command that is changed: none is found again anywhere.

Beside what `test_secrets` plants at the first tenant's address, on both databases: the same at another
tenant's own, on SQLite, and with `make vault` on both.
"""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from keywright.domain.card_numbers import find_card_numbers
from keywright.flows.context import Context
from keywright.signing.master_key import MasterKey, new_master_key
from tests.e2e.conftest import database_of
from tests.e2e.server import Server, environment, opened, wait_until
from tests.e2e.test_secrets import CARDS, PLANTED, Garden, opened_up, still_owed, texts_in_database
from tests.e2e.test_vault import LONG, Tenant, tell
from tests.life import stripe

DATABASES = ("sqlite", "postgresql") if LONG else ("sqlite",)
METRICS = "metrics-token-of-the-seller-3"
NOISE = "planted4711"  # what the command says beside the key
PLANTED_AT = max(25, len(CARDS))
KEYS_OF_CARD = ("name", "description", "statement_descriptor")


def texts_of(key: MasterKey) -> set[str]:
    plain = {b64encode(key.key).decode(), urlsafe_b64encode(key.key).decode()}
    return {key.key.hex()} | {text.rstrip("=") for text in plain}


class House:
    """A server whose master key a command prints, and a tenant who hears Stripe at his own address."""

    def __init__(self, url: str, folder: Path, stack: ExitStack) -> None:
        self.url, self.folder, self.garden = url, folder, Garden()
        self.old, self.new = new_master_key(), new_master_key()
        self.keys = folder / "keys"
        self.give(self.old)
        command = folder / "give-key"
        command.write_text(f"#!/bin/sh\necho {NOISE} >&2\ncat '{self.keys}'\n")
        command.chmod(0o700)
        self.more = {
            "KEYWRIGHT_MASTER_KEY_COMMAND": str(command),
            "METRICS_TOKEN": METRICS,
            "LOG_LEVEL": "debug",
        }
        self.env = environment(url, folder, **self.more)
        self.told: list[str] = []
        context = stack.enter_context(self.opened())
        self.tenant = Tenant(context, "second")
        self.tenant.open_shop()
        self.server = stack.enter_context(Server(self.env, folder))
        self.base = f"http://127.0.0.1:{self.server.port}"

    def opened(self) -> AbstractContextManager[Context]:
        return opened(self.url, self.folder, keywright_master_key_command=str(self.folder / "give-key"))

    def give(self, *keys: MasterKey) -> None:
        self.keys.write_text("".join(urlsafe_b64encode(one.key).decode() + "\n" for one in keys))

    @property
    def secrets(self) -> set[str]:
        ours = {self.tenant.secret, f"sk_test_of_{self.tenant.slug}", METRICS, NOISE, *self.tenant.keys}
        return ours | texts_of(self.old) | texts_of(self.new)

    def run(self, *words: str, **env: str) -> str:
        """All that a command prints. It is kept, and looked through at the end."""
        done = subprocess.run(
            [sys.executable, "-m", "keywright.cli.main", *words],
            env={**self.env, **env},
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        self.told.append(done.stdout + done.stderr)
        return self.told[-1]

    def plant(self, client: httpx.Client) -> None:
        """Events of the tenant's, with a secret or a card number in every place that is free."""
        now = datetime.now(UTC)
        for number in range(PLANTED_AT):
            card = CARDS[number % len(CARDS)]
            secret = self.garden.secret("an event")
            found = stripe.subscription(f"sub_{number}", now, now + timedelta(days=30), price="price_second")
            planted = {**found, **dict.fromkeys(KEYS_OF_CARD, f"{secret} {card}"), "metadata": {secret: card}}
            event = stripe.event("customer.subscription.created", planted, now, id_=f"evt_s{number}")
            raw = json.dumps({**event, "extra": {card: secret}}).encode()
            answer = client.post(
                f"{self.base}/api/webhooks/stripe/{self.tenant.account}",
                content=raw,
                headers=stripe.signed(raw, self.tenant.secret, now),
            )
            self.told.append(answer.text)
            assert answer.status_code in (200, 400)
            body = {"key": secret, "fingerprint": f"machine {card}", "name": secret, "product": card}
            self.told.append(client.post(f"{self.base}/api/license/validate", json=body).text)
            where = f"/t/second/api/checkout/session/{secret}".replace(" ", "%20")
            self.told.append(
                client.get(self.base + where, headers={"Authorization": f"Bearer {secret}"}).text
            )


@pytest.fixture(scope="module", params=DATABASES)
def house(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Everything planted, the master key changed in the middle, and every mail sent."""
    folder = tmp_path_factory.mktemp("house")
    with ExitStack() as stack:
        made = House(database_of(request.param, request, folder), folder, stack)
        client = stack.enter_context(httpx.Client(trust_env=False, timeout=30))
        made.plant(client)
        made.give(made.new, made.old)
        assert made.new.id in made.run("key", "rotate-master", "--reason", "a test")
        made.give(made.new)
        assert tell(client, made.base, made.tenant, "sub_after") == 200
        assert made.new.id in made.run("key", "master")
        made.run("doctor")
        failing = "sh -c 'cat keys; exit 3'"
        assert "status 3" in made.run("key", "master", KEYWRIGHT_MASTER_KEY_COMMAND=failing)
        assert "32 bytes" in made.run("doctor", KEYWRIGHT_MASTER_KEY_COMMAND="cat keys keys give-key")
        made.run("backup", str(folder / "night.backup"))
        metrics = client.get(f"{made.base}/metrics", headers={"Authorization": f"Bearer {METRICS}"})
        assert metrics.status_code == 200
        made.told.append(metrics.text)
        with made.opened() as context:
            wait_until(lambda: not still_owed(context), 60, "the mails are out")
        yield made


def check(house: House, text: str, *, mail: bool = False) -> None:
    assert find_card_numbers(text) == []
    ours = house.secrets - set(house.tenant.keys if mail else ())  # a license key is what a mail is for
    assert [one for one in ours if one in text] == []
    found = PLANTED.search(text)
    assert found is None, text[max(0, found.start() - 80) : found.end()]


def test_something_came_of_it(house: House) -> None:
    with house.opened() as context:
        assert len(licenses_of(context, house.tenant)) > len(CARDS) // 2
        assert len(list((house.folder / "data" / "outbox").glob("*.eml"))) >= 1
    assert len(house.garden.places) >= PLANTED_AT


def licenses_of(context: Context, tenant: Tenant) -> list[str]:
    return [
        value
        for column, value in texts_in_database(context)
        if column == "licenses.tenant_id" and value == tenant.id
    ]


def test_no_log_holds_any_of_it(house: House) -> None:
    text = house.server.log.read_text(errors="replace")
    assert len(text) > 200
    check(house, text)
    assert "Traceback" not in text


def test_no_command_and_no_answer_shows_any_of_it(house: House) -> None:
    assert len(house.told) > 60
    check(house, "\n".join(house.told))


def test_no_text_in_the_database_is_any_of_it(house: House) -> None:
    with house.opened() as context:
        found = [opened_up(value) for _, value in texts_in_database(context)]
    assert len(found) > 500
    check(house, "\n".join(found))


def test_no_backup_holds_any_of_it(house: House) -> None:
    raw = gzip.decompress((house.folder / "night.backup").read_bytes()).decode()
    assert house.new.id in raw  # which key it takes, it tells
    check(house, "\n".join(opened_up(line) for line in raw.splitlines()))


def test_no_mail_holds_any_of_it(house: House) -> None:
    for file in (house.folder / "data" / "outbox").glob("*.eml"):
        check(house, file.read_text(errors="replace"), mail=True)
