"""The client is shipped inside other programs: it needs nothing of ours, and little of others'."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from keywright import client as package

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "keywright" / "client"

ALONE = """
import importlib.abc, pkgutil, sys

name, others = sys.argv[1], set(sys.argv[2].split(","))
allowed = sys.stdlib_module_names | {"cryptography", "_cffi_backend", "cffi", name.split(".")[0]}

class Guard(importlib.abc.MetaPathFinder):
    def find_spec(self, module, path=None, target=None):
        ours = module.startswith("keywright.") and not module.startswith(name)
        if ours or module.split(".")[0] not in allowed:
            raise ImportError("the client must not need " + module)
        return None

sys.meta_path.insert(0, Guard())
package = __import__(name, fromlist=["Client"])
for found in pkgutil.iter_modules(package.__path__):
    __import__(name + "." + found.name)
client = package.Client(
    product="dashcaddy", trust=package.Trust("https://acme.example/t/1", keys={"k": "A" * 42 + "A"}),
    state_dir=sys.argv[3], second_dir=sys.argv[3] + "/second", baseline={},
)
assert client.check().reason == "no_license"
missing = others & {module.split(".")[0] for module in sys.modules}
assert not missing, missing
print("alone")
"""


def run_alone(name: str, path: Path, folder: Path) -> str:
    done = subprocess.run(
        [
            sys.executable,
            "-W",
            "error",
            "-c",
            ALONE,
            name,
            "msgspec,sqlalchemy,litestar,httpx,pydantic",
            str(folder),
        ],
        env={"PYTHONPATH": str(path), "PATH": os.environ["PATH"], "HOME": str(folder)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_it_imports_nothing_but_the_standard_library_and_cryptography(tmp_path: Path) -> None:
    assert run_alone("keywright.client", ROOT / "src", tmp_path) == "alone"


def test_the_folder_may_be_copied_into_a_program(tmp_path: Path) -> None:
    shutil.copytree(
        SOURCE, tmp_path / "program" / "acme_license", ignore=shutil.ignore_patterns("__pycache__")
    )
    # In an interpreter that sees no keywright at all.
    assert run_alone("acme_license", tmp_path / "program", tmp_path / "state") == "alone"


@pytest.mark.parametrize("path", sorted(SOURCE.glob("*.py")), ids=lambda path: path.name)
def test_it_is_written_for_old_interpreters(path: Path) -> None:
    tree = ast.parse(path.read_text(), feature_version=(3, 9))
    names = {
        alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    assert "annotations" in names or path.name == "__init__.py"
    # Names that Python 3.9 does not have.
    assert not names & {
        "UTC",
        "StrEnum",
        "Self",
        "assert_never",
        "batched",
        "pairwise",
        "TypeAlias",
        "override",
    }


def test_what_is_public_is_documented() -> None:
    page = (ROOT / "docs" / "reference" / "client.md").read_text()
    for name in package.__all__:
        assert f"`{name}" in page, name
    for thing in (package.Client, package.Result, package.Purchase, package.Watch, package.Trust):
        for name, member in vars(thing).items():
            if not name.startswith("_") and (callable(member) or isinstance(member, property)):
                assert f"`{name}" in page, f"{thing.__name__}.{name}"
