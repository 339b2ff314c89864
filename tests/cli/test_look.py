"""`look`: color, language and logo of the mails from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.test_cli import Shell
from tests.conftest import Prepared
from tests.pictures import picture


@pytest.mark.parametrize("prepared", ["sqlite"], indirect=True)
def test_a_look_is_set_shown_and_refused(prepared: Prepared) -> None:
    shell = Shell(Path(prepared.folder), DATABASE_URL=prepared.url)
    (shell.folder / "logo.png").write_bytes(picture(300, 80))
    (shell.folder / "logo.svg").write_text("<svg/>", encoding="utf-8")
    made = shell.call("look", "set", "--color", "#7A1FA2", "--language", "de", "--logo", "logo.png", "--json")
    assert json.loads(made.stdout) == {"color": "#7a1fa2", "language": "de", "logo": "300x80"}
    assert shell.call("look", "set", "--no-logo").returncode == 0
    assert shell.call("look", "show").stdout.split() == ["color", "#7a1fa2", "language", "de", "logo", "none"]
    for words, code in (
        (["--color", "red"], "COLOR_INVALID"),
        (["--language", "tlh"], "LANGUAGE_UNKNOWN"),
        (["--logo", "logo.svg"], "LOGO_INVALID"),
        (["--no-logo"], "LOOK_SAME"),
        (["--no-logo", "--logo", "logo.png"], "INVALID"),
    ):
        refused = shell.call("look", "set", *words)
        assert (refused.returncode, code in refused.stderr) == (1, True), words
    assert "No such file" in shell.call("look", "set", "--logo", "none.png").stderr
