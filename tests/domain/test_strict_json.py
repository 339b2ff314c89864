"""The strict parser against JSONTestSuite and against what we refuse beyond RFC 8259."""

import base64
import json
import traceback
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keywright.domain import strict_json
from keywright.domain.strict_json import MAX_DEPTH, StrictJSONError, loads

_SUITE = json.loads(
    (Path(__file__).parents[1] / "fixtures" / "crypto" / "json" / "jsontestsuite.json").read_bytes()
)
_CASES = {case["name"]: base64.b64decode(case["b64"]) for case in _SUITE["cases"]} | {
    "n_structure_100000_opening_arrays.json": b"[" * 100_000,
    "n_structure_open_array_object.json": b'[{"":' * 50_000 + b"\n",
}

# Legal JSON that this project does not take, and why.
_REFUSED_BY_POLICY = {
    "y_object_duplicated_key.json": "repeated member",
    "y_object_duplicated_key_and_value.json": "repeated member",
    "y_object_escaped_null_in_key.json": "NUL",
    "y_string_null_escape.json": "NUL",
}
_IMPLEMENTATION_DEFINED_AND_TAKEN = {
    "i_number_double_huge_neg_exp.json",  # rounds to zero, which is what a double makes of it
    "i_number_real_underflow.json",
}


def _named(prefix: str) -> list[str]:
    return sorted(name for name in _CASES if name.startswith(prefix))


def _problem(raw: bytes, **limits: Any) -> str:
    with pytest.raises(StrictJSONError) as caught:
        loads(raw, **limits)
    assert type(caught.value) is StrictJSONError
    return str(caught.value)


def test_suite_is_complete() -> None:
    assert len(_CASES) == 318
    assert {case["name"] for case in _SUITE["generated"]} <= _CASES.keys()


@pytest.mark.parametrize("name", _named("y_"))
def test_legal_text_is_read_unless_policy_refuses(name: str) -> None:
    if name in _REFUSED_BY_POLICY:
        assert _REFUSED_BY_POLICY[name] in _problem(_CASES[name])
    else:
        assert loads(_CASES[name]) == json.loads(_CASES[name])


@pytest.mark.parametrize("name", _named("n_"))
def test_illegal_text_is_refused(name: str) -> None:
    assert _problem(_CASES[name])


@pytest.mark.parametrize("name", _named("i_"))
def test_doubtful_text_is_refused_but_for_two(name: str) -> None:
    if name in _IMPLEMENTATION_DEFINED_AND_TAKEN:
        assert loads(_CASES[name]) in ([0.0], [123.456e-789])
    else:
        assert _problem(_CASES[name])


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        (b'{"a":{"b":1,"b":1}}', "repeated member"),
        (b'[{"a":1,"\\u0061":2}]', "repeated member"),
        (b"NaN", "NaN"),
        (b'{"a":Infinity}', "NaN"),
        (b"[-Infinity]", "NaN"),
        (b"1e309", "too large"),
        (b"-1e309", "too large"),
        (b"9223372036854775808", "64 bit"),
        (b"-9223372036854775809", "64 bit"),
        (b"9" * 5000, "64 bit"),
        (b"[" + b"9" * 1_000_000 + b"]", "64 bit"),
        (b"\xef\xbb\xbf{}", "byte order mark"),
        ("{}".encode("utf-16"), "not UTF-8"),
        ("{}".encode("utf-16-le"), "not JSON"),
        ("{}".encode("utf-32-be"), "not JSON"),
        (b'"\xff"', "not UTF-8"),
        (b'"\xed\xa0\x80"', "not UTF-8"),
        (b'"\xc0\x80"', "not UTF-8"),
        (b'"\\ud800"', "surrogate"),
        (b'["a", "\\udc00"]', "surrogate"),
        (b'{"a":{"\\uD83D":1}}', "surrogate"),
        (b'"\\ude00\\ud83d"', "surrogate"),
        (b'{"a":["b\\u0000"]}', "NUL"),
        (b'{"\\u0000":1}', "NUL"),
        (b'"\x00"', "not JSON"),
        (b'"a\x00b"', "not JSON"),
        (b"{}\x00", "not JSON"),
        (b"{} {}", "not JSON"),
        (b"{}x", "not JSON"),
        (b"{}\xc2\xa0", "not JSON"),
        (b"", "not JSON"),
        (b" ", "not JSON"),
        (b"'a'", "not JSON"),
        (b'{"a":1,}', "not JSON"),
        (b"01", "not JSON"),
        (b"+1", "not JSON"),
        ("\u0661".encode(), "not JSON"),
        (b'"\t"', "not JSON"),
        (b"[" * 1_000_000, "nested"),
        (b'{"a":' * 200_000, "nested"),
        (b'[{"a":' * 5_000 + b"1" + b"}]" * 5_000, "nested"),
    ],
    ids=lambda value: repr(value[:24]),
)
def test_refused(raw: bytes, problem: str) -> None:
    assert problem in _problem(raw)


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (b"9223372036854775807", 2**63 - 1),
        (b"-9223372036854775808", -(2**63)),
        (b"1.5e3", 1500.0),
        (b"-0", 0),
        (b'"\\ud83d\\ude00"', "\U0001f600"),
        ("\U0001f600".join('""').encode(), "\U0001f600"),
        (b'"\\\\u0000 \\\\ud800"', "\\u0000 \\ud800"),
        (b'"\\u0001"', "\x01"),
        (b'{"a":1,"A":2}', {"a": 1, "A": 2}),
        (b' \t\r\n{"a":[true,false,null]} ', {"a": [True, False, None]}),
        (b"0." + b"3" * 100_000, 1 / 3),
    ],
    ids=lambda value: repr(value)[:24],
)
def test_read(raw: bytes, value: Any) -> None:
    read = loads(raw)
    assert read == value
    assert type(read) is type(value)


