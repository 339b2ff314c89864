"""`demo --once`: the straight line, one printed line a step, over real HTTP. Any step that fails ends it."""

from __future__ import annotations

import time

import httpx

from keywright.cli.demo import DemoFailed, Stage
from keywright.cli.demo_elsewhere import AtPayPal, AtPaystack
from keywright.cli.demo_stripe import AtStripe


def walk(stage: Stage) -> None:
    """Run every step of every visit. Raises DemoFailed at the first that does not hold."""
    started = time.monotonic()
    number = 0
    with httpx.Client(base_url=stage.url, timeout=20) as server:
        for visitor in (AtStripe, AtPaystack, AtPayPal):
            for title, step in visitor(stage, server).steps():
                number += 1
                try:
                    found = step()
                except (DemoFailed, httpx.HTTPError, KeyError, ValueError) as error:
                    told = error.detail if isinstance(error, DemoFailed) else repr(error)
                    print(f"{number:3}  FAILED  {title}: {told}", flush=True)
                    raise DemoFailed(f"Step {number} did not hold: {title}.") from None
                print(f"{number:3}  ok  {title}: {found}", flush=True)
    print(f"\nEvery step held, in {time.monotonic() - started:.1f} s.")
