"""`make bench`: what Keywright takes per second on this machine, beside a bare echo on the same stack.

    python -m benchmarks [--database sqlite|postgresql] [--quick] [--memory] [--sizes] [--output FILE]

Every figure is a ratio to an echo of a body of the same size, taken right before and after it, so it says
something on other machines and on busy ones too. Exits 1 when a goal is missed or an answer was wrong.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import msgspec
from rich.console import Console

from benchmarks import results, sizes
from benchmarks.measures import Scale
from benchmarks.results import Results
from benchmarks.run import measure_database
from benchmarks.servers import ROOT

_QUICK = Scale(seconds=2.0, warmup=0.5, echo_seconds=0.7, licenses=5_000, webhooks=0, elsewhere_seconds=1.0)


def main() -> None:
    """Command line: measures, prints, writes the JSON."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="what Keywright takes per second"
    )
    parser.add_argument("--database", choices=("sqlite", "postgresql"), action="append", help="default: both")
    parser.add_argument("--quick", action="store_true", help="short and small: to try the bench itself")
    parser.add_argument("--memory", action="store_true", help="100,000 webhooks, however long they take")
    parser.add_argument("--sizes", action="store_true", help="a million licenses, too: takes half an hour")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results" / "latest.json")
    parser.add_argument(
        "--work", type=Path, help="where the databases go; a folder in memory would flatter them"
    )
    arguments = parser.parse_args()
    if arguments.work is not None:
        arguments.work.mkdir(parents=True, exist_ok=True)
    scale = _QUICK if arguments.quick else Scale()
    if arguments.memory:
        scale = msgspec.structs.replace(scale, webhooks=Scale().webhooks, memory_s=float("inf"))
    machine = results.machine()
    progress = Console(stderr=True, width=150)
    with tempfile.TemporaryDirectory(prefix="keywright-bench-", dir=arguments.work) as directory:
        databases = [
            measure_database(database, scale, Path(directory) / database, progress.print)
            for database in arguments.database or ("sqlite", "postgresql")
        ]
        counts = (sizes.SIZES[0],) if arguments.quick else sizes.SIZES
        costs = [
            cost
            for database in arguments.database or ("sqlite", "postgresql")
            for cost in sizes.measure(
                database,
                (*counts, sizes.LARGEST) if arguments.sizes else counts,
                scale,
                Path(directory) / f"{database}-sizes",
                progress.print,
            )
        ]
    found = Results(
        machine=machine, versions=results.versions(), scale=scale, databases=databases, costs=costs
    )
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=2) + b"\n")
    results.show(found, Console(width=150))
    sizes.show(costs, Console(width=150))
    print(f"JSON: {arguments.output}")
    for name in results.missed(found):
        print(f"MISSED {name}")
    sys.exit(1 if results.missed(found) else 0)


if __name__ == "__main__":
    main()