def test_depth_is_counted_in_open_arrays_and_objects() -> None:
    half = MAX_DEPTH // 2
    at_limit = b'[{"a":' * half + b"1" + b"}]" * half
    assert loads(at_limit) == json.loads(at_limit)
    assert "nested" in _problem(b"[" + at_limit + b"]")
    assert loads(b"1", max_depth=0) == 1
    assert "nested" in _problem(b"[]", max_depth=0)
    assert loads(b'[{"a":1},[2]]', max_depth=2) == [{"a": 1}, [2]]
    assert "nested" in _problem(b"[[[]]]", max_depth=2)


def test_many_containers_beside_each_other_are_not_deep() -> None:
    assert len(loads(b"[" + b"[]," * 5_000 + b"{}]")) == 5_001


def test_brackets_in_strings_are_not_depth() -> None:
    assert loads(b'"' + b"[{" * 500 + b'"') == "[{" * 500


@pytest.mark.parametrize(
    "raw",
    [b'{"secret":"sk_live_1",}', b'{"sk_live_1":"\xff"}', b'{"sk_live_1":1,"sk_live_1":2}', b'["sk_live_1'],
)
def test_refusal_carries_no_content(raw: bytes) -> None:
    with pytest.raises(StrictJSONError) as caught:
        loads(raw)
    assert caught.value.__context__ is None
    assert caught.value.__cause__ is None
    assert "sk_live_1" not in str(caught.value)
    assert "sk_live_1" not in "".join(traceback.format_exception_only(caught.value))


_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"])), inner, max_size=4
        )
    ),
    max_leaves=20,
)


@given(_VALUES, st.booleans())
def test_whatever_is_within_the_rules_comes_back(value: Any, ascii_only: bool) -> None:
    assert loads(json.dumps(value, ensure_ascii=ascii_only).encode()) == value


@given(st.binary(max_size=60) | st.text(alphabet='{}[]",:\\u0d8e-+. 19ntf\x00', max_size=60).map(str.encode))
def test_any_bytes_are_read_or_refused(raw: bytes) -> None:
    try:
        value = loads(raw)
    except StrictJSONError:
        return
    assert loads(json.dumps(value).encode()) == value


_SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8)
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
)
_SPACES = st.sampled_from([None, 1, "\t"])


def _as_slowly(raw: bytes) -> tuple[Any, str | None]:
    """What comes of it when no text counts as plain."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(strict_json, "_read_plain", lambda _: strict_json._NOT_PLAIN)
        return _either(raw)


def _either(raw: bytes) -> tuple[Any, str | None]:
    try:
        return loads(raw), None
    except StrictJSONError as refusal:
        return None, str(refusal)


def _same(one: Any, other: Any) -> bool:
    """Equal, of the same types throughout, members in the same order."""
    return repr(one) == repr(other)


@given(_VALUES, _SPACES, st.booleans())
def test_the_quick_reading_is_the_thorough_one(value: Any, indent: Any, ascii_only: bool) -> None:  # drawn
    raw = json.dumps(value, indent=indent, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    assert _same(_either(raw), _as_slowly(raw))


@given(_VALUES, st.data())
def test_the_quick_reading_of_damaged_text_is_the_thorough_one(value: Any, data: Any) -> None:
    raw = bytearray(json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass"))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(raw)))
        raw[at : at + data.draw(st.integers(0, 2))] = data.draw(
            st.sampled_from(
                [
                    b'"',
                    b"{",
                    b"}",
                    b":",
                    b",",
                    b"[",
                    b"]",
                    b"1",
                    b"e",
                    b"-",
                    b".",
                    b"\xff",
                    b"\x00",
                    b'"a":1,',
                ]
            )
        )
    assert _same(_either(bytes(raw)), _as_slowly(bytes(raw)))


@pytest.mark.parametrize("name", sorted(_CASES))
def test_the_quick_reading_of_the_suite_is_the_thorough_one(name: str) -> None:
    assert _same(_either(_CASES[name]), _as_slowly(_CASES[name]))


@pytest.mark.parametrize(
    "text",
    ['{"a":1,"a":2}', '{"a":{"b":"x","b":"x"}}', '[{"":1,"":1}]', '{"a":"","b":1,"a":"","b":1}'],
)
def test_repeated_members_are_missed_when_quotation_marks_are_counted(text: str) -> None:
    assert strict_json._read_plain(text.encode()) is strict_json._NOT_PLAIN  # its very claim
    assert "repeated member" in _problem(text.encode())
