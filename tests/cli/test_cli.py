"""The commands as people run them: real processes on a database of their own."""

from __future__ import annotations

import io
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, chdir, redirect_stderr, redirect_stdout
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Any
from unittest import mock

import httpx
import msgspec
import pytest
import sqlalchemy as sa
import structlog

from keywright.cli import checks, offline_check, session
from keywright.cli.main import app, main
from keywright.store.engine import Database
from keywright.store.tables import licenses

CATALOG = resources.files("keywright.cli").joinpath("sample_catalog.toml").read_text(encoding="utf-8")
SECRET = "whsec_planted_0123456789abcdef"


class Shell:
    """Runs `keywright` in a folder, with nothing of the tester's environment."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.folder = folder
        self.environment = {
            "PATH": os.environ["PATH"],
            "DATA_DIR": str(folder / "data"),
            "STRIPE_WEBHOOK_SECRET": SECRET,
            **environment,
        }

    def start(self, *words: str) -> subprocess.CompletedProcess[str]:
        """In a process of its own, as people do."""
        return subprocess.run(
            [sys.executable, "-m", "keywright.cli.main", *words],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def call(self, *words: str) -> subprocess.CompletedProcess[str]:
        """The same entry point in this process: a second sooner, and most commands only come and go."""
        out, err = io.StringIO(), io.StringIO()
        with ExitStack() as stack:
            stack.enter_context(mock.patch.dict(os.environ, self.environment, clear=True))
            stack.enter_context(mock.patch.object(sys, "argv", ["keywright", *words]))
            stack.enter_context(mock.patch.object(logging.root, "handlers", []))
            stack.callback(structlog.configure, **structlog.get_config())
            stack.enter_context(chdir(self.folder))
            stack.enter_context(redirect_stdout(out))
            stack.enter_context(redirect_stderr(err))
            ended = stack.enter_context(pytest.raises(SystemExit))
            main()
        return subprocess.CompletedProcess(words, int(ended.value.code or 0), out.getvalue(), err.getvalue())

    def run(self, *words: str, fails: int = 0, apart: bool = False) -> subprocess.CompletedProcess[str]:
        done = self.start(*words) if apart else self.call(*words)
        assert done.returncode == fails, (words, done.stdout, done.stderr)
        assert "Traceback" not in done.stdout + done.stderr
        assert SECRET not in done.stdout + done.stderr
        if fails == 1:
            assert done.stderr.strip(), words
        return done

    def json(self, *words: str, fails: int = 0) -> Any:
        return msgspec.json.decode(self.run(*words, "--json", fails=fails).stdout)

    def refusal(self, *words: str, apart: bool = False) -> str:
        """The one line that a refused command leaves on stderr, after which nothing was printed."""
        done = self.run(*words, fails=1, apart=apart)
        assert done.stdout == ""
        (line,) = done.stderr.splitlines()
        assert line.startswith("keywright: ")
        return line


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """A prepared installation with the sample catalog."""
    made = Shell(tmp_path_factory.mktemp("cli"))
    (made.folder / "catalog.toml").write_text(CATALOG, encoding="utf-8")
    made.run("migrate")
    made.run("catalog", "apply", "catalog.toml")
    return made


def test_help_needs_nothing(tmp_path: Path) -> None:
    started = time.monotonic()
    done = Shell(tmp_path).run("--help", apart=True)
    assert "license" in done.stdout
    assert time.monotonic() - started < 5
    assert list(tmp_path.iterdir()) == []
    heavy = "{'stripe', 'dbos', 'sqlalchemy', 'litestar'} & set(sys.modules)"
    heavy = f"import sys, keywright.cli.main; print({heavy})"
    told = subprocess.run([sys.executable, "-c", heavy], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "set()"


def test_an_unprepared_database_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "catalog.toml").write_text(CATALOG, encoding="utf-8")
    new = Shell(tmp_path)
    assert "run: keywright migrate" in new.refusal("license", "list", apart=True)
    for words in (
        ["catalog", "apply", "catalog.toml"],
        ["token", "create", "--name", "x"],
        ["event", "list"],
    ):
        assert "run: keywright migrate" in new.refusal(*words)
    assert not (tmp_path / "data").exists()
    told = new.run("doctor", fails=1).stdout
    assert not (tmp_path / "data").exists()
    assert "Run: keywright migrate" in told
    assert "ok     stripe webhook: point Stripe at" in told
    Database(f"sqlite:///{tmp_path / 'data' / 'keywright.sqlite'}").dispose()
    assert "Run: keywright migrate" in new.refusal("license", "list")
    assert "ok     stripe webhook: point Stripe at" in new.run("doctor", fails=1).stdout


@pytest.mark.parametrize(
    "words",
    [
        ["nonsense"],
        ["license"],
        ["license", "nonsense"],
        ["license", "show"],
        ["license", "issue", "--plan", "dashcaddy/pro"],
        ["license", "extend", "lic_1"],
        ["license", "extend", "lic_1", "--until", "tomorrow"],
        ["event", "replay"],
        ["serve", "--workers", "0"],
        ["sandbox", "trigger", "invoice.paid", "--order", "bogus"],
    ],
)
def test_wrong_usage(shell: Shell, words: list[str]) -> None:
    shell.run(*words, fails=2)


def test_a_catalog_is_applied_once_and_shown(shell: Shell) -> None:
    assert shell.run("catalog", "apply", "catalog.toml").stdout == "no changes\n"
    changed = shell.folder / "changed.toml"
    changed.write_text(CATALOG.replace("projects = 20 ", "projects = 30 "), encoding="utf-8")
    would = shell.json("catalog", "apply", "changed.toml", "--dry-run")
    assert [c["path"] for c in would["changes"]] == ["dashcaddy/lifetime.limits.projects"]
    assert "price_demo_lifetime" in shell.run("catalog", "show").stdout
    assert shell.json("catalog", "show")[0]["plans"][0]["terms"]["limits"] == {"projects": 20}
    changed.write_text(CATALOG.replace("slug", "slgu", 1), encoding="utf-8")
    told = shell.run("catalog", "apply", "changed.toml", fails=1).stderr
    assert "changed.toml:" in told
    assert "No such file" in shell.refusal("catalog", "apply", "nowhere.toml")


def test_a_token_is_alone_on_stdout(shell: Shell) -> None:
    (line,) = shell.run("token", "create", "--name", "robot", apart=True).stdout.splitlines()
    assert line.startswith("kw_")
    assert "scope" in shell.refusal("token", "create", "--name", "robot", "--scope", "root")
    assert "tenant" in shell.refusal("token", "create", "--name", "robot", "--tenant", "nobody")


def test_the_life_of_a_license(shell: Shell) -> None:
    issue = ["license", "issue", "--plan", "dashcaddy/pro", "--email", "ann@example.com", "--seats", "2"]
    done = shell.run(*issue, "--until", "2999-01-01", "--json")
    made = msgspec.json.decode(done.stdout)
    assert "No server is running" in done.stderr
    assert (made["status"], made["entitled_until"]) == ("active", "2999-01-01T00:00:00Z")
    assert shell.json("license", "show", made["key"])["id"] == made["id"]
    assert shell.json("license", "suspend", "ann@example.com", "--reason", "unpaid")["status"] == "suspended"
    assert [x["id"] for x in shell.json("license", "list", "--status", "suspended")["items"]] == [made["id"]]
    assert shell.json("license", "reinstate", made["id"])["status"] == "active"
    again = shell.run("license", "reinstate", made["id"])
    assert again.stderr == "Nothing changed: the license was active before.\n"
    longer = shell.json("license", "extend", made["id"], "--days", "1")
    assert longer["entitled_until"] == "2999-01-02T00:00:00Z"
    rotated = shell.json("license", "rotate-key", made["id"])
    assert "LICENSE_UNKNOWN" in shell.refusal("license", "show", made["key"])
    assert shell.json("license", "transfer", rotated["key"], "--email", "bob@example.com")["seats"] == 2
    assert shell.json("license", "revoke", made["id"])["status"] == "revoked"
    told = shell.run("license", "explain", made["id"]).stdout
    for words in ("license.issued", "why: unpaid", "standing: ok -> suspended", "license.key_rotated"):
        assert words in told
    assert "plan: dashcaddy/pro\n" in told
    assert "pln_" not in told
    assert shell.json("integrity") == {"checked": 1, "damaged": [], "audit_entry": None}


def test_an_altered_row_is_found(shell: Shell) -> None:
    def alter(seats: str) -> None:
        database = Database(f"sqlite:///{shell.folder / 'data' / 'keywright.sqlite'}")
        with database.write() as connection:
            connection.execute(sa.update(licenses).values(seats=sa.text(seats)))
        database.dispose()

    issue = ["license", "issue", "--plan", "dashcaddy/pro", "--email", "eve@example.com"]
    id_ = shell.json(*issue)["id"]
    alter("seats + 1000")
    damaged = shell.json("integrity", fails=1)["damaged"]
    assert (id_, True, None) in [(one["license"], one["row_altered"], one["entry"]) for one in damaged]
    alter("seats - 1000")
    assert shell.json("integrity")["damaged"] == []


def test_what_is_no_token_is_refused(shell: Shell) -> None:
    for words in ("catalog.toml", "e30.e30.e30"):
        assert "TOKEN_REFUSED" in shell.refusal("verify", words)
    for words in ("", "nonsense", "a.b.c", "é.é.é", "\x00.\x00.\x00", "e30." * 2000):
        with pytest.raises(offline_check.TokenNotValid):
            offline_check.claimed_by(checks._token_in(words))
    assert offline_check.claimed_by("W10.W10.W10") == (None, {})


def test_keys_are_listed_without_their_private_halves(shell: Shell) -> None:
    known = shell.json("key", "list")
    kinds = sorted((key["type"], key["state"]) for key in known)
    assert kinds == [(t, s) for t in ("crl+jwt", "lease+jwt", "lic+jwt") for s in ("active", "next")]
    assert not any("private" in name for key in known for name in key)


def test_an_empty_inbox(shell: Shell) -> None:
    assert shell.json("event", "list")["items"] == []
    assert "EVENT_UNKNOWN" in shell.refusal("event", "show", "evt_1")
    assert shell.json("event", "replay", "--status", "failed", "--dry-run") == {"dry_run": True, "items": []}


def test_doctor_says_what_to_do(shell: Shell, tmp_path: Path) -> None:
    found = {line["check"]: line["state"] for line in shell.json("doctor")}
    assert found["database"] == found["vault"] == found["schema"] == found["stripe webhook"] == "ok"
    assert set(found.values()) == {"ok", "note"}
    new = Shell(tmp_path, LOG_LEVEL="Debug").run("doctor", fails=1, apart=True)
    assert "keywright migrate" in new.stdout
    assert "httpcore" not in new.stderr
    proxied = Shell(shell.folder, APP_BASE_URL="https://127.0.0.1:1")
    assert "note   proxy: " in proxied.run("doctor").stdout
    proxied.environment["TRUSTED_PROXIES"] = "127.0.0.1"
    assert "proxy: " not in proxied.run("doctor").stdout
    for wrong, check in (
        ({"STRIPE_WEBHOOK_SECRET": "x"}, "settings"),
        (
            {
                "SMTP_URL": "smtp://u:hidden@127.0.0.1:1?starttls=1",
                "DATABASE_URL": "postgresql://u:hidden@127.0.0.1:1/x",
            },
            "database",
        ),
        ({"KEYWRIGHT_MASTER_KEY": "A" * 43 + "="}, "vault"),
    ):
        broken = Shell(shell.folder, **{"DATA_DIR": str(shell.folder / "data"), **wrong})
        done = broken.run("doctor", fails=1)
        assert f"wrong  {check}" in done.stdout
        assert ("wrong  mail" in done.stdout) == ("SMTP_URL" in wrong)
        assert "hidden" not in done.stdout + done.stderr


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def server(shell: Shell) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    port = free_port()
    with (shell.folder / "serve.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "keywright.cli.main", "serve", "--port", str(port)],
            cwd=shell.folder,
            env=shell.environment,
            stderr=log,
        )
        url = f"http://127.0.0.1:{port}"
        for _ in range(200):
            try:
                if httpx.get(f"{url}/health").status_code == 200:
                    break
            except httpx.TransportError:
                time.sleep(0.1)
        yield url, process
        process.kill()
        process.wait()


def test_commands_work_beside_a_running_server(
    shell: Shell, server: tuple[str, subprocess.Popen[bytes]]
) -> None:
    url, process = server
    assert "Another server" in shell.refusal("serve", "--port", str(free_port()), apart=True)
    token = shell.run("token", "create", "--name", "robot").stdout.strip()
    headers = {"authorization": f"Bearer {token}"}
    assert httpx.get(f"{url}/api/admin/licenses", headers=headers).status_code == 200
    made = shell.run(
        "license", "issue", "--plan", "dashcaddy/pro", "--email", "mail@example.com", "--json", apart=True
    )
    assert made.stderr == ""
    key = msgspec.json.decode(made.stdout)["key"]
    body = {"key": key, "fingerprint": "machine-number-1"}
    lease = httpx.post(f"{url}/api/license/activate", json=body).json()["lease"]
    outbox = shell.folder / "data" / "outbox"
    for _ in range(100):
        if any(key in mail.read_text() for mail in outbox.glob("*.eml")):
            break
        time.sleep(0.1)
    assert any(key in mail.read_text() for mail in outbox.glob("*.eml"))
    leased = Shell(shell.folder, APP_BASE_URL=url)
    claims = leased.json("verify", lease)
    assert claims["code"] == "VALID"
    until = datetime.fromtimestamp(claims["lexp"], UTC)
    shown = leased.run("verify", lease).stdout
    assert f"{until:%Y-%m-%dT%H:%M:%SZ}" in shown
    assert "[" not in shown
    wrapped = shell.folder / "license.txt"
    wrapped.write_text(
        f"-----BEGIN KEYWRIGHT LICENSE-----\n{lease[:70]}\n{lease[70:]}\n-----END KEYWRIGHT LICENSE-----\n"
    )
    assert leased.json("verify", "license.txt")["aud"] == "dashcaddy"
    assert "signature" in leased.refusal("verify", lease[:-8] + "AAAAAAAA")
    assert "iss" in shell.refusal("verify", lease)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=20) == 0


def test_sqlite_takes_one_process(shell: Shell) -> None:
    assert "PostgreSQL" in shell.refusal("serve", "--workers", "2")
    assert "PostgreSQL" in shell.refusal("worker")


def test_numbers_of_workers_share_one_port(postgresql: str, tmp_path: Path) -> None:
    from tests.conftest import new_postgresql

    made = Shell(tmp_path, DATABASE_URL=new_postgresql(postgresql))
    port = free_port()
    with (tmp_path / "serve.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "keywright.cli.main", "serve", "--workers", "2", "--port", str(port)],
            cwd=made.folder,
            env=made.environment,
            stderr=log,
        )
    try:
        ready = 0
        for _ in range(600):
            ready = (tmp_path / "serve.log").read_text().count("Application startup complete")
            if ready == 2:
                break
            time.sleep(0.1)
        assert ready == 2
        assert {httpx.get(f"http://127.0.0.1:{port}/health").status_code for _ in range(10)} == {200}
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0
    finally:
        process.kill()
        process.wait()


def test_the_sandbox_says_how_to_use_it(tmp_path: Path) -> None:
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "keywright.cli.main", "sandbox", "serve", "--port", str(port)],
        cwd=tmp_path,
        env=Shell(tmp_path).environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        told = ""
        while "Stop with" not in told:
            told += process.stdout.readline()
        url = f"http://127.0.0.1:{port}"
        for words in (f"Index page      {url}/", "sk_test_sandbox", f"STRIPE_API_BASE={url}", "DATA_DIR="):
            assert words in told
        levers = Shell(tmp_path, STRIPE_API_BASE=url)
        for _ in range(100):
            if levers.call("sandbox", "clock", "advance", "1d").returncode == 0:
                break
            time.sleep(0.1)
        assert set(levers.json("sandbox", "clock", "advance", "1d")) == {"now", "events"}
        made = levers.json("sandbox", "trigger", "checkout.session.completed", "--order", "shuffle")
        assert "checkout.session.completed" in {event["type"] for event in made["events"]}
        refusal = levers.refusal("sandbox", "trigger", "nonsense")
        assert "No recipe for nonsense" in refusal
        for name in ("invoice.paid", "PAYMENT.SALE.REFUNDED", "paystack:invoice.payment_failed"):
            assert name in refusal
        assert f"port {port}" in levers.refusal("sandbox", "serve", "--port", str(port))
        assert "--webhook-secret" in Shell(tmp_path, STRIPE_WEBHOOK_SECRET="").refusal(
            "sandbox", "serve", "--port", str(free_port()), "--webhook-url", "http://127.0.0.1:1/"
        )
    finally:
        process.kill()
        process.communicate()


def test_columns_are_never_cut(capsys: pytest.CaptureFixture[str]) -> None:
    session.print_table(("a", "long head"), [("x" * 200, None), ("y", 1)])
    head, first, second = capsys.readouterr().out.splitlines()
    assert head.index("LONG HEAD") == first.index("-") == second.index("1") == 202
    assert app.info.name == "keywright"
