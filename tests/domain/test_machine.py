"""Which machines are one: after a new disk, another name, a new network card. And which are two."""

from __future__ import annotations

import hashlib
import itertools
from base64 import urlsafe_b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keywright.domain.errors import Invalid
from keywright.domain.machine import ANCHORS, KIND, WEIGHTS, Signals, closest, compare, read


def hashed(text: str) -> str:
    return urlsafe_b64encode(hashlib.sha256(text.encode()).digest()[:16]).rstrip(b"=").decode()


def machine(which: str, kind: str = "metal", **but: str) -> dict[str, str]:
    """All signals of a machine; `but` names those that are another's, or none where empty."""
    found = {name: hashed(f"{name} of {but.get(name, which)}") for name in WEIGHTS if but.get(name) != ""}
    return {**found, KIND: kind}


METAL = machine("a")


def same(one: Signals, other: Signals) -> bool:
    alike = compare(one, other)
    assert (alike is None) is (compare(other, one) is None)
    return alike is not None


@pytest.mark.parametrize("kind", ["metal", "vm"])
@pytest.mark.parametrize(
    "changed", [("disk",), ("host",), ("mac",), *itertools.combinations(("disk", "host", "mac"), 2)], ids=str
)
def test_a_new_disk_another_name_a_new_network_card(kind: str, changed: tuple[str, ...]) -> None:
    after = machine("a", kind, **dict.fromkeys(changed, "new"))
    alike = compare(machine("a", kind), after)
    assert alike is not None
    assert set(alike.changed) == set(changed)
    assert set(alike.agreed) == set(WEIGHTS) - set(changed)


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        (machine("a"), True),
        # The system set up anew, on the same hardware.
        (machine("a", machine="new", host="new", os="new"), True),
        # A new mainboard under the same system, with the network card that is on it.
        (machine("a", board="new", mac="new"), True),
        (machine("a", board="new", mac="new", cpu="new"), False),
        # Another machine of the same make, with the name it came with.
        (machine("b", cpu="a", os="a"), False),
        (machine("b", cpu="a", os="a", host="a"), False),
        # From a maker who leaves serial numbers blank.
        (machine("b", cpu="a", os="a", host="a", board="a"), False),
        # Set up from the same image, by somebody who did not give it an id of its own.
        (machine("b", cpu="a", os="a", machine="a"), False),
        (machine("b", cpu="a", os="a", machine="a", host="a"), False),
        # Both of it.
        (machine("b", cpu="a", os="a", machine="a", board="a"), False),
        # Nothing but the two anchors: no more than a guess.
        ({name: METAL[name] for name in (*ANCHORS, KIND)}, False),
        # Without the rights to read serial numbers.
        (machine("a", board="", disk=""), True),
        (machine("a", board="", disk="", mac="new"), True),
        ({KIND: "metal"}, False),
        (machine("a", "vm"), False),
        (machine("a", "container"), False),
    ],
)
def test_of_hardware(after: Signals, expected: bool) -> None:
    assert same(METAL, after) is expected


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        # A copy: the hypervisor gave it an id and a network card of its own.
        (machine("a", "vm"), machine("a", "vm", board="copy", mac="copy"), False),
        (machine("a", "vm"), machine("a", "vm", board="copy"), False),
        (machine("a", "vm", board=""), machine("a", "vm", board="", mac="copy"), False),
        (machine("a", "vm", board=""), machine("a", "vm", board="", disk="new"), True),
        # Its image was rolled out anew under the same id.
        (machine("a", "vm"), machine("a", "vm", machine="new", host="new"), True),
        # Who does not say what it is might be a copy as well.
        (_ := machine("a", "x"), {**_, "board": hashed("another")}, False),
    ],
)
def test_of_virtual_machines(before: Signals, after: Signals, expected: bool) -> None:
    assert same(before, after) is expected


def test_a_container_is_never_known_by_what_its_host_has() -> None:
    assert not same(machine("a", "container"), machine("a", "container"))
    neighbor = machine("a", "container", host="b", mac="b")
    assert not same(machine("a", "container"), neighbor)


def test_without_a_kind() -> None:
    plain = {name: value for name, value in METAL.items() if name != KIND}
    assert same(plain, plain)
    assert not same(plain, METAL)


def test_the_closest_of_several() -> None:
    known = [
        ("far", machine("a", disk="other", host="other")),
        ("near", machine("a", host="other")),
        ("as near", machine("a", os="other")),
        ("another", machine("b")),
    ]
    found = closest(METAL, known)
    assert found is not None
    assert found[0] == "near"
    assert closest(METAL, known[3:]) is None
    assert closest(METAL, []) is None


names = st.sampled_from(sorted(WEIGHTS))
sets = st.dictionaries(names, st.sampled_from("abc").map(hashed))
kinds = st.sampled_from(["metal", "vm", "container", ""])


@given(sets, sets, kinds)
def test_likeness_is_mutual_and_of_no_strangers(
    one: dict[str, str], other: dict[str, str], kind: str
) -> None:
    first, second = ({**signals, KIND: kind} if kind else signals for signals in (one, other))
    alike = compare(first, second)
    assert (alike is None) is (compare(second, first) is None)
    if alike is None:
        return
    assert kind != "container"
    assert any(name in alike.agreed for name in ANCHORS)
    assert any(name in alike.agreed for name in ("disk", "mac", "host"))
    assert 0.6 <= alike.part <= 1
    assert not set(alike.agreed) & set(alike.changed)


@given(sets, names, kinds)
def test_what_agrees_as_well_makes_no_stranger(one: dict[str, str], name: str, kind: str) -> None:
    """A signal that agrees is never worse than one that differs."""
    first = {**machine("a"), **one, KIND: kind}
    other = {**first, name: hashed("x")}
    if compare(first, other) is not None:
        assert compare(first, first) is not None


@given(st.dictionaries(st.text(max_size=70), st.text(max_size=30), max_size=40))
def test_hostile_signals_are_refused_or_left_out(signals: dict[str, str]) -> None:
    known = {name: value for name, value in signals.items() if name in {*WEIGHTS, KIND}}
    if known or len(signals) > 32 or any(len(name) > 64 for name in signals):
        with pytest.raises(Invalid) as refused:
            read({**signals, "board": "never a hash"})
        assert refused.value.code == "SIGNALS_INVALID"
        return
    found = read(signals)
    assert set(found) <= {*WEIGHTS, KIND}
    assert all(signals[name] == value for name, value in found.items())


@pytest.mark.parametrize(
    "signals",
    [
        {"board": ""},
        {"board": "a" * 21},
        {"board": "a" * 21 + "B"},  # bits beyond the sixteenth byte
        {"board": "a" * 21 + "A\n"},
        {"board": "é" * 21 + "A"},
        {"board": "a" * 16_000},
        {"kind": "METAL"},
        {"kind": "metal vm"},
        {"kind": "m" * 17},
        {"n" * 65: "x"},
        {str(n): "x" for n in range(33)},
    ],
)
def test_what_no_program_can_mean_is_refused(signals: dict[str, str]) -> None:
    with pytest.raises(Invalid) as refused:
        read(signals)
    assert refused.value.code == "SIGNALS_INVALID"


def test_names_that_nobody_here_knows_are_left_out() -> None:
    assert read({**METAL, "gpu": "anything at all", "": ""}) == METAL
    assert read({}) == {}
    assert read({"kind": "wasm"}) == {"kind": "wasm"}
