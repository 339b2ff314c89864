"""What `deploy/` hands to operators: it parses, and names commands, settings and ports that there are."""

from __future__ import annotations

import configparser
import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import click
import pytest
import typer.main
import yaml  # type: ignore[import-untyped]  # the library carries no types

from keywright.cli.main import app
from keywright.settings import Settings
from keywright.web.api import health

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
CONTAINERFILE = (DEPLOY / "Containerfile").read_text(encoding="utf-8")
SETTINGS = {name.upper() for name in Settings.model_fields}
HOW_TO = ROOT / "docs" / "how-to" / "several-machines.md"

# What Python and the shell read, and none of ours.
_NOT_OURS = {"PATH", "PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED"}


def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    return found


def unit(path: Path) -> configparser.RawConfigParser:
    read = configparser.RawConfigParser(strict=False, delimiters=("=",), comment_prefixes=("#",))
    read.optionxform = str  # type: ignore[assignment,method-assign]  # names of options tell great from small
    read.read_string(path.read_text(encoding="utf-8"))
    return read


def parsed(words: list[str]) -> click.Context:
    """What the command line makes of these words. Nothing is run. Raises click.UsageError."""
    group: Any = typer.main.get_command(app)
    name, command, rest = group.resolve_command(click.Context(group), words)
    context: click.Context = command.make_context(name, rest)
    return context


def instruction(name: str) -> list[str]:
    """What follows this word in the container file, each time."""
    whole = CONTAINERFILE.replace("\\\n", " ")
    return re.findall(rf"^\s*{name} +(.+)$", whole, re.MULTILINE)


def variables() -> dict[str, str]:
    return dict(word.split("=", 1) for line in instruction("ENV") for word in shlex.split(line))


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_units_start_what_there_is(path: Path) -> None:
    service = unit(path)["Service"]
    program, *words = shlex.split(service["ExecStart"])
    assert Path(program).name == "keywright"
    assert Path(program).is_absolute()
    assert parsed(words).command.name == path.stem.replace("keywright-", "").replace("keywright", "serve")
    named = {word.split("=")[0] for word in service["Environment"].split()}
    assert named - _NOT_OURS == {"DATA_DIR"}
    assert service["StateDirectory"] in service["Environment"]


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_units_give_up_what_they_do_not_need(path: Path) -> None:
    service = unit(path)["Service"]
    expected = {
        "NoNewPrivileges": "yes",
        "ProtectSystem": "strict",
        "ProtectHome": "yes",
        "PrivateTmp": "yes",
        "DynamicUser": "yes",
        "CapabilityBoundingSet": "",
        "UMask": "0077",
        "KillMode": "mixed",
        "Restart": "always",
    }
    assert {name: service[name] for name in expected} == expected
    assert "ProcSubset" not in service


def test_units_are_such_as_systemd_takes(tmp_path: Path) -> None:
    """Asked of systemd itself where there is one. Elsewhere the tests above have to do."""
    program = tmp_path / "keywright"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    for path in UNITS:
        text = path.read_text(encoding="utf-8").replace("/opt/keywright/bin/keywright", str(program))
        (tmp_path / path.name).write_text(text)
        assert str(program) in text
        if shutil.which("systemd-analyze"):
            words = ["systemd-analyze", "verify", "--man=no", str(tmp_path / path.name)]
            told = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
            ours = [line for line in told.stderr.splitlines() if path.name in line]
            assert ours == [], told.stderr


def test_services_run_what_there_is() -> None:
    services = compose()["services"]
    commands = {name: one["command"] for name, one in services.items() if name != "postgres"}
    found = {name: parsed(words) for name, words in commands.items()}
    assert {name: one.command.name for name, one in found.items()} == {
        "one": "serve",
        "two": "serve",
        "worker": "worker",
    }
    check = services["worker"]["healthcheck"]["test"]
    assert check[:2] == ["CMD", "keywright"]
    assert parsed(check[2:]).params == {"check": True}
    # Whoever only answers needs somebody who works.
    assert [found[name].params["engine"] for name in ("one", "two")] == [False, False]


def test_services_give_up_what_they_do_not_need() -> None:
    for name, one in compose()["services"].items():
        if name != "postgres":
            assert one["read_only"] is True
            assert one["cap_drop"] == ["ALL"]
            assert one["security_opt"] == ["no-new-privileges:true"]
            assert one["depends_on"] == {"postgres": {"condition": "service_healthy"}}


def test_ports_agree() -> None:
    port = variables()["PORT"]
    assert instruction("EXPOSE") == [port]
    published = [
        one.split(":") for service in compose()["services"].values() for one in service.get("ports", [])
    ]
    assert {inside for _, _, inside in published} == {port}
    assert {host for host, _, _ in published} == {"127.0.0.1"}  # nobody but the proxy
    outside = {number for _, number, _ in published}
    assert len(outside) == len(published)
    text = HOW_TO.read_text(encoding="utf-8")
    assert outside <= set(re.findall(r"127\.0\.0\.1:(\d+)", text))


def test_the_container_asks_what_is_answered() -> None:
    (check,) = instruction("HEALTHCHECK")
    told = json.loads(check[check.index("[") :])
    path = re.search(r"'(/health/\w+)'", told[-1])
    assert path is not None
    assert f'"{path[1]}"' in Path(health.__file__).read_text(encoding="utf-8")
    compile(told[-1], "healthcheck", "exec")


def test_the_container_runs_as_nobody_from_locked_packages() -> None:
    (user,) = instruction("USER")
    assert "0" not in user.split(":")
    assert set(variables()) - _NOT_OURS <= SETTINGS
    (entry,), (command,) = instruction("ENTRYPOINT"), instruction("CMD")[-1:]
    assert json.loads(entry) == ["keywright"]
    assert parsed(json.loads(command)).command.name == "serve"
    installs = [line for line in instruction("RUN") if "pip install" in line]
    assert len(installs) == 2
    assert "--require-hashes" in installs[0]
    assert "--no-deps --no-build-isolation" in installs[1]


def test_what_is_copied_is_there_and_not_ignored() -> None:
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    copied = [line.split()[:-1] for line in instruction("COPY") if "--from" not in line]
    for name in (name for names in copied for name in names):
        assert (ROOT / name).exists(), name
        assert f"!{name}" in ignored
    assert "*" in ignored


def test_settings_of_the_example_are_there() -> None:
    text = (DEPLOY / "keywright.env.example").read_text(encoding="utf-8")
    named = set(re.findall(r"^([A-Z_]+)=", text, re.MULTILINE))
    assert named <= SETTINGS
    assert {"DATABASE_URL", "KEYWRIGHT_MASTER_KEY", "APP_BASE_URL", "SMTP_URL"} <= named
    environment = compose()["services"]["postgres"]["environment"]
    account = f"//{environment['POSTGRES_USER']}:"
    assert account in text
    assert text.count(f"@postgres/{environment['POSTGRES_DB']}") == 1


def test_the_how_to_says_what_there_is() -> None:
    """Every command of ours on the page is one of ours, with options that it has."""
    text = HOW_TO.read_text(encoding="utf-8")
    lines = re.findall(r"^(?:[A-Z_]+=\S+ )*keywright (.+)$", text, re.MULTILINE)
    assert len(lines) >= 4
    for line in lines:
        words = shlex.split(line.split("#")[0])
        assert parsed(words).command.name == words[0]
    for name in re.findall(r"`([A-Z][A-Z_]{3,})`", text):
        assert name in SETTINGS | {"POSTGRES_PASSWORD", "SIGTERM"}, name
