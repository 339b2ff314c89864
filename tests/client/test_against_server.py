"""The client and the example program against the real server, on a port of this machine."""

from __future__ import annotations

import json
import os
import queue
import re
import subprocess
import sys
import threading
import time
from base64 import urlsafe_b64decode
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

import httpx
import pytest

from keywright.client import Client, Machine, Result, Trust, signal
from keywright.flows import catalog, catalog_file, key_sets, operate, revocations, signing_keys, tenants
from keywright.flows.operate import Act, Order
from keywright.flows.signing_keys import KeyAct
from keywright.signing import root_key
from tests.conftest import SECRET
from tests.e2e.conftest import Shop
from tests.e2e.server import wait_until

ROOT = Path(__file__).resolve().parents[2]
BY = Act(by="test")
PLAN = "dashcaddy/plan-0"
BASELINE = {"limits": {"projects": 3}}


class Market:
    """A shop, and what a seller builds into his program to sell through it."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self.url = f"http://127.0.0.1:{shop.port}"
        self.http = httpx.Client(base_url=self.url, trust_env=False, timeout=20)
        hook = {"url": f"{self.url}/api/webhooks/stripe", "secret": SECRET}
        self.pull("webhook", hook)
        self.issuer = self.http.get("/api/public/config").json()["issuer"]

    @property
    def keys(self) -> str:
        """The keys as they are now: a test may rotate them."""
        return self.http.get("/.well-known/jwks.json").text

    def pull(self, lever: str, body: Any) -> None:
        url = f"{self.shop.sandbox.url}/_sandbox/{lever}"
        httpx.post(url, json=body, trust_env=False, timeout=20).raise_for_status()

    def issue(self, plan: str = PLAN, **more: Any) -> tuple[str, str]:
        """A license by staff: id and key."""
        with self.shop.opened() as context:
            row, key = operate.issue(
                context, context.master.id, Order(plan=plan, email="ann@example.com", **more), BY
            )
            return row.id, key

    def act(self, name: Literal["suspend", "reinstate", "revoke"], license_: str) -> None:
        """What staff do to a license, from a process that is not the server's."""
        with self.shop.opened() as context:
            operate.decide(context, context.master.id, license_, BY, name)

    def client(self, folder: Path, machine: Machine | None = None, **more: Any) -> Client:
        given: dict[str, Any] = {
            "product": "dashcaddy",
            "server": self.url,
            "trust": Trust(self.issuer, keys=self.keys),
            "state_dir": folder / "first",
            "second_dir": folder / "second",
            "baseline": BASELINE,
            "machine": machine or Machine("machine-0001"),
        }
        return Client(**{**given, **more})

    def pay(self, url: str) -> None:
        """Pay as the buyer does, by the page that the program opened."""
        page = self.http.get(url.removeprefix("http://127.0.0.1:8000"))
        (pay_page,) = re.findall(r'href="(http[^"]+/c/pay/[^"]+)"', page.text)
        session = pay_page.rsplit("/", 1)[-1].split("?")[0].split("#")[0]
        self.pull("stripe/pay", {"session": session, "card": "4242424242424242", "email": "ann@example.com"})


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Market]:
    # One database is enough: what is tried here is the other side of the wire.
    folder = tmp_path_factory.mktemp("market")
    with ExitStack() as stack:
        made = Market(Shop(f"sqlite:///{folder / 'data' / 'keywright.sqlite'}", folder, stack))
        stack.callback(made.http.close)
        yield made


def test_a_license_from_activation_to_refusal_and_back(market: Market, tmp_path: Path) -> None:
    id_, key = market.issue(seats=2)
    client = market.client(tmp_path)
    assert client.check().limit("projects") == 3
    result = client.activate(key.lower().replace("-", " "))
    assert (result.state, result.plan, result.license_id, result.contact) == ("valid", "plan-0", id_, "fine")
    assert result.offline_until is not None
    market.act("suspend", id_)
    assert client.check().valid
    assert client.validate().reason == "suspended"
    assert market.client(tmp_path).check().reason == "suspended"
    market.act("reinstate", id_)
    assert client.validate().valid
    assert client.deactivate().reason == "freed"
    assert client.check().reason == "no_license"


