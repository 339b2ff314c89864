"""S15: a ciphertext opens in its own place, under its own keys, nowhere else; a stolen database is noise."""

from __future__ import annotations

import gzip
import itertools
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from keywright import bootstrap
from keywright.domain import license_key
from keywright.domain.errors import Misconfigured
from keywright.flows import backups, credentials, operate, staff_secrets, webhooks
from keywright.flows.context import Context
from keywright.flows.operate import Act, Order
from keywright.signing import vault
from keywright.signing.keyring import Keyring
from keywright.signing.master_key import GivenKeys, MasterKey, MasterKeys, load_or_create, new_master_key
from keywright.signing.vault import Place, VaultRefused
from keywright.store import tenants as stored
from keywright.store.staff_tables import staff, staff_factors
from tests.conftest import Prepared, test_settings
from tests.e2e.test_secrets import texts_in_database
from tests.life.sellers import Seller, with_sellers

SEALED = re.compile(r"v1\.[A-Za-z0-9_-]{38,}")
SAME = "a-secret-that-both-of-them-have-chosen"


class House:
    """Two tenants with one of every secret that is kept; one secret is the same at both."""

    def __init__(self, context: Context) -> None:
        self.context, self.sellers = with_sellers(context, "one", "two")
        self.secrets: set[str] = {SAME}
        for seller in self.sellers.values():
            self._fill(seller)
        (self.master,) = load_or_create(Path(bootstrap_folder(context)) / "master.key")

    def _fill(self, seller: Seller) -> None:
        context, tenant, now = self.context, seller.tenant.id, self.context.clock.now()
        kept = {
            "stripe.secret_key": f"sk_test_{seller.tenant.slug}_51HqPlanted",
            "stripe.webhook_secret": f"whsec_{seller.tenant.slug}_planted",
            "paypal.client_secret": SAME,
        }
        with context.database.write() as connection:
            account = stored.get_account(
                connection, tenant, "stripe", live=False, new_id=context.new_id("pac"), now=now
            )
        with context.database.write() as connection:
            credentials.keep(connection, context.vault, account, kept, now)
        order = Order(f"{seller.product}/ever", "ann@example.com", seats=1)
        key = operate.issue(context, tenant, order, Act("test"))[1]
        hook = webhooks.create(context, tenant, "https://1.1.1.1/hook", act=Act("test"))
        totp = staff_secrets.new_totp_secret()
        self._employ(tenant, totp)
        self.secrets |= {*kept.values(), key, license_key.canonical(key) or key, hook.secret, totp}

    def _employ(self, tenant: str, totp: str) -> None:
        context, id_ = self.context, self.context.new_id("stf")
        at = {"created_at": context.clock.now()}
        sealed = context.vault.seal(tenant, "staff-factor", id_, totp)
        person = {"id": id_, "tenant_id": tenant, "email": "staff@example.com", "role": "owner", **at}
        factor = {"id": id_, "tenant_id": tenant, "staff_id": id_, "kind": "totp", "name": "phone", **at}
        with context.database.write() as connection:
            connection.execute(sa.insert(staff).values(**person))
            connection.execute(sa.insert(staff_factors).values(**factor, sealed=sealed))

    def sealed(self) -> list[str]:
        """Every ciphertext that stands in the database."""
        return [found for _, value in texts_in_database(self.context) for found in SEALED.findall(value)]

    def opened_by(self, *masters: MasterKey) -> Keyring:
        """The same database with other master keys, in a process that has nothing in memory."""
        text = ",".join(urlsafe_b64encode(one.key).decode() for one in masters)
        return Keyring(MasterKeys(GivenKeys(text)), self.context.database)


def bootstrap_folder(context: Context) -> Path:
    outbox = context.policy.outbox
    assert outbox is not None
    return outbox.parent


@pytest.fixture
def house(context: Context) -> House:
    return House(context)


# -- places ---------------------------------------------------------------------------------------------


