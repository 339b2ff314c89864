"""What a renewal and a validate cost with a thousand, a hundred thousand, a million licenses; and what two
server processes take against one.

    python -m benchmarks.sizes [--size 1000 --size 100000] [--database sqlite|postgresql] [--work FOLDER]

Each figure is a ratio to the same echo right before and after it, in the same run. The licenses that are
asked for are drawn from all of them, so that what grows with their number shows. With `--work` the databases
are kept and grow: a million licenses take minutes to make, which need no quiet machine (`--seed-only`).
"""

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from benchmarks import measures, results, spool
from benchmarks.measures import APPLIED, Pairs, Scale, Target
from benchmarks.results import Cost
from benchmarks.seed import FIRST_BUYER
from benchmarks.servers import ROOT, SERVE, postgresql, run_once, serving

Say = Callable[[str], None]

SIZES = (1_000, 100_000)
LARGEST = 1_000_000
_CATALOG = ROOT / "benchmarks" / "catalog.toml"
_ECHO = [sys.executable, "-m", "benchmarks.echo", "--port", "{port}"]
_DATABASES = ("sqlite", "postgresql")
_MOST_ASKED = 60_000  # keys in a spool; more than are asked for in the time


class _Shop:
    """A database that grows, and how often its subscriptions were renewed."""

    def __init__(self, database: str, work: Path, env: Mapping[str, str]) -> None:
        self.database = database
        self.work = work
        self.env = env
        self._state = work / "grown.json"
        known = msgspec.json.decode(self._state.read_bytes(), type=list[int]) if self._state.exists() else []
        self.licenses, self.rounds, self._began = known or (0, 0, int(time.time()))

    def grow(self, to: int) -> None:
        if self.licenses >= to:
            return
        if self.licenses == 0:
            run_once("keywright.cli.main", "migrate", env=self.env, directory=self.work)
            run_once(
                "keywright.cli.main", "catalog", "apply", str(_CATALOG), env=self.env, directory=self.work
            )
        output = self.work / f"pairs-{self.licenses}.json"
        words = ["--count", str(to - self.licenses), "--skip", str(self.licenses), "--output", str(output)]
        run_once("benchmarks.seed", *words, env=self.env, directory=self.work)
        # Later than all that was seeded: a renewal that is older than what is known changes nothing.
        self.licenses, self._began = to, int(time.time())
        self._keep()

    def _keep(self) -> None:
        self._state.write_bytes(msgspec.json.encode([self.licenses, self.rounds, self._began]))

    def pairs(self, most: int) -> Pairs:
        """Keys drawn from all licenses, and the machine of each."""
        known: Pairs = []
        for path in sorted(self.work.glob("pairs-*.json")):
            known += msgspec.json.decode(path.read_bytes(), type=Pairs)
        return random.Random(self.licenses).sample(known, min(most, len(known)))

    def renewals(self, count: int) -> Iterator[bytes]:
        """So many renewals of subscriptions drawn from all; each time of months not told before."""
        everybody = range(FIRST_BUYER, FIRST_BUYER + self.licenses)
        buyers = random.Random(self.rounds).sample(everybody, min(self.licenses, -(-count // 2)))
        rounds = -(-count // (2 * len(buyers)))
        before, self.rounds = self.rounds, self.rounds + rounds
        self._keep()
        return spool.renewals_of(
            buyers,
            after=before,
            rounds=rounds,
            secret=measures.WEBHOOK_SECRET,
            now=int(time.time()),
            bought_at=self._began,
        )


def measure(database: str, sizes: Sequence[int], scale: Scale, work: Path, say: Say) -> list[Cost]:
    """All sizes on one database, one after another; on PostgreSQL with two processes as well, at the last but
    the largest."""
    work.mkdir(parents=True, exist_ok=True)
    env = {
        "DATA_DIR": str(work / "data"),
        "STRIPE_WEBHOOK_SECRET": measures.WEBHOOK_SECRET,
        "LOG_LEVEL": "warning",
    }
    found: list[Cost] = []
    with ExitStack() as stack:
        if database == "postgresql":
            env["DATABASE_URL"] = stack.enter_context(postgresql(work / "postgresql"))
        shop = _Shop(database, work, env)
        echo = stack.enter_context(serving(_ECHO, {}, work / "echo.log"))
        for size in sorted(sizes):
            say(f"{database}: {size:,} licenses")
            shop.grow(size)
            for processes in (1, 2) if database == "postgresql" and size == _between(sizes) else (1,):
                command = [*SERVE, "--workers", str(processes)]
                with serving(command, env, work / "server.log") as server:
                    say(f"{database}: {size:,} licenses, server processes: {processes}")
                    for cost in _costs(shop, Target(server, echo, work, scale), processes):
                        say(f"{database}: {cost.figure.name}: {cost.figure.ratio} of the echo")
                        found.append(cost)
    return found


def _between(sizes: Sequence[int]) -> int:
    """The size that several processes are measured at: the largest of those that everybody measures."""
    return max((size for size in sizes if size <= max(SIZES)), default=max(sizes))


def _costs(shop: _Shop, target: Target, processes: int) -> Iterator[Cost]:
    drawn = shop.pairs(_MOST_ASKED)
    repeated = drawn * -(-_MOST_ASKED // len(drawn))
    path = measures.write(
        target, "validate", spool.licensing_calls("/api/license/validate", repeated, with_signals=True)
    )
    validated = measures.beside_echo(target, path, lambda: _validate(target, path))
    renewed_path = measures.write(target, "renewals", shop.renewals(target.scale.deliveries))
    renewed = measures.beside_echo(
        target, renewed_path, lambda: measures.weighed(target, renewed_path, APPLIED)
    )
    for name, measured in (("renewal", renewed), ("validate", validated)):
        yield Cost(
            database=shop.database,
            licenses=shop.licenses,
            processes=processes,
            figure=results.against(name, measured),
        )


def _validate(target: Target, path: Path) -> measures.Loaded:
    measures.bring_into_memory(target.work)
    return measures.weighed(target, path, measures.VALID)


def show(costs: Sequence[Cost], console: Console) -> None:
    """Prints the table."""
    table = Table(title="Keywright bench: by number of licenses and server processes", title_justify="left")
    for column in ("", "database", "licenses", "processes", "req/s", "p99 ms", "cpu us", "/ echo", ""):
        table.add_column(column, justify="left" if column in ("", "database") else "right")
    for cost in sorted(costs, key=lambda c: (c.figure.name, c.database, c.processes, c.licenses)):
        report, measured = cost.figure.report, cost.figure.measured
        table.add_row(
            cost.figure.name,
            cost.database,
            f"{cost.licenses:,}",
            str(cost.processes),
            f"{report.rps:,.0f}",
            f"{report.p99_ms:.1f}",
            "" if measured is None else f"{measured.cpu_us:,.0f}",
            "" if cost.figure.ratio is None else f"{cost.figure.ratio:.2f}",
            cost.figure.wrong,
        )
    console.print(table)


def main() -> None:
    """Command line: measures, prints, writes the JSON. Exits 1 when an answer was wrong."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sizes")
    parser.add_argument("--size", type=int, action="append", help="default: 1000 and 100000")
    parser.add_argument("--database", choices=_DATABASES, action="append", help="default: both")
    parser.add_argument("--work", type=Path, help="where the databases go, and stay")
    parser.add_argument("--seed-only", action="store_true", help="make the licenses, and measure nothing")
    parser.add_argument("--seconds", type=float, default=Scale().seconds)
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results" / "sizes.json")
    arguments = parser.parse_args()
    scale = msgspec.structs.replace(Scale(), seconds=arguments.seconds)
    sizes = tuple(arguments.size or SIZES)
    progress = Console(stderr=True, width=150)
    costs: list[Cost] = []
    with tempfile.TemporaryDirectory(prefix="keywright-sizes-") as directory:
        for database in arguments.database or _DATABASES:
            work = (arguments.work or Path(directory)).absolute() / database
            if arguments.seed_only:
                _seed(database, max(sizes), work)
            else:
                costs += measure(database, sizes, scale, work, progress.print)
    if arguments.seed_only:
        return
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_bytes(msgspec.json.format(msgspec.json.encode(costs), indent=2) + b"\n")
    show(costs, Console(width=150))
    sys.exit(1 if any(cost.figure.wrong for cost in costs) else 0)


def _seed(database: str, size: int, work: Path) -> None:
    work.mkdir(parents=True, exist_ok=True)
    env = {"DATA_DIR": str(work / "data"), "STRIPE_WEBHOOK_SECRET": measures.WEBHOOK_SECRET}
    with ExitStack() as stack:
        if database == "postgresql":
            env["DATABASE_URL"] = stack.enter_context(postgresql(work / "postgresql"))
        _Shop(database, work, env).grow(size)


if __name__ == "__main__":
    main()