def test_a_tenants_address_is_all_that_a_program_needs(market: Market, tmp_path: Path) -> None:
    text = """
        [[product]]
        slug = "saw"
        name = "Saw"
        key_prefix = "AC"
        baseline = { limits = { jobs = 2 } }
        [[product.plan]]
        slug = "pro"
        name = "Pro"
        term = "perpetual"
        limits = { jobs = 20 }
        prices = [{ key = "once", provider = "stripe", id = "price_saw", amount = 900, currency = "USD" }]
    """
    with market.shop.opened() as context:
        made = tenants.create(context, "Acme Tools", "acme", by="test")
        own = context.of(made.id)
        catalog.apply(own, catalog_file.parse(text, source="test", environment={}))
        _, key = operate.issue(own, made.id, Order(plan="saw/pro", email="ann@example.com"), BY)
    server = f"{market.url}/t/acme"
    issuer = market.http.get("/t/acme/api/public/config").json()["issuer"]
    keys = market.http.get("/t/acme/.well-known/jwks.json").text
    assert market.http.get(f"{httpx.URL(issuer).path}/.well-known/jwks.json").text == keys
    given: dict[str, Any] = {
        "product": "saw",
        "server": server,
        "trust": Trust(issuer, keys=keys),
        "baseline": None,
    }
    client = market.client(tmp_path / "own", **given)
    client.check()  # asks what runs without a license, too
    assert client.check().limit("jobs") == 2
    assert client.activate(key).limit("jobs") == 20
    assert client.validate().valid
    _, foreign = market.issue(seats=1)
    stranger = market.client(tmp_path / "other", **given)
    assert stranger.activate(foreign).reason == "not_found"


def test_a_key_that_is_none(market: Market, tmp_path: Path) -> None:
    assert market.client(tmp_path).activate("DC-00000-00000-00000-00000-00000").reason == "not_found"


def test_more_machines_than_seats(market: Market, tmp_path: Path) -> None:
    _, key = market.issue(seats=1)
    assert market.client(tmp_path / "a", Machine("machine-aaaa")).activate(key).valid
    assert market.client(tmp_path / "b", Machine("machine-bbbb")).activate(key).reason == "too_many_machines"


def test_a_program_that_asks_too_often(market: Market, tmp_path: Path) -> None:
    _, key = market.issue(seats=1)
    client = market.client(tmp_path)
    client.activate(key)
    contacts = []
    for _ in range(130):  # the limit is 60 a minute, and a minute of the clock may begin meanwhile
        result = client.validate()
        assert (result.state, result.reason) == ("valid", "licensed")
        contacts.append(result.contact)
    assert contacts.count("fine") <= 125
    assert contacts[-1] == "throttled"
    assert result.retry_at is not None


def test_a_machine_that_changed_is_known_again(market: Market, tmp_path: Path) -> None:
    def machine(identity: str, disk: str) -> Machine:
        raw = {"machine": "id-1", "board": "board-1", "mac": "mac-1", "host": "ann", "disk": disk}
        return Machine(identity, {**{n: signal("dashcaddy", n, v) for n, v in raw.items()}, "kind": "metal"})

    _, key = market.issue(seats=1)
    assert market.client(tmp_path, machine("machine-before", "disk-1")).activate(key).valid
    # The state is another machine's now; the key in it is enough to ask, and the signals to be known.
    healed = market.client(tmp_path, machine("machine-after-1", "disk-2"))
    assert healed.check().valid
    stranger = Machine(
        "machine-after-2", {"machine": signal("dashcaddy", "machine", "id-9"), "kind": "metal"}
    )
    assert market.client(tmp_path, stranger).check().reason == "not_activated"


def test_bought_in_the_browser_while_the_program_runs(market: Market, tmp_path: Path) -> None:
    client = market.client(tmp_path, Machine("ann-laptop-0123456789", name="ann-laptop"))
    pages: list[str] = []
    purchase = client.buy("plan-2", open_page=pages.append)
    assert purchase.problem == ""
    assert len(pages) == 1
    results: queue.Queue[tuple[float, Result]] = queue.Queue()
    waiting = threading.Thread(target=lambda: results.put((time.monotonic(), purchase.wait(60))))
    waiting.start()
    time.sleep(0.5)
    market.pay(pages[0])
    waiting.join(60)
    _, result = results.get(timeout=1)
    assert (result.state, result.plan) == ("valid", "plan-2")
    assert client.check().valid
    assert client.resume_purchase() is None


def test_a_watch_hears_of_a_suspension_at_once(market: Market, tmp_path: Path) -> None:
    id_, key = market.issue(seats=1)
    client = market.client(tmp_path)
    client.activate(key)
    heard: queue.Queue[tuple[float, Result]] = queue.Queue()
    with client.watch(lambda result: heard.put((time.monotonic(), result))) as watch:
        assert heard.get(timeout=20)[1].valid
        time.sleep(0.5)
        market.act("suspend", id_)
        committed = time.monotonic()
        at, result = heard.get(timeout=30)
        assert result.reason == "suspended"
        assert at - committed < 10
    assert watch.error is None


