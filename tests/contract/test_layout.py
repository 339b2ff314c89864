"""The rules of the house that no ready-made tool checks: sizes, names, and documentation that is complete."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

ROOT = Path(__file__).resolve().parents[2]
SRC = ROOT / "src" / "keywright"
REFERENCE = ROOT / "docs" / "reference"

MIGRATIONS = SRC / "store" / "migrations" / "versions"
MODULE_LINES = 500
FUNCTION_LINES = 60
FORBIDDEN_NAMES = {"utils", "util", "helpers", "helper", "common", "core", "manager", "misc", "base"}
CODE = re.compile(r"[A-Z][A-Z0-9]+(_[A-Z0-9]+)*")

MODULES = sorted(SRC.rglob("*.py"))


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=name_of(path))


def documented(page: str) -> str:
    """What a reference page promises today, by hand: without made parts and "Not in this release"."""
    text = (REFERENCE / page).read_text(encoding="utf-8")
    return re.sub(r"<!-- made: .*?<!-- /made -->", "", text, flags=re.DOTALL).split(
        "\n## Not in this release", 1
    )[0]


def in_backticks(text: str) -> set[str]:
    return set(re.findall(r"`([^`\n]+)`", text))


def undocumented(names: set[str], *pages: str) -> list[str]:
    known = set().union(*(in_backticks(documented(page)) for page in pages))
    return sorted(names - known)


# --- sizes and names ---


def test_there_is_something_to_check() -> None:
    assert len(MODULES) > 10


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_module_is_short_and_well_named(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").count("\n")
    # A migration is written once, never changed, and as long as the schema it makes.
    assert lines <= MODULE_LINES or MIGRATIONS in path.parents, f"{name_of(path)} has {lines} lines"
    parts = {part.removesuffix(".py") for part in path.relative_to(SRC).parts}
    assert not parts & FORBIDDEN_NAMES


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_functions_are_short(path: Path) -> None:
    sizes = {
        f"{name_of(path)}:{node.lineno} {node.name}": (node.end_lineno or node.lineno) - node.lineno + 1
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert {name: lines for name, lines in sizes.items() if lines > FUNCTION_LINES} == {}


def imported_roots(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module.split(".")[0]


@pytest.mark.parametrize("folder", ["src", "tests", "benchmarks"])
def test_nothing_imports_the_distributions_sqlite(folder: str) -> None:
    """A second SQLite library in one process drops the file locks of the first."""
    guilty = [
        name_of(path) for path in (ROOT / folder).rglob("*.py") if "sqlite3" in imported_roots(tree_of(path))
    ]
    assert guilty == []


def test_only_bootstrap_reads_settings() -> None:
    """Settings are read once. Other modules get values, so that a test needs no environment."""
    readers = {
        name_of(path)
        for path in MODULES
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Attribute) and node.attr in {"environ", "getenv"}
    }
    # The demo reads no setting: it hands PATH and HOME on to the server it starts. The client runs in other
    # people's programs, and asks the system where their users keep files.
    assert readers <= {
        "src/keywright/settings.py",
        "src/keywright/bootstrap.py",
        "src/keywright/cli/demo.py",
        "src/keywright/client/places.py",
    }


# --- documentation ---


def environment_names() -> set[str]:
    settings = importlib.import_module("keywright.settings").Settings
    names: set[str] = set()
    for field, info in settings.model_fields.items():
        alias = info.validation_alias
        choices = getattr(alias, "choices", [alias] if alias else [field])
        names |= {str(choice).upper() for choice in choices}
    return names


def test_every_setting_is_documented() -> None:
    assert undocumented(environment_names(), "environment.md") == []


def command_paths(command: Any, prefix: tuple[str, ...] = ()) -> Iterator[str]:
    """`Any`, because Typer brings its own copy of Click, whose types are private."""
    children = getattr(command, "commands", None)
    if children is None:
        yield " ".join(prefix)
        return
    for name, child in children.items():
        if not child.hidden:
            yield from command_paths(child, (*prefix, name))


def test_every_command_is_documented() -> None:
    app = importlib.import_module("keywright.cli.main").app
    promised = [text.split(" ") for text in in_backticks(documented("cli.md"))]
    missing = [
        path
        for path in command_paths(typer.main.get_command(app))
        if not any(words[: len(path.split(" "))] == path.split(" ") for words in promised)
    ]
    assert missing == []


def codes_of(path: Path) -> Iterator[str]:
    """Codes a module can answer with: `code="X"` or `reason="X"` in a call, and `code = "X"` in a class."""
    for node in ast.walk(tree_of(path)):
        pairs: list[tuple[str | None, ast.expr]] = []
        if isinstance(node, ast.Call):
            pairs = [(keyword.arg, keyword.value) for keyword in node.keywords]
        elif isinstance(node, ast.Assign):
            pairs = [(target.id, node.value) for target in node.targets if isinstance(target, ast.Name)]
        for name, value in pairs:
            if (
                name in {"code", "reason"}
                and isinstance(value, ast.Constant)
                and isinstance(value.value, str)
            ):
                yield value.value


def test_every_code_is_documented() -> None:
    codes = {code for path in MODULES for code in codes_of(path) if CODE.fullmatch(code)}
    assert "BAD_SIGNATURE" in codes
    assert undocumented(codes, "codes.md", "errors.md") == []


def test_every_verdict_code_is_documented_in_order_of_precedence() -> None:
    verdict = importlib.import_module("keywright.domain.verdict")
    section = documented("codes.md").split("## Verdict codes", 1)[1].split("\n## ", 1)[0]
    assert re.findall(r"^\| `([A-Z_]+)` \|", section, re.MULTILINE) == list(verdict.DETAIL)


# --- what we ship ---


def test_locks_carry_hashes_and_no_addresses() -> None:
    for lock in sorted((ROOT / "requirements").glob("*.lock")):
        text = lock.read_text(encoding="utf-8")
        pinned = re.findall(r"^[a-z0-9][^\n]*==[^\n]*", text, re.MULTILINE)
        assert pinned, f"{lock.name} pins nothing"
        assert all(line.endswith("\\") for line in pinned), f"{lock.name} has a line without hashes"
        assert "://" not in text, f"{lock.name} names an address"


def test_the_locks_agree() -> None:
    def pins(name: str) -> dict[str, str]:
        text = (ROOT / "requirements" / name).read_text(encoding="utf-8")
        return dict(re.findall(r"^([a-z0-9][a-z0-9.-]*)==([^ \\]+)", text, re.MULTILINE))

    run = pins("run.lock")
    assert run
    for name in ("test.lock", "docs.lock"):
        other = pins(name)
        assert {package: other.get(package) for package in run} == run


def test_links_in_the_documentation_lead_somewhere() -> None:
    pages = [*sorted((ROOT / "docs").rglob("*.md")), *sorted(ROOT.glob("*.md"))]
    dead = [
        f"{name_of(page)}: {target}"
        for page in pages
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
        if "://" not in target and not (page.parent / target).exists()
    ]
    assert dead == []
