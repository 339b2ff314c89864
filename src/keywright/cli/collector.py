"""The garbage collector of a process that starts, and of one that answers.

It goes through what lives whenever enough was made, and what is made at the start lives on.
"""

from __future__ import annotations

import gc
import sys


def look_seldom() -> None:
    """For the start: hundreds of thousands of objects are made, and none is garbage (measured: an eighth of
    the processor time until the server is ready)."""
    gc.set_threshold(20_000, 50, 1000)


def settle() -> None:
    """Take what start-up made out of the collector's sight, let it look less often, and take turns faster.

    A request makes hundreds of small objects and no cycles. With the default thresholds the collector went
    through all modules again and again under load (measured: the slowest webhook in a hundred came back after
    160 ms, and after 90 ms without it).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    # A thread that comes back from SQLite waits for its turn this long while another one computes; an
    # activation comes back ten times.
    sys.setswitchinterval(0.001)