def test_a_license_file_of_the_server(market: Market, tmp_path: Path) -> None:
    _, key = market.issue(seats=1)
    machine = Machine("machine-0001")
    assert market.client(tmp_path / "online", machine).activate(key).valid
    made = market.http.post("/api/license/file", json={"key": key, "fingerprint": machine.fingerprint})
    assert made.status_code == 200, made.text
    offline = market.client(tmp_path / "offline", machine, server=None)
    result = offline.load_file(made.json()["file"])
    assert (result.state, result.source, result.contact) == ("valid", "file", "none")
    assert (
        market.client(tmp_path / "other", Machine("machine-0002"), server=None)
        .load_file(made.json()["file"])
        .reason
        == "other_machine"
    )


def test_the_lists_of_the_server_are_taken(market: Market, tmp_path: Path) -> None:
    id_, key = market.issue(seats=1)
    client = market.client(tmp_path)
    client.activate(key)
    market.act("revoke", id_)
    with market.shop.opened() as context:
        listed = revocations.get_list(context, context.master.id)
    assert client.check().valid
    assert client.load_lists(listed).reason == "revoked"
    assert market.http.get("/.well-known/keywright-revoked.jwt").status_code == 200


def test_keys_that_rotate_under_a_pinned_root(market: Market, tmp_path: Path) -> None:
    _, key = market.issue(seats=1)
    act = KeyAct(by="test")
    with market.shop.opened() as context:
        tenant, root = context.master.id, root_key.create(tmp_path / "root.json")
        key_sets.pin_root(context, tenant, root, by="test")
        key_sets.sign_key_set(context, tenant, root, by="test")
        shipped = key_sets.get_document(context, tenant)
        trust = Trust(market.issuer, root=key_sets.public_of(root), key_set=shipped)
        client = market.client(tmp_path, trust=trust)
        assert client.activate(key).valid
        first = client._store.read().state.lease
        # Twice: then what signs is a key that the program was not shipped with.
        for _ in range(2):
            signing_keys.rotate(context, tenant, act, token_type="lease+jwt")
            key_sets.sign_key_set(context, tenant, root, by="test")
    wait_until(
        lambda: client.validate().contact == "fine" and newest_key(client) != key_of(first), 20, "a new key"
    )
    assert client.check().valid
    assert client._store.read().state.key_set_seq > trust.read_key_set(shipped).seq


def key_of(token: str) -> str:
    header = token.split(".")[0]
    kid: str = json.loads(urlsafe_b64decode(header + "=" * (-len(header) % 4)))["kid"]
    return kid


def newest_key(client: Client) -> str:
    return key_of(client._store.read().state.lease)


# --- the example ---


@pytest.fixture
def hello(market: Market, tmp_path: Path) -> Any:
    """The example program, told of this seller."""
    settings = tmp_path / "seller.json"
    seller = {
        "product": "dashcaddy",
        "server": market.url,
        "issuer": market.issuer,
        "keys": json.loads(market.keys),
        "state_dir": str(tmp_path / "first"),
        "second_dir": str(tmp_path / "second"),
    }
    settings.write_text(json.dumps(seller))
    program = tmp_path / "hello.py"
    program.write_bytes((ROOT / "examples" / "hello" / "hello.py").read_bytes())
    environment = {"PYTHONPATH": str(ROOT / "src"), "PATH": os.environ["PATH"], "HOME": str(tmp_path)}

    def run(*arguments: str) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-W", "error", str(program), *arguments],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    return run


def test_the_example_program(market: Market, hello: Any, tmp_path: Path) -> None:
    assert hello("Ann", "Ben", "Cid", "Dora") == (
        3,
        (
            "Hello, Ann!\nHello, Ben!\nHello, Cid!\n"
            "1 more would need a license. There is no license on this computer.\n"
        ),
    )
    assert hello()[0] == 2
    assert hello("activate", "DC-WRONG")[0] == 3
    _, key = market.issue(seats=1)
    code, text = hello("activate", key)
    assert (code, text.splitlines()[:2]) == (0, ["valid: Your license is valid.", "plan plan-0, 1 seats"])
    assert hello("Ann", "Ben", "Cid", "Dora") == (0, "Hello, Ann!\nHello, Ben!\nHello, Cid!\nHello, Dora!\n")
    assert hello("status")[0] == 0
    assert hello("free") == (0, "This computer no longer uses the license.\n")
    assert hello("status") == (3, "unlicensed: There is no license on this computer.\n")
    assert key not in (tmp_path / "seller.json").read_text()
