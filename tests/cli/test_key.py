"""`key` and `verify`: rotation, the offline root, and a file checked where there is no database."""

from __future__ import annotations

import json
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from keywright import bootstrap
from keywright.domain.plan import Terms
from keywright.flows import activating, license_files, licensing, revocations
from keywright.flows.context import Context
from keywright.flows.licensing import Ask
from keywright.signing import ed25519, root_key
from tests.cli.test_cli import Shell
from tests.conftest import Prepared, test_settings
from tests.life import stripe, world

MACHINE = "machine-number-1"


class Office(Shell):
    """An installation with one license, activated, and its file; and a laptop that has no database."""

    def __init__(self, folder: Path, url: str) -> None:
        super().__init__(folder, DATABASE_URL=url)
        self.url = url
        self.laptop = Shell(folder / "laptop", DATABASE_URL="sqlite:////nowhere/at/all.sqlite")
        self.laptop.folder.mkdir()

    @contextmanager
    def opened(self) -> Iterator[Context]:
        made = test_settings(self.url, self.folder)
        database = bootstrap.open_database(made)
        try:
            yield bootstrap.build(made, database)
        finally:
            database.dispose()

    def stock(self) -> str:
        """Sell and activate. Returns the license file."""
        with self.opened() as context:
            world.stock(context, price_pro=Terms())
            now = datetime.now(UTC).replace(microsecond=0)
            sold = stripe.subscription("sub_1", now, now + timedelta(days=365))
            world.outcome(context, stripe.event("customer.subscription.created", sold, now))
            key = world.key_of(context, world.the_license(context))
            asked = licensing.check(context, Ask(key, MACHINE), fingerprint_needed=True)
            activating.activate(context, asked)
            made = license_files.make(context, asked)
            assert isinstance(made, license_files.FileMade)
            return made.file

    def put(self, name: str, text: str) -> str:
        (self.laptop.folder / name).write_text(text, encoding="utf-8")
        return name

    def list_of_revoked(self) -> str:
        with self.opened() as context:
            return revocations.get_list(context, context.master.id)


@pytest.fixture
def office(prepared_sqlite: Prepared, tmp_path: Path) -> Office:
    # On SQLite alone: the commands pass on what is tested on both databases elsewhere.
    shutil.copytree(prepared_sqlite.folder / "data", tmp_path / "data")
    return Office(tmp_path, f"sqlite:///{tmp_path / 'data' / 'keywright.sqlite'}")


def states(shell: Shell) -> list[tuple[str, str]]:
    return sorted((key["type"], key["state"]) for key in shell.json("key", "list"))


def test_keys_are_rotated_and_revoked(office: Office) -> None:
    first = {key["type"]: key["kid"] for key in office.json("key", "list") if key["state"] == "active"}
    done = office.run("key", "rotate", "--type", "lease+jwt", "--reason", "a year is over")
    assert "must be built since then" in done.stderr
    assert states(office).count(("lease+jwt", "verify-only")) == 1
    assert ("lic+jwt", "verify-only") not in states(office)
    office.run("key", "revoke", first["lease+jwt"], "--reason", "leaked")
    office.run("key", "revoke", first["lic+jwt"])
    assert states(office).count(("lic+jwt", "revoked")) == 1
    (gone,) = [key for key in office.json("key", "list") if key["kid"] == first["lease+jwt"]]
    assert (gone["state"], gone["reason"], gone["changed_by"]) == ("revoked", "leaked", "command line")
    for kid in ("nobody", "-k3y", "--k3y-of-nobody"):  # ids are drawn from letters, digits, "-" and "_"
        assert "KEY_UNKNOWN" in office.refusal("key", "revoke", kid, "--reason", "leaked")
    assert "INVALID" in office.refusal("key", "rotate", "--type", "JWT")
    published = json.loads(office.run("key", "export").stdout)["keys"]
    assert all("d" not in key and key["kid"] not in (gone["kid"], first["lic+jwt"]) for key in published)


def test_the_root_is_in_its_file_and_nowhere_else(office: Office) -> None:
    assert "ROOT_MISSING" in office.refusal("key", "export", "--root", str(someone_elses(office.folder)))
    made = office.json("key", "root", "create", "--out", "root.json")
    path = office.folder / "root.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    private = json.loads(path.read_text())["d"]
    assert root_key.read(path).kid == made["kid"]
    before = path.read_bytes()
    assert "already" in office.refusal("key", "root", "create", "--out", "root.json")
    assert "ROOT_EXISTS" in office.refusal("key", "root", "create", "--out", "other.json")
    assert not (office.folder / "other.json").exists()
    assert path.read_bytes() == before
    done = office.run("key", "export", "--root", "root.json", "--out", "keys.jwt")
    assert "Signed as number" in done.stderr
    assert office.json("key", "root", "show")["root"] == made["root"]
    assert "ROOT_OTHER" in office.refusal("key", "export", "--root", str(someone_elses(office.folder)))
    for file in (office.folder / "data").rglob("*"):
        assert private.encode() not in (file.read_bytes() if file.is_file() else b"")
    path.chmod(0o640)
    assert "chmod 600" in office.refusal("key", "export", "--root", "root.json")
    path.chmod(0o600)
    path.write_text("{}")
    assert "no root key" in office.refusal("key", "export", "--root", "root.json")


