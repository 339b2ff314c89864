"""The first use of a shape, by many threads at once: it must not end the process."""

from __future__ import annotations

import subprocess
import sys

import pytest

# In a process of its own, because what is tried ends it. The classes are new, as after a restart.
_RACE = """
from __future__ import annotations
import sys, threading, msgspec
from keywright import bootstrap

sys.setswitchinterval(1e-6)

def shapes(depth):
    made = None
    for number in range(depth):
        fields = [(f"member_{n}", str | None, None) for n in range(8)]
        fields += [("inner", made | None, None)] if made is not None else []
        made = msgspec.defstruct(f"Shape{number}", fields, frozen=True)
    return made

def value(depth):
    inner = {"inner": value(depth - 1)} if depth > 1 else {}
    return {f"member_{n}": "x" for n in range(8)} | inner

for turn in range(30):
    shape, told = shapes(12), value(12)
    bootstrap.learn_shapes()
    gate = threading.Barrier(8)
    def read():
        gate.wait()
        msgspec.convert(told, shape)
    threads = [threading.Thread(target=read) for _ in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
print("read")
"""


def test_many_threads_read_a_shape_for_the_first_time() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _RACE], capture_output=True, text=True, timeout=100, check=False
    )
    assert (done.returncode, done.stdout.strip()) == (0, "read"), done.stderr


@pytest.mark.parametrize("name", ["paypal", "paystack", "stripe"])
def test_the_shapes_of_the_providers_can_be_learned(name: str) -> None:
    """Only what cannot be read from anything is passed over: none of these."""
    import importlib

    import msgspec

    module = importlib.import_module(f"keywright.providers.{name}.shapes")
    found = [
        one for one in vars(module).values() if isinstance(one, type) and issubclass(one, msgspec.Struct)
    ]
    assert len(found) > 5
    for shape in found:
        assert msgspec.json.Decoder(shape).type is shape
