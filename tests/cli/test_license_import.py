"""`license import` and what else staff do on the command line; the example of a key scheme, installed."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest

from keywright.domain.errors import Misconfigured
from keywright.signing import key_schemes
from tests.cli.test_cli import Shell

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "key-scheme"
CATALOG = """
[[product]]
slug = "dashcaddy"
name = "DashCaddy"
key_scheme = "acme"

[[product.plan]]
slug = "pro"
name = "Pro"
trial = "7d"

[[product]]
slug = "plain"
name = "Plain"

[[product.plan]]
slug = "one"
name = "One"
term = "perpetual"
"""
FILE = """key,plan,email,seats,until,fingerprints
ACME/22222-22222-22222-22222-0,dashcaddy/pro,ann@example.com,3,2027-06-01,machine-number-1
ACME/33333-33333-33333-33333-0,dashcaddy/pro,bob@example.com,1,never,
XYZ,plain/one,cat@example.com,1,,
old-1,plain/one,cat@example.com,1,,
"""


def install(folder: Path, *points: str) -> Path:
    """The example package, as an installer would leave it: the code, and its metadata beside it."""
    site = folder / "site"
    shutil.copytree(EXAMPLE / "src" / "acme_keys", site / "acme_keys")
    info = site / "acme_keys-1.0.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-keys\nVersion: 1.0.0\n")
    lines = points or ("acme = acme_keys:AcmeKeys",)
    (info / "entry_points.txt").write_text("\n".join([f"[{key_schemes.GROUP}]", *lines]) + "\n")
    return site


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = install(tmp_path)
    monkeypatch.syspath_prepend(str(folder))
    yield folder
    sys.modules.pop("acme_keys", None)


def test_the_example_offers_what_its_page_says() -> None:
    assert 'acme = "acme_keys:AcmeKeys"' in (EXAMPLE / "pyproject.toml").read_text()
    assert f'[project.entry-points."{key_schemes.GROUP}"]' in (EXAMPLE / "pyproject.toml").read_text()


def test_an_installed_scheme_is_found_by_its_entry_point(site: Path) -> None:
    scheme = key_schemes.installed()["acme"]
    made = scheme.make(bytes(range(32)))
    assert scheme.canonical(f" {made.lower()} ".strip()) == scheme.canonical(made) is not None
    assert scheme.canonical(made[:-1] + str((int(made[-1]) + 1) % 10)) is None


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("Acme = acme_keys:AcmeKeys", "name is 1 to 63"),
        ("exact = acme_keys:AcmeKeys", "not exact or keywright"),
        ("acme = acme_keys:Nothing", "cannot be loaded: AttributeError"),
        ("acme = acme_nowhere:AcmeKeys", "cannot be loaded: ModuleNotFoundError"),
        ("acme = acme_keys:_LETTERS", "has no `make` and `canonical`"),
    ],
)
def test_what_is_no_scheme_is_refused_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str, said: str
) -> None:
    monkeypatch.syspath_prepend(str(install(tmp_path, value)))
    with pytest.raises(Misconfigured, match=said):
        key_schemes.installed()
    sys.modules.pop("acme_keys", None)


def test_two_packages_with_one_name_are_refused() -> None:
    points = [
        metadata.EntryPoint("acme", value, key_schemes.GROUP) for value in ("acme_keys:A", "other_keys:B")
    ]
    with pytest.raises(Misconfigured):
        key_schemes.collect(points)


def test_keys_are_brought_in_by_command(tmp_path: Path, site: Path) -> None:
    shell = Shell(tmp_path, PYTHONPATH=str(site))
    (tmp_path / "catalog.toml").write_text(CATALOG)
    (tmp_path / "keys.csv").write_text(FILE)
    shell.run("migrate")
    shell.run("catalog", "apply", "catalog.toml")
    dry = shell.run("license", "import", "keys.csv", "--dry-run", fails=1)
    assert "4 keys: 3 would be taken over with 1 machines" in dry.stdout
    assert "4     refused  key must be 4 to 256" in dry.stdout
    assert "Nothing was changed." in dry.stdout
    assert "1 of 4 lines were not taken" in dry.stderr
    assert shell.json("license", "list")["items"] == []
    # As people run it, in a process that learns of the scheme by itself.
    done = shell.run("license", "import", "keys.csv", "--reason", "we moved", fails=1, apart=True)
    assert "3 taken over" in done.stdout
    assert "1 keys have fewer than 12 characters" in done.stdout
    again = shell.run("license", "import", "keys.csv", fails=1)
    assert "0 taken over with 0 machines, 3 were here already, 0 differ, 1 refused" in again.stdout
    shown = shell.json("license", "show", "acme/22222 22222 22222 22222 0")
    assert (shown["origin"], shown["seats"], shown["activations"]) == ("import", 3, 1)
    assert [
        row["plan"] for row in shell.json("license", "list", "--origin", "import", "--plan", "one")["items"]
    ] == ["one"]
    told = shell.json("license", "explain", "old-1")
    assert [entry["kind"] for entry in told["timeline"]] == ["license.imported"]
    issued = shell.json(
        "license", "issue", "--plan", "dashcaddy/pro", "--email", "dan@example.com", "--trial"
    )
    assert issued["key"].startswith("ACME/")
    # Without the package, every command says what is missing: customers would be turned away.
    refused = Shell(tmp_path).run("license", "list", fails=1, apart=True)
    assert "Keys of the scheme acme are in use" in refused.stderr


def test_staff_give_out_and_act_on_many_by_command(tmp_path: Path, site: Path) -> None:
    shell = Shell(tmp_path, PYTHONPATH=str(site))
    (tmp_path / "catalog.toml").write_text(CATALOG)
    shell.run("migrate")
    shell.run("catalog", "apply", "catalog.toml")
    give = ("license", "issue", "--plan", "dashcaddy/pro", "--email")
    comp = shell.json(*give, "ann@example.com", "--comp", "--reason", "a friend of the house")
    trial = shell.json(*give, "bob@example.com", "--trial")
    assert (comp["origin"], comp["trial"], comp["entitled_until"]) == ("comp", False, None)
    assert (trial["origin"], trial["trial"], trial["grace_until"]) == ("trial", True, trial["entitled_until"])
    shell.run(*give, "bob@example.com", "--trial", fails=1)
    shell.run(*give, "bob@example.com", "--trial", "--again", "--days", "3")
    shell.run(*give, "cat@example.com", "--trial", "--comp", fails=2)
    assert shell.json("license", "give-seats", comp["id"], "5")["seats"] == 5
    shell.run("license", "note", comp["id"], "asked for an invoice")
    dry = shell.json("license", "bulk", "suspend", "--origin", "trial", "--dry-run")
    assert (len(dry["items"]), dry["items"][0]["after"]) == (2, None)
    done = shell.run("license", "bulk", "suspend", "--origin", "trial", "--reason", "the show is over")
    assert "2 licenses were changed, 0 are so already, 0 refused." in done.stdout
    again = shell.run("license", "bulk", "suspend", "--origin", "trial")
    assert "0 licenses were changed, 2 are so already" in again.stdout
    shell.run("license", "bulk", "suspend", fails=1)
    shell.run("license", "bulk", "explode", "--origin", "trial", fails=1)
    kinds = [entry["kind"] for entry in shell.json("license", "explain", comp["id"])["timeline"]]
    assert kinds == ["license.issued", "license.seats_changed", "license.noted"]