def someone_elses(folder: Path) -> Path:
    path = folder / "else.json"
    if not path.exists():
        root_key.create(path)
    return path


def doctor(office: Office) -> tuple[str, str]:
    lines = json.loads(office.call("doctor", "--json").stdout)
    (line,) = [line for line in lines if line["check"] == "signed keys"]
    return line["state"], line["says"]


def test_doctor_says_when_the_signed_set_no_longer_fits(office: Office) -> None:
    assert doctor(office)[0] == "note"
    office.run("key", "root", "create", "--out", "root.json")
    assert doctor(office)[0] == "wrong"
    export = ("key", "export", "--root", "root.json", "--out", "keys.jwt")
    office.run(*export, "--days", "20")
    assert doctor(office) == ("note", "the signed set ends in 19 days. Run: keywright key export --root FILE")
    office.run(*export)
    assert doctor(office)[0] == "ok"
    done = office.run("key", "rotate")
    assert "out of date" in done.stderr
    assert doctor(office)[0] == "note"
    assert "KEY_NOT_COVERED" in office.refusal("key", "rotate")
    office.run("key", "rotate", "--force")
    assert "has not signed for" in doctor(office)[1]
    office.run(*export)
    (active,) = [
        k for k in office.json("key", "list") if (k["type"], k["state"]) == ("crl+jwt", "verify-only")
    ][:1]
    office.run("key", "revoke", active["kid"])
    assert "tells of a revoked key" in doctor(office)[1]


def test_a_file_is_verified_where_there_is_no_database(office: Office) -> None:
    file = office.put("acme.license", office.stock())
    jwks = office.put("jwks.json", office.run("key", "export").stdout)
    root = office.json("key", "root", "create", "--out", "root.json")["root"]
    signed = office.put("keys.jwt", office.run("key", "export", "--root", "root.json").stdout)
    revoked = office.put("revoked.jwt", office.list_of_revoked())
    laptop = office.laptop

    def claims(*words: str) -> Any:
        return laptop.json("verify", file, *words)

    assert claims("--keys", jwks) == claims("--keys", signed, "--root", root)
    told = claims("--keys", signed, "--root", root, "--revoked", revoked, "--product", "dashcaddy")
    assert (told["aud"], told["seats"], told["mid"] != "") == ("dashcaddy", 1, True)
    assert claims("--keys", jwks, "--fingerprint", MACHINE, "--issuer", told["iss"]) == told
    assert office.json("verify", f"laptop/{file}") == told
    ends = datetime.fromtimestamp(told["exp"], UTC).isoformat()[:10]
    assert ends in laptop.run("verify", file, "--keys", jwks).stdout

    other = ed25519.Signer(bytes(32))
    refusals = {
        ("--keys", jwks, "--fingerprint", "machine-number-2"): "another machine",
        ("--keys", jwks, "--product", "other"): "aud",
        ("--keys", jwks, "--issuer", "https://example.test"): "iss",
        ("--keys", jwks, "--root", root): "not signed",
        ("--keys", signed): "--root",
        ("--keys", signed, "--root", "x"): "32 bytes",
        ("--keys", signed, "--root", json.loads((office.folder / "root.json").read_text())["kid"]): "kid",
        ("--keys", "nothing.json"): "No such file",
        ("--keys", file): "--root",
        ("--keys", jwks, "--revoked", jwks): "revocation list",
    }
    for words, part in refusals.items():
        assert part in laptop.refusal("verify", file, *words), words
    assert other.kid not in told


def test_what_was_revoked_is_refused(office: Office) -> None:
    file = office.put("acme.license", office.stock())
    jwks = office.put("jwks.json", office.run("key", "export").stdout)
    (item,) = office.json("license", "list")["items"]
    office.run("license", "revoke", item["id"])
    revoked = office.put("revoked.jwt", office.list_of_revoked())
    # The file alone does not know it; the list does, and so does the server when its key is revoked.
    office.laptop.run("verify", file, "--keys", jwks)
    assert "revoked" in office.laptop.refusal("verify", file, "--keys", jwks, "--revoked", revoked)
    office.run("verify", f"laptop/{file}")
    signing = next(
        k["kid"] for k in office.json("key", "list") if (k["type"], k["state"]) == ("lic+jwt", "active")
    )
    office.run("key", "revoke", signing)
    assert "kid" in office.refusal("verify", f"laptop/{file}")
    office.run("license", "reinstate", item["id"])
    revoked = office.put("revoked.jwt", office.list_of_revoked())
    assert "revoked" in office.laptop.refusal("verify", file, "--keys", jwks, "--revoked", revoked)
    fresh = office.put("fresh.json", office.run("key", "export").stdout)
    assert "kid" in office.laptop.refusal("verify", file, "--keys", fresh)
