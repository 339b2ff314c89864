"""How long each page of the console takes, and how large it is, with a year or two of business behind it.

    python -m benchmarks.pages [--database sqlite|postgresql] [--licenses 100000] [--entries 1000000]

The pages are those of the server's own routes. Ids in their paths come from links on the other pages, as a
person would find them; lists are also asked for with each of their filters, and on their next page. Goals:
the median below 200 ms and the HTML below 100 KB, each. Exits 1 when one is missed.
"""

import argparse
import html
import http.client
import os
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import msgspec
import sqlalchemy as sa
from litestar.routes import HTTPRoute

from benchmarks.servers import ROOT, SERVE, postgresql, run_once, serving
from keywright import bootstrap
from keywright.flows import staff_sessions
from keywright.flows.context import Context
from keywright.store import staff as people
from keywright.store import tables
from keywright.store.staff import Staff
from keywright.web.app import create_app

MOST_MS = 200.0
MOST_KB = 100.0
_CATALOG = ROOT / "benchmarks" / "catalog.toml"
_LINKS_OF_A_PAGE = 4
"""With the same route: beyond these, a list of fifty rows would be fifty pages alike."""


class Page(msgspec.Struct, frozen=True):
    """One address. `median_ms`, `slowest_ms`: of the rounds. `first_ms`: of the first time it was asked.

    `kb`: of HTML, 0 for a redirect; None for a file, which has no goal.
    """

    path: str
    status: int
    median_ms: float
    slowest_ms: float
    first_ms: float
    kb: float | None

    @property
    def missed(self) -> str:
        """What is wrong with it, if anything."""
        wrong = []
        if self.status != 200:
            wrong.append(f"status {self.status}")
        if self.kb is not None and self.median_ms >= MOST_MS:
            wrong.append("slow")
        if self.kb is not None and self.kb >= MOST_KB:
            wrong.append("large")
        return ", ".join(wrong)


class _Idle:
    """A workflow engine for an application that is only asked for its routes."""

    def launch(self) -> None: ...

    def is_alive(self) -> bool:
        return True

    def stop(self) -> None: ...


