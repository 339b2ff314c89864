"""Line numbers of values in TOML: against the standard parser, and against texts whose lines are known."""

from __future__ import annotations

import tomllib

from hypothesis import given, settings
from hypothesis import strategies as st

from keywright.flows.toml_lines import Lines, Path

VALUES = st.sampled_from(
    [
        "1",
        '"x = [ # "',
        "'\\'",
        '"\\""',
        '"""\na = 1\n[[t]]\n"""',
        '"""a""\\""""""',
        "'''\n''\n'''''",
        "[\n1, # ]\n\n2,\n]",
        '[ "]", [ "[" ],\n{ a = "}", b = [ 1,\n2 ] } ]',
        "{ x = 1, y.z = 2 } # }",
        "1979-05-27 07:32:00",
        "inf",
        "[]",
        "{}",
    ]
)


def paths(value: object, path: Path = ()) -> set[Path]:
    """Every path in a parsed document, the document itself left out."""
    found: set[Path] = {path} if path else set()
    children = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    for key, child in children:
        found |= paths(child, (*path, key))
    return found


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_every_value_has_its_line(data: st.DataObject) -> None:
    lines: list[str] = []
    expected: dict[Path, int] = {}
    for number in range(data.draw(st.integers(0, 6))):
        lines += data.draw(st.lists(st.sampled_from(["", "# [[t]]", "# a = ["]), max_size=2))
        expected[("t", number)] = len(lines) + 1
        lines.append(data.draw(st.sampled_from(["[[t]]", "[[ t ]] # ]]", '[["t"]]'])))
        for key in data.draw(st.lists(st.sampled_from(["a", "b", '"c d"', "'e.f'", "g.h"]), unique=True)):
            path: Path = ("t", number, *(key.split(".") if key == "g.h" else [key.strip("\"'")]))
            expected[path] = len(lines) + 1
            lines += f"{key} = {data.draw(VALUES)}".split("\n")
    text = "\n".join(lines)
    index = Lines(text)
    assert {path: index.line(path) for path in expected} == expected
    assert paths(tomllib.loads(text)) <= set(index.of)


def test_a_path_that_was_not_written_has_the_line_around_it() -> None:
    lines = Lines("\n[a]\nb = 1\n")
    assert lines.line(("a", "c")) == 2
    assert lines.line(("a", "b", "c")) == 3
    assert lines.line(("z",)) == 1


def test_deep_values_cost_no_memory_and_have_the_line_around_them() -> None:
    lines = Lines("\n" + ".".join("a" * 2000) + " = 1")
    assert lines.line(("a",) * 2000) == 2
    assert len(lines.of) < 20
