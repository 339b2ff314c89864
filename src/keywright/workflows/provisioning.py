"""The engine of this server under `flows/provisioning.py`: each step of the workflow is a durable one here.

Another engine would take this module's place: it has to know `provisioning.create_tenant` by the same input
and under the same id, and to run `provisioning.run_step` for each step that it asks for.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import sqlalchemy as sa
from dbos import DBOS

from keywright.domain.errors import ProviderUnavailable
from keywright.flows import provisioning
from keywright.flows.provisioning import StepName
from keywright.store.engine import is_away

# A queue of its own: a provider that hangs holds up other tenants, and neither mails nor comparisons.
QUEUE: Final = "provisionings"
NAME: Final = "create_tenant.1"
# One second, and twice as long each time: a quarter of an hour. Then somebody has to look.
_PAUSE: Final = 1.0
_TRIES: Final = 10
_GLANCE: Final = 0.1

RunStep = Callable[[StepName, str, str], str]


class _Ended(BaseException):
    """This process ends. No failure of the work: the engine goes on with it at the next start."""


class Steps:
    """Implements the port `provisioning.Durable`. Made before the engine is launched, like every workflow."""

    def __init__(self, run: RunStep, goes_on: Callable[[], bool]) -> None:
        self._run = run
        self._goes_on = goes_on
        self._steps = {name: self._durable(name) for name in provisioning.STEPS}

    def step(self, name: StepName, work: str, wish: str) -> str:
        return self._steps[name](work, wish)

    def _durable(self, name: StepName) -> Callable[[str, str], str]:
        @DBOS.step(name=f"create_tenant.{name}")
        def step(work: str, wish: str) -> str:
            return self._patiently(name, work, wish)

        return step

    def _patiently(self, name: StepName, work: str, wish: str) -> str:
        """Here and not by the engine's own tries: between those nobody can tell it that the process ends."""
        pause = _PAUSE
        for _ in range(_TRIES - 1):
            try:
                return self._run(name, work, wish)
            except Exception as error:
                if not _passes(error):
                    raise
            until = time.monotonic() + pause
            while time.monotonic() < until:
                if not self._goes_on():
                    raise _Ended
                time.sleep(_GLANCE)
            pause *= 2
        return self._run(name, work, wish)


def register(
    run: RunStep, give_up: Callable[[str, BaseException], None], goes_on: Callable[[], bool]
) -> None:
    """Have the engine know the workflow. `goes_on`: whether this process is not about to end."""
    steps = Steps(run, goes_on)

    @DBOS.workflow(name=NAME)
    def create_tenant(work: str, wish: str = "") -> str:
        # Our route has written the wish down; what was begun by an older version brings it along.
        try:
            return provisioning.create_tenant(work, wish, steps)
        except Exception as error:
            give_up(work, error)
            raise


def _passes(error: BaseException) -> bool:
    """Whether another try may do it: somebody was away, or met the same rows at the same moment."""
    return is_away(error) or isinstance(error, ProviderUnavailable | sa.exc.IntegrityError)