class Visit:
    """Goes through the console as a browser with a session would."""

    def __init__(self, port: int, session: str, routes: list[str], rounds: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        self._session = session
        self._rounds = rounds
        self._patterns = {route: _pattern(route) for route in routes}
        self._asked: dict[str, Page] = {}
        self._per_route: dict[str, int] = {}

    def all(self, more: list[str]) -> Iterator[Page]:
        """Measure every page that is reached from the routes without ids, and these."""
        todo = [*(route for route in self._patterns if "{" not in route), *more]
        while todo:
            path = todo.pop(0)
            if path in self._asked or not self._wants(path):
                continue
            page, found = self._measure(path)
            self._asked[path] = page
            yield page
            todo += found

    def unreached(self) -> list[str]:
        """Routes that no link led to."""
        reached = {path.partition("?")[0] for path in self._asked}
        return [
            route
            for route, pattern in self._patterns.items()
            if not any(pattern.fullmatch(path) for path in reached)
        ]

    def _wants(self, path: str) -> bool:
        bare, _, query = path.partition("?")
        route = next((name for name, pattern in self._patterns.items() if pattern.fullmatch(bare)), None)
        if route is None:
            return False
        # Lists with another filter each time are other queries; the same page of another row is not.
        kind = f"{route}?{re.sub(r'=[^&]*', '', query)}" if query else route
        self._per_route[kind] = self._per_route.get(kind, 0) + 1
        return self._per_route[kind] <= (_LINKS_OF_A_PAGE if query else 2)

    def _measure(self, path: str) -> tuple[Page, list[str]]:
        took = []
        for _ in range(self._rounds + 1):
            began = time.perf_counter()
            status, kind, body = self._get(path)
            took.append((time.perf_counter() - began) * 1000)
        first, rest = took[0], took[1:]
        page = Page(
            path,
            200 if status in (302, 303) else status,
            round(statistics.median(rest), 1),
            round(max(rest), 1),
            round(first, 1),
            round(len(body) / 1000, 1) if "html" in kind or status in (302, 303) else None,
        )
        return page, _links(body.decode(errors="replace")) if "html" in kind else []

    def _get(self, path: str) -> tuple[int, str, bytes]:
        self._connection.request("GET", path, headers={"Cookie": f"keywright_staff={self._session}"})
        answer = self._connection.getresponse()
        return answer.status, answer.getheader("content-type") or "", answer.read()


def _pattern(route: str) -> re.Pattern[str]:
    parts = re.split(r"\{\w+(?::\w+)?\}", route)
    return re.compile("[^/?]+".join(map(re.escape, parts)))


def _links(text: str) -> list[str]:
    """The links and the filters of a page."""
    found = [html.unescape(link) for link in re.findall(r'href="(/console[^"#]*)"', text)]
    for form in re.findall(r"<form[^>]*method=\"get\".*?</form>", text, re.DOTALL | re.IGNORECASE):
        action = re.search(r'action="([^"]+)"', form)
        for name, options in re.findall(r'<select[^>]*name="(\w+)".*?>(.*?)</select>', form, re.DOTALL):
            for value in filter(None, re.findall(r'<option[^>]*value="([^"]*)"', options)):
                found += [f"{action[1]}?{name}={html.unescape(value)}"] if action else []
    return list(dict.fromkeys(found))


def routes_of(context: Context) -> list[str]:
    """The console's pages, as the server knows them."""
    app = create_app(context, _Idle())
    return sorted(
        route.path
        for route in app.routes
        if isinstance(route, HTTPRoute) and "GET" in route.methods
        if route.path.startswith("/console") and ":path" not in route.path
    )


def _enter(context: Context) -> str:
    """The secret of an owner's session."""
    now = context.clock.now()
    owner = Staff(context.new_id("stf"), context.master.id, "bench@example.com", "owner", now, ready_at=now)
    with context.database.write() as connection:
        known = people.find_by_email(connection, owner.tenant_id, owner.email)
        if known is None:
            people.insert(connection, owner)
        owner = known or owner
        return staff_sessions.start(context, connection, owner, "full", "a bench")


def _searches(context: Context) -> list[str]:
    """What somebody types into the box, and the license with a long life."""
    with context.database.read() as connection:
        held = sa.select(tables.licenses.c.id, tables.licenses.c.key_last5, tables.customers.c.email)
        joined = held.join(tables.customers, tables.customers.c.id == tables.licenses.c.customer_id)
        row = connection.execute(joined.order_by(tables.licenses.c.id).limit(1)).one()
        alias = connection.execute(sa.select(tables.purchase_aliases.c.external_id).limit(1)).scalar_one()
    typed = [row.id, row.key_last5, row.email, alias, "build-7.example.com", "nobody@example.com", "nothing"]
    return [f"/console/licenses/{row.id}", *(f"/console/licenses?q={one}" for one in typed)]


def measure(database: str, licenses: int, entries: int, rounds: int, work: Path) -> list[Page]:
    """Fill a database, start a server on it, and visit. Raises RuntimeError when a step fails."""
    (work / "data").mkdir(parents=True, exist_ok=True)
    env = {
        "DATA_DIR": str(work / "data"),
        "STRIPE_WEBHOOK_SECRET": "whsec_bench",
        # Nobody listens there: the pages know that it could be asked, and nothing is.
        "STRIPE_SECRET_KEY": "sk_test_bench",
        "STRIPE_API_BASE": "http://127.0.0.1:9",
        "LOG_LEVEL": "warning",
    }
    with ExitStack() as stack:
        if database == "postgresql":
            env["DATABASE_URL"] = stack.enter_context(postgresql(work / "postgresql"))
        _fill(env, work, licenses, entries)
        server = stack.enter_context(serving(SERVE, env, work / "server.log"))
        context = _open(env, stack)
        visit = Visit(server.port, _enter(context), routes_of(context), rounds)
        pages = list(visit.all(_searches(context)))
        for route in visit.unreached():
            print(f"{database}: nothing leads to {route}", file=sys.stderr)
        return pages


def _fill(env: Mapping[str, str], work: Path, licenses: int, entries: int) -> None:
    began = time.perf_counter()
    run_once("keywright.cli.main", "migrate", env=env, directory=work)
    filled = work / "filled"
    if filled.exists():
        return
    run_once("keywright.cli.main", "catalog", "apply", str(_CATALOG), env=env, directory=work)
    arguments = ["--count", str(licenses), "--output", str(work / "licenses.json")]
    run_once("benchmarks.seed", *arguments, env=env, directory=work)
    told = run_once("benchmarks.history", "--entries", str(entries), env=env, directory=work)
    print(f"{told.strip()} in {time.perf_counter() - began:.0f} s", file=sys.stderr)
    filled.touch()


def _open(env: Mapping[str, str], stack: ExitStack) -> Context:
    """The database, from this process beside the server."""
    os.environ.update(env)
    settings = bootstrap.read_settings(_env_file=None)
    database = bootstrap.open_database(settings)
    stack.callback(database.dispose)
    return bootstrap.build(settings, database)


def main() -> None:
    """Command line: measures, prints, writes the JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pages")
    parser.add_argument("--database", choices=("sqlite", "postgresql"), action="append", help="default: both")
    parser.add_argument("--licenses", type=int, default=100_000)
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--work", type=Path, help="where the databases go, and stay for the next run")
    arguments = parser.parse_args()
    missed = 0
    with tempfile.TemporaryDirectory(prefix="keywright-pages-") as folder:
        for database in arguments.database or ("sqlite", "postgresql"):
            work = (arguments.work or Path(folder)) / database
            pages = measure(database, arguments.licenses, arguments.entries, arguments.rounds, work)
            _show(database, pages)
            missed += sum(bool(page.missed) for page in pages)
    sys.exit(1 if missed else 0)


def _show(database: str, pages: list[Page]) -> None:
    print(f"\n{database}: median, slowest and first in ms, KB of HTML")
    for page in sorted(pages, key=lambda one: -one.median_ms):
        print(
            f"{page.median_ms:8.1f} {page.slowest_ms:8.1f} {page.first_ms:8.1f} "
            f"{'file' if page.kb is None else format(page.kb, '.1f'):>7}  "
            f"{page.path[:90]}{'  MISSED: ' + page.missed if page.missed else ''}"
        )


if __name__ == "__main__":
    main()