def test_a_ciphertext_opens_in_its_own_place_alone(house: House) -> None:
    """Every one at every other's place: tenant, kind, row; and at another version of its own."""
    own = house.context.vault
    tenants = [one.tenant.id for one in house.sellers.values()]
    kinds = ("stripe.secret_key", "stripe.webhook_secret", "license-key", "staff-factor", "webhook-endpoint")
    places = list(itertools.product(tenants, kinds, ("row_1", "row_2")))
    sealed = {place: own.seal(*place, f"secret of {place}") for place in places}
    opened = refused = 0
    for at, (of, text) in itertools.product(places, sealed.items()):
        if at == of:
            assert own.unseal(*at, text) == f"secret of {at}"
            opened += 1
        else:
            with pytest.raises(VaultRefused):
                own.unseal(*at, text)
            refused += 1
    assert (opened, refused) == (20, 380)


def test_another_version_of_the_same_place_is_another_place() -> None:
    key = vault.new_data_key()
    for one, other in itertools.permutations(range(4), 2):
        text = vault.seal(key, b"secret", Place("ten_1", "kind", "field", one))
        with pytest.raises(VaultRefused):
            vault.open_(key, text, Place("ten_1", "kind", "field", other))


def alterations(text: str) -> Iterator[str]:
    """Every bit flipped, every length shorter, some longer, and other formats."""
    raw = urlsafe_b64decode(text[3:] + "=" * (-len(text[3:]) % 4))

    def written(changed: bytes) -> str:
        return "v1." + urlsafe_b64encode(changed).rstrip(b"=").decode()

    for position, bit in itertools.product(range(len(raw)), range(8)):
        yield written(raw[:position] + bytes([raw[position] ^ 1 << bit]) + raw[position + 1 :])
    for length in range(len(raw)):
        yield written(raw[:length])
    yield from (written(raw + b"\0"), written(raw + raw), "", "v1.", "v2." + text[3:], text + "=", " " + text)


def test_what_was_altered_is_refused(house: House) -> None:
    tenant = house.sellers["one"].tenant.id
    text = house.context.vault.seal(tenant, "kind", "row", "a secret")
    tried = 0
    for altered in alterations(text):
        with pytest.raises(VaultRefused):
            house.context.vault.unseal(tenant, "kind", "row", altered)
        tried += 1
    assert tried > 300


def test_wrapped_keys_of_two_tenants_exchanged_open_nothing(house: House) -> None:
    one, two = (seller.tenant.id for seller in house.sellers.values())
    with house.context.database.write() as connection:
        stored_keys = connection.execute(sa.text("SELECT tenant_id, wrapped FROM data_keys"))
        held: dict[str, str] = {row.tenant_id: row.wrapped for row in stored_keys}
        for tenant, other in ((one, two), (two, one)):
            connection.execute(
                sa.text("UPDATE data_keys SET wrapped = :wrapped WHERE tenant_id = :tenant"),
                {"wrapped": held[other], "tenant": tenant},
            )
    fresh = house.opened_by(house.master)
    for tenant in (one, two):
        with pytest.raises(VaultRefused):
            fresh.row_key(tenant)
        with pytest.raises(VaultRefused):
            fresh.sign(tenant, "lease+jwt", {})
    assert fresh.row_key(house.context.master.id) == house.context.vault.row_key(house.context.master.id)


def test_exchanged_keys_of_look_ups_open_nothing(house: House) -> None:
    with house.context.database.write() as connection:
        for purpose, other in (("claim", "portal"), ("portal", "claim")):
            connection.execute(
                sa.text("UPDATE blind_keys SET purpose = :to WHERE purpose = :purpose"),
                {"purpose": purpose, "to": f"{other}-moved"},
            )
        for moved in ("claim", "portal"):
            connection.execute(
                sa.text("UPDATE blind_keys SET purpose = :to WHERE purpose = :purpose"),
                {"purpose": f"{moved}-moved", "to": moved},
            )
    fresh = house.opened_by(house.master)
    for purpose in ("claim", "portal"):
        with pytest.raises(VaultRefused):
            fresh.blind(purpose, "x")  # type: ignore[arg-type]  # both are purposes
    assert fresh.blind("fingerprint", "x") == house.context.vault.blind("fingerprint", "x")


