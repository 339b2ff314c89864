"""Imports by the admin API and in the console: begun, worked on in the background, looked at."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from litestar.testing import TestClient

from keywright.flows import importing, staff_factors, tokens
from keywright.flows.context import Context, new_id
from keywright.sandbox.app import SandboxServer
from keywright.store import tables, tenants
from keywright.store.tenants import Tenant
from keywright.web.app import create_app
from keywright.workflows.views import Works
from tests.conftest import Prepared
from tests.e2e.server import opened
from tests.life import moving, world
from tests.web.conftest import BASE, IdleEngine
from tests.web.test_console import House, send

pytestmark = pytest.mark.parametrize("prepared", ["sqlite"], indirect=True)


@pytest.fixture
def moved(prepared: Prepared, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Context]:
    """A seller whose twelve subscriptions are at Stripe, and not here."""
    with SandboxServer(data_dir=tmp_path_factory.mktemp("sandbox")) as sandbox:
        prices = moving.lever(sandbox, "fill", provider="stripe", subscriptions=20, seed=6)["prices"]
        with opened(prepared.url, prepared.folder, **moving.settings_of(sandbox)) as context:
            moving.sell(context, "stripe", prices)
            yield context


def work(context: Context) -> None:
    """Do what waits in the background."""
    for one in Works(context.database).list_page().items:
        if one.name == "import.1":
            for run in moving.every(context, tables.metadata.tables["imports"]):
                importing.work(context, run["tenant_id"], run["id"])


def test_an_import_is_begun_and_read_by_the_api(moved: Context) -> None:
    other = Tenant(new_id("ten"), "stranger", "Stranger")
    with moved.database.write() as connection:
        tenants.insert(connection, other, moved.clock.now())
    _, writer = tokens.create(moved, moved.master, "writer", "write")
    _, reader = tokens.create(moved, moved.master, "reader", "read")
    _, stranger = tokens.create(moved, other, "stranger", "admin")
    with TestClient(create_app(moved, IdleEngine()), base_url=BASE) as client:

        def ask(method: str, path: str, token: str = reader, **body: object) -> tuple[int, dict[str, object]]:
            headers = {"authorization": f"Bearer {token}"}
            url = f"/api/admin/{path}"
            answer = client.request(method, url, headers=headers, json=body or None)
            return answer.status_code, answer.json()

        assert ask("POST", "imports", provider="stripe")[0] == 403
        assert ask("POST", "imports", writer, provider="nobody")[0] == 404
        assert (
            ask("POST", "imports", writer, provider="stripe", csv="key\n1\n")[1]["code"] == "KEYS_UNREADABLE"
        )
        status, begun = ask(
            "POST", "imports", writer, provider="stripe", csv="subscription,key\nsub_none1,A-KEY\n"
        )
        assert (status, begun["workflow_id"]) == (202, f"import-{begun['import_id']}")
        assert ask("GET", f"imports/{begun['import_id']}")[1]["status"] == "running"
        refused = ask("POST", "imports", writer, provider="stripe", announce=True)
        assert (refused[0], refused[1]["code"]) == (409, "IMPORT_RUNNING")
        work(moved)
        status, run = ask("GET", f"imports/{begun['import_id']}")
        assert (status, run["status"], run["has_file"]) == (200, "done", True)
        counts = run["counts"]
        assert isinstance(counts, dict)
        assert counts["subscriptions"] == 20
        assert counts["made"] == len(world.all_licenses(moved))
        status, page = ask("GET", f"imports/{begun['import_id']}/conflicts?limit=1")
        assert (status, len(page["items"])) == (200, 1)  # type: ignore[arg-type]  # a list
        assert page["next_cursor"]
        assert ask("GET", "imports")[1]["items"][0]["id"] == begun["import_id"]  # type: ignore[index]  # a list
        assert ask("GET", "imports?page=2")[0] == 422
        # Another tenant sees nothing of it.
        assert ask("GET", f"imports/{begun['import_id']}", stranger)[0] == 404
        assert ask("GET", f"imports/{begun['import_id']}/conflicts", stranger)[0] == 404
        assert ask("GET", "imports", stranger)[1] == {"items": [], "next_cursor": None}
        assert ask("POST", "imports", stranger, provider="stripe")[0] == 404


def test_an_import_is_begun_and_looked_at_in_the_console(
    moved: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ExitStack() as stack:
        house = House(moved, stack)
        monkeypatch.setattr(staff_factors, "phone_time", lambda: house.phone)
        owner = house.colleague()
        assert "Nothing was imported" in owner.client.get("/console/imports").text
        form = owner.client.get("/console/imports/run")
        told = {"provider": "stripe", "reason": "ticket 9"}
        sure = send(owner.client, "/console/imports/run", form, **told)
        assert "Nobody gets a mail" in sure.text
        done = send(owner.client, "/console/imports/run", sure, step="do", **told)
        assert "The import has begun" in done.text
        work(moved)
        (run,) = moving.every(moved, tables.metadata.tables["imports"])
        page = owner.client.get(f"/console/imports/{run['id']}").text
        assert "Price without a plan" in page
        assert "20" in page
        table = owner.client.get(f"/console/imports/{run['id']}/conflicts.csv")
        assert table.headers["content-type"].startswith("text/csv")
        assert "price-unmapped" in table.text
        looker = house.colleague("looker@example.com", "read-only")
        assert looker.client.get(f"/console/imports/{run['id']}").status_code == 200
        assert looker.client.get("/console/imports/run").status_code == 403
        assert "import.asked" in house.acts()
