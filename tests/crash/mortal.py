"""`keywright` that dies by `kill -9` at a boundary of provisioning that a file names, once.

The file holds a boundary, and the provider's names of whom it is to happen with. It is taken away first, so
that the next process lives.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from keywright.cli import main
from keywright.flows import provisioning
from keywright.flows.context import Context
from keywright.flows.provisioning import STEPS, StepName
from keywright.providers.stripe.billing import StripeBilling

FILE = "dies-at"
# After the rows of a step and before the engine knows of it; after the engine does; and when the provider has
# been written to and nobody here has noted it.
BOUNDARIES = (
    *(f"before {name}" for name in STEPS),
    *(f"after {name}" for name in STEPS),
    "within mark_customer",
    "within mark_subscription",
)


def tell(folder: Path, boundary: str, about: str) -> None:
    """Have the server of this folder die there."""
    made = folder / f"{FILE}.new"
    made.write_text(f"{boundary}\n{about}")
    made.rename(folder / FILE)


def _die_at(boundary: str, *about: str) -> None:
    file = Path(FILE)
    try:
        wanted, _, names = file.read_text().partition("\n")
    except FileNotFoundError:
        return
    if wanted == boundary and any(name in one for name in names.split() for one in about):
        try:
            file.unlink()
        except FileNotFoundError:
            return
        os.kill(os.getpid(), signal.SIGKILL)


_run_step, _mark = provisioning.run_step, StripeBilling.mark


def run_step(context: Context, name: StepName, work: str, wish: str) -> str:
    _die_at(f"before {name}", work)
    answer = _run_step(context, name, work, wish)
    _die_at(f"after {name}", work)
    return answer


def mark(self: StripeBilling, thing: Any, external_id: str, words: Mapping[str, str], key: str) -> bool:
    written = _mark(self, thing, external_id, words, key)
    _die_at(f"within mark_{thing}", external_id)
    return written


if __name__ == "__main__":
    provisioning.run_step = run_step
    StripeBilling.mark = mark  # type: ignore[method-assign]  # this process is to die in it
    main.main()
