"""A small program that is sold: it greets three people a run, and with a license as many as you like.

python hello.py Ann Ben           greet
python hello.py status            what the license allows here
python hello.py activate KEY      bind a license to this computer
python hello.py buy [PROVIDER [PRICE]]
                                  buy one in the browser; no key to type
python hello.py load FILE         take a license file, for computers without a network
python hello.py free              free this computer
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from keywright.client import Client, Result, Trust

HERE = Path(__file__).resolve().parent


def client_of(settings: Path) -> Client:
    """The one place that knows the seller. A real program has these as constants in its source."""
    seller = json.loads(settings.read_text(encoding="utf-8"))
    return Client(
        product=seller["product"],
        server=seller["server"],
        trust=Trust(seller["issuer"], root=seller.get("root") or (), keys=seller.get("keys")),
        baseline={"limits": {"projects": 3}},
        state_dir=seller.get("state_dir"),
        second_dir=seller.get("second_dir"),
        version="1.0",
    )


def greet(result: Result, names: list[str]) -> int:
    """What the program is for. A limit of None is none."""
    most = result.limit("projects")
    for name in names[:most]:
        print(f"Hello, {name}!")
    if most is not None and len(names) > most:
        print(f"{len(names) - most} more would need a license. {result.message}", file=sys.stderr)
        return 3
    return 0


def show(result: Result) -> int:
    """Everything a user, or whoever helps him, wants to know."""
    print(f"{result.state}: {result.message}")
    if result.plan:
        print(f"plan {result.plan}, {result.seats} seats")
    if result.offline_until:
        print(f"works without a network until {result.offline_until:%Y-%m-%d %H:%M} UTC")
    if result.contact == "away":
        print("The license server cannot be reached at the moment. That changes nothing for now.")
    return 0 if result.valid else 3


def main(arguments: list[str], settings: Path = HERE / "seller.json") -> int:
    """Run one command. Returns the exit code: 0, 2 for wrong usage, 3 where a license is missing."""
    client = client_of(settings)
    command, rest = (arguments[0], arguments[1:]) if arguments else ("", [])
    if command == "status":
        return show(client.check())
    if command == "activate" and len(rest) == 1:
        return show(client.activate(rest[0]))
    if command == "load" and len(rest) == 1:
        return show(client.load_file(Path(rest[0]).read_text(encoding="utf-8")))
    if command == "free":
        result = client.deactivate()
        print(result.message)
        return 0 if result.reason == "freed" else 3
    if command == "buy":
        # A shop that sells the plan through several providers, or by the month and by the year, has to be
        # told which: the price by its key in the catalog.
        wanted = dict(zip(("provider", "price"), rest))
        purchase = client.resume_purchase() or client.buy("pro", **wanted)
        if purchase.problem:
            print(f"The shop opens no checkout ({purchase.problem}).", file=sys.stderr)
            return 3
        print(f"Please pay in your browser: {purchase.url}", flush=True)
        return show(purchase.wait(900))
    if command:
        return greet(client.check(), arguments)
    print(__doc__)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
