"""What a server signs, in the hands of the examples; the one for browsers is in tests/browser."""

from __future__ import annotations

from pathlib import Path

import pytest

from keywright.domain import license_token
from keywright.domain.license_file import wrap
from keywright.flows.context import Context
from tests.examples.cases import Case
from tests.examples.fresh import signed_by
from tests.examples.test_openssl import command
from tests.examples.tools import ask_node, need, run


def judged(asked: list[Case], said: list[bool]) -> None:
    assert {one.name: it for one, it in zip(asked, said, strict=True) if it is not one.counts} == {}


@pytest.mark.parametrize("prepared", ["sqlite"], indirect=True)
def test_node(context: Context) -> None:
    asked = signed_by(context)
    said = ask_node(tokens=[one._asdict() for one in asked])["tokens"]
    judged(asked, [word == "counts" for word in said])


@pytest.mark.parametrize("prepared", ["sqlite"], indirect=True)
def test_openssl(context: Context, tmp_path: Path) -> None:
    need("openssl", 3)
    asked = signed_by(context)
    # A license as the file that is mailed; a lease as it is.
    given = [
        one._replace(token=wrap(one.token)) if one.rules["typ"] == license_token.LICENSE else one
        for one in asked
    ]
    judged(asked, [run(command("/bin/sh", tmp_path, one))[0] == 0 for one in given])