# -- master keys ----------------------------------------------------------------------------------------


def everything(keyring: Keyring, house: House) -> Iterator[Callable[[], Any]]:
    """All that a keyring can be asked for."""
    (any_text, *_) = house.sealed()
    for seller in house.sellers.values():
        tenant = seller.tenant.id
        yield partial(keyring.row_key, tenant)
        yield partial(keyring.sign, tenant, "lic+jwt", {})
        yield partial(keyring.active_key, tenant, "crl+jwt")
        yield partial(keyring.key_set, tenant)
        yield partial(keyring.seal, tenant, "kind", "row", "text")
        yield partial(keyring.unseal, tenant, "kind", "row", any_text)
    yield partial(keyring.blind, "license-key-lookup", "x")


def test_another_master_key_opens_nothing(house: House) -> None:
    other = house.opened_by(new_master_key(), new_master_key())
    for act in everything(other, house):
        with pytest.raises(VaultRefused):
            act()
    one = house.sellers["one"].tenant.id
    beside = house.opened_by(new_master_key(), house.master)
    assert beside.row_key(one) == house.context.vault.row_key(one)


def test_a_master_key_that_only_has_the_right_name_opens_nothing(house: House) -> None:
    """The id in the database says which key it is; it does not make one."""
    impostor = MasterKey(house.master.id, vault.new_data_key())

    class Impostor:
        name = "impostor"

        def read(self) -> tuple[MasterKey, ...]:
            return (impostor,)

    for act in everything(Keyring(MasterKeys(Impostor()), house.context.database), house):
        with pytest.raises(VaultRefused):
            act()


# -- a stolen database ----------------------------------------------------------------------------------


def test_a_stolen_database_shows_no_secret_and_no_equals(house: House) -> None:
    assert len(house.secrets) > 10
    everywhere = "\n".join(value for _, value in texts_in_database(house.context))
    assert len(everywhere) > 5000
    assert [secret for secret in house.secrets if secret in everywhere] == []
    sealed = house.sealed()
    assert len(sealed) >= 2 * (3 + 1 + 1 + 1) + 3 * 6  # every tenant's, and signing keys
    assert len(set(sealed)) == len(sealed)
    nonces = [urlsafe_b64decode(text[3:19]) for text in sealed]
    assert len(set(nonces)) == len(nonces)
    assert urlsafe_b64encode(house.master.key).decode().rstrip("=") not in everywhere
    assert house.master.key.hex() not in everywhere


def test_a_stolen_backup_shows_none_and_is_restored_by_nobody_else(
    house: House, prepared: Prepared, tmp_path: Path
) -> None:
    file = tmp_path / "night.backup"
    backups.make(house.context.database, file, house.context.clock.now(), lambda *_: None)
    raw = gzip.decompress(file.read_bytes())
    assert [secret for secret in house.secrets if secret.encode() in raw] == []
    for key in (house.master.key, house.master.key.hex().encode(), urlsafe_b64encode(house.master.key)):
        assert key.rstrip(b"=") not in raw
    thief = tmp_path / "thief"
    settings = test_settings(
        f"sqlite:///{thief / 'data' / 'k.sqlite'}",
        thief,
        keywright_master_key=new_master_key().key.hex(),
    )
    database = bootstrap.open_database(settings)
    try:
        with pytest.raises(Misconfigured, match=house.master.id):
            backups.restore(database, file, bootstrap.key_check(settings), lambda *_: None)
        with database.read() as connection:
            assert sa.inspect(connection).get_table_names() == []
    finally:
        database.dispose()
