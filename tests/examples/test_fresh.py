"""What a server signs, in the hands of the examples; the one for browsers is in tests/browser."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from keywright.domain import hmac_key, license_token
from keywright.domain.license_file import wrap
from keywright.domain.plan import Terms
from keywright.flows import firm_keys, firms, operate
from keywright.flows.context import Context
from keywright.signing.hmac_key import DerivedSecrets
from keywright.store.tables import plans, products
from tests.examples.cases import Case
from tests.examples.fresh import signed_by
from tests.examples.test_openssl import command
from tests.examples.tools import ask_node, need, run
from tests.life import world


def judged(asked: list[Case], said: list[bool]) -> None:
    assert {one.name: it for one, it in zip(asked, said, strict=True) if it is not one.counts} == {}


@pytest.mark.parametrize("prepared", ["sqlite"], indirect=True)
def test_node(context: Context) -> None:
    asked = signed_by(context)
    said = ask_node(tokens=[one._asdict() for one in asked])["tokens"]
    judged(asked, [word == "counts" for word in said])


@pytest.mark.parametrize("prepared", ["sqlite"], indirect=True)
def test_openssl(context: Context, tmp_path: Path) -> None:
    need("openssl", 3)
    asked = signed_by(context)
    # A license as the file that is mailed; a lease as it is.
    given = [
        one._replace(token=wrap(one.token)) if one.rules["typ"] == license_token.LICENSE else one
        for one in asked
    ]
    judged(asked, [run(command("/bin/sh", tmp_path, one))[0] == 0 for one in given])


@pytest.mark.parametrize("prepared", ["sqlite"], indirect=True)
def test_node_and_the_keys_of_firms(context: Context) -> None:
    """A server's HMAC keys, with the secret that it prints; and with the new one after that was changed."""
    shop = replace(context, firm_secrets=DerivedSecrets("a master secret that is long enough"))
    world.stock(shop, price_year=Terms(profile="hmac", term=365 * 86_400))
    with shop.database.write() as connection:
        connection.execute(sa.update(products).values(code=513))
        connection.execute(sa.update(plans).values(code=3))
    tenant, firm, act = shop.master.id, "Norddeutsche Wasserwerke", operate.Act("tests")
    order = operate.Order("dashcaddy/plan-0", "ann@example.com", seats=7, firm=firm)
    operate.issue(shop, tenant, order, act)

    def key() -> firm_keys.FirmKey:
        made = firm_keys.opened(shop, world.the_license(shop))
        assert made is not None
        return made

    now = int(shop.clock.now().timestamp())
    old, old_secret = key(), firms.secrets_of(shop, tenant, firm, act).secret
    new_secret = firms.secrets_of(shop, tenant, firm, act, rotate=True).secret
    new = key()
    both = f"{old_secret}\n{new_secret}\n"
    asked = [
        *({"text": one, "secrets": old_secret} for one in (old.short, old.full, hmac_key.to_file(old.full))),
        *({"text": one.short, "secrets": both} for one in (old, new)),
        {"text": new.short, "secrets": new_secret},
        {"text": old.short, "secrets": new_secret},
        {"text": new.short, "secrets": old_secret},
        {"text": new.short, "secrets": new_secret, "firm": "Another"},
    ]
    said = ask_node(keys=[{"firm": firm, "now": now, "product": 513, **one} for one in asked])["keys"]
    assert said == ["counts"] * 6 + ["epoch", "epoch", "tag"]
