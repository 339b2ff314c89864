"""The example for `sh` and OpenSSL: a process per token, so that the short form asks fewer of them."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.examples import cases
from tests.examples.cases import Case
from tests.examples.tools import need, run

SCRIPT = cases.EXAMPLES / "openssl" / "verify.sh"
# Every token of cases.py takes 10 s: `KEYWRIGHT_FUZZ_EXAMPLES` asks them all, and else each fourth.
EACH = 1 if "KEYWRIGHT_FUZZ_EXAMPLES" in os.environ else 4


@pytest.fixture
def shell() -> str:
    need("openssl", 3)
    return need("sh", 0) if os.name != "posix" else "/bin/sh"


def command(shell: str, folder: Path, one: Case) -> list[str]:
    keys, given = folder / "keys.json", folder / "given"
    keys.write_text(one.keys)
    # Behind it a line end, as `echo` puts it there: what it holds besides is the token's own.
    encoding = "latin-1" if one.name.startswith("bit ") else "utf-8"
    given.write_bytes(one.token.encode(encoding) + b"\n")
    told = [shell, str(SCRIPT), "--keys", str(keys), "--now", str(one.rules["now"])]
    for name in ("iss", "aud", "fingerprint", "nonce"):
        told += [f"--{name}", one.rules[name]] if name in one.rules else []
    told += ["--lease"] if one.rules["typ"] == "lease+jwt" else []
    told += ["--perpetual"] if one.rules.get("perpetual") else []
    return [*told, str(given)]


def test_every_token(tmp_path: Path, shell: str) -> None:
    asked = [*cases.labelled(), *cases.good(), *cases.hostile()[::EACH], *cases.flipped(401 * EACH)]
    folders = [tmp_path / str(number) for number in range(len(asked))]
    for folder in folders:
        folder.mkdir()
    with ThreadPoolExecutor(2) as pool:
        said = list(pool.map(lambda f, c: run(command(shell, f, c)), folders, asked))
    assert {one.name: it for one, it in zip(asked, said, strict=True) if (it[0] == 0) is not one.counts} == {}
    for code, out, why in said:
        assert code in (0, 1)
        lines = (out, why) if code == 0 else (why, out)
        assert lines[0].startswith("valid: " if code == 0 else "refused: ")
        assert lines[0].count("\n") == 1
        assert lines[1] == ""
    # Nothing is left behind.
    assert sorted(one.name for one in folders[0].iterdir()) == ["given", "keys.json"]


def test_a_license_file(tmp_path: Path, shell: str) -> None:
    good = cases.good()[0]
    told = command(shell, tmp_path, good)
    text = cases.file_of(good.token, "\r\n")
    for given, code in (
        (text, 0),
        (f"\n  {text}\n", 0),
        (text.replace("END", "ENDE"), 1),
        (text[: len(text) // 2], 1),
        (f"{text}{text}", 1),
    ):
        Path(told[-1]).write_text(given)
        assert run(told)[0] == code
    assert run([*told[:-1], "-"], text)[:2] == (0, "valid: dashcaddy/pro, 5 seats, until 1800086400\n")


def test_the_command_says_when_it_cannot_judge(tmp_path: Path, shell: str) -> None:
    told = command(shell, tmp_path, cases.good()[0])
    (tmp_path / "none.json").write_text("{")
    for wrong in (
        told[:2],
        told[:-1],
        [*told, "more"],
        [*told[:-1], str(tmp_path / "absent")],
        [*told[:-1], "--now", "soon", told[-1]],
        [*told[:-1], "--no-such-option", told[-1]],
        [*told[:-1], "--keys", str(tmp_path / "none.json"), told[-1]],
        [*told[:-1], "--keys"],
    ):
        code, said, why = run(wrong)
        assert (code, said) == (2, ""), wrong
        assert why
