"""The master key: what may be in its file, its setting, and what its command may print."""

import base64
import os
import stat
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from keywright.domain.errors import Conflict, Misconfigured
from keywright.signing.key_command import KeyCommand
from keywright.signing.master_key import (
    GivenKeys,
    KeyFile,
    MasterKey,
    MasterKeys,
    load_or_create,
    named,
    new_master_key,
    read_master_key,
    read_master_keys,
)
from keywright.signing.vault import VaultRefused

_KEY = bytes(range(32))


@pytest.mark.parametrize(
    "text",
    [
        _KEY.hex(),
        _KEY.hex().upper(),
        base64.b64encode(b"\xfb\xff" * 16).decode(),
        base64.urlsafe_b64encode(b"\xfb\xff" * 16).decode(),
        base64.urlsafe_b64encode(b"\xfb\xff" * 16).decode().rstrip("="),
        f"  {_KEY.hex()}\n",
    ],
)
def test_master_key_text(text: str) -> None:
    assert read_master_key(text) in (_KEY, b"\xfb\xff" * 16)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "secret",
        "g" * 64,
        "0" * 63,
        "0" * 62,
        "A" * 42,
        "A" * 44,
        "A" * 1_000,
        "\u00e4" * 43,
        "A" * 21 + "\n" + "A" * 22,
    ],
)
def test_other_master_key_text_is_refused_without_being_shown(text: str) -> None:
    with pytest.raises(VaultRefused, match="32 bytes") as caught:
        read_master_key(text)
    assert len(text) < 10 or text not in str(caught.value)


def test_master_key_file_is_made_once_and_private(tmp_path: Path) -> None:
    path = tmp_path / "master.key"
    (key,) = load_or_create(path)
    assert len(key.key) == 32
    assert load_or_create(path) == (key,)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["master.key"]
    assert load_or_create(tmp_path / "other.key") != (key,)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o666, 0o610, 0o644])
def test_master_key_file_open_to_others_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "master.key"
    load_or_create(path)
    path.chmod(mode)
    with pytest.raises(VaultRefused, match="chmod 600"):
        load_or_create(path)


def test_master_key_file_may_be_read_only(tmp_path: Path) -> None:
    path = tmp_path / "master.key"
    key = load_or_create(path)
    path.chmod(0o400)
    assert load_or_create(path) == key


@pytest.mark.parametrize("content", [b"", b"x", b"\xff" * 44, b"A" * 10_000])
def test_broken_master_key_file_is_refused_and_kept(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "master.key"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(VaultRefused, match="32 bytes"):
        load_or_create(path)
    assert path.read_bytes() == content


def test_master_key_path_must_be_a_file(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe, 0o600)
    with pytest.raises(VaultRefused, match="regular"):
        load_or_create(pipe)
    with pytest.raises(VaultRefused, match="regular"):
        load_or_create(tmp_path)


def test_processes_starting_together_get_one_key(tmp_path: Path) -> None:
    with ProcessPoolExecutor(4, mp_context=get_context("spawn")) as pool:
        for round_ in range(10):
            path = tmp_path / f"{round_}.key"
            assert len(set(pool.map(load_or_create, [path] * 8))) == 1
    assert len(os.listdir(tmp_path)) == 10


# -- several keys, and their ids ------------------------------------------------------------------------


def text_of(*keys: MasterKey, between: str = "\n") -> str:
    return between.join(base64.b64encode(one.key).decode() for one in keys)


@pytest.mark.parametrize("between", ["\n", ",", " ,\n", "\n\n", ",,"])
def test_several_keys_are_read_in_their_order(between: str) -> None:
    keys = tuple(new_master_key() for _ in range(3))
    assert read_master_keys(text_of(*keys, between=between)) == keys
    assert read_master_keys("\n" + text_of(*keys, between=between) + "\n") == keys


@pytest.mark.parametrize("text", ["", "\n,\n", "A" * 43 + ",x", ",".join(["A" * 43] * 5), "A" * 2000])
def test_what_is_no_list_of_keys_is_refused(text: str) -> None:
    with pytest.raises(VaultRefused):
        read_master_keys(text)


def test_an_id_is_of_the_key_and_shows_nothing_of_it() -> None:
    one, other = named(_KEY), named(bytes(32))
    assert one == named(_KEY)
    assert one.id != other.id
    assert len(one.id) == 16
    assert one.id not in _KEY.hex()
    assert repr(one) == f"MasterKey('{one.id}')"


# -- keys at hand ---------------------------------------------------------------------------------------


class Shelf:
    """A source whose keys are what the test puts there; it counts how often it was asked."""

    name = "the shelf"

    def __init__(self, *keys: MasterKey) -> None:
        self.keys = keys
        self.asked = 0

    def read(self) -> tuple[MasterKey, ...]:
        self.asked += 1
        if not self.keys:
            raise VaultRefused("the shelf is empty")
        return self.keys


def test_a_key_that_is_not_known_yet_is_asked_for_once() -> None:
    old, new, never = new_master_key(), new_master_key(), new_master_key()
    shelf = Shelf(old)
    masters = MasterKeys(shelf)
    with pytest.raises(VaultRefused, match=never.id):
        masters.get(never.id)
    assert shelf.asked == 2
    with pytest.raises(VaultRefused, match="the shelf"):
        masters.get(never.id)  # a moment later: a source that costs a second is spared
    assert shelf.asked == 2
    shelf.keys = (new, old)
    assert masters.get(new.id) == new  # another one, though: that is asked for at once
    assert masters.newest == new
    assert masters.ids == (new.id, old.id)
    assert shelf.asked == 3


def test_what_is_known_stays_known_while_the_source_is_away() -> None:
    old = new_master_key()
    shelf = Shelf(old)
    masters = MasterKeys(shelf)
    shelf.keys = ()
    with pytest.raises(VaultRefused):
        masters.get(new_master_key().id)
    assert masters.get(old.id) == old
    with pytest.raises(VaultRefused, match="empty"):
        masters.again()
    assert masters.newest == old


def test_a_setting_gives_its_keys(tmp_path: Path) -> None:
    new, old = new_master_key(), new_master_key()
    assert GivenKeys(text_of(new, old, between=",")).read() == (new, old)
    assert not any(tmp_path.iterdir())


# -- file -----------------------------------------------------------------------------------------------


def test_a_file_is_not_made_when_something_was_sealed_already(tmp_path: Path) -> None:
    path = tmp_path / "master.key"
    with pytest.raises(Misconfigured, match="put it back"):
        KeyFile(path, lambda: True).read()
    assert not path.exists()
    (made,) = KeyFile(path, lambda: False).read()
    assert KeyFile(path, lambda: True).read() == (made,)


def test_a_file_is_replaced_whole_and_private(tmp_path: Path) -> None:
    file = KeyFile(tmp_path / "master.key", lambda: False)
    (old,) = file.read()
    new = new_master_key()
    file.write((new, old))
    assert file.read() == (new, old)
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["master.key"]


def test_a_file_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order that a power cut may not find otherwise: content, name, folder."""
    file = KeyFile(tmp_path / "master.key", lambda: False)
    (old,) = file.read()
    done: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda _descriptor: done.append("sync"))
    renamed = os.rename

    def rename(*names: Path) -> None:
        done.append("name")
        renamed(*names)

    monkeypatch.setattr(os, "rename", rename)
    file.write((new_master_key(), old))
    assert done == ["sync", "name", "sync"]


def test_one_at_a_time_changes_a_file(tmp_path: Path) -> None:
    file = KeyFile(tmp_path / "master.key", lambda: False)
    with file.changing():
        with pytest.raises(Conflict) as caught, KeyFile(file.path, lambda: False).changing():
            pass
        assert caught.value.code == "KEY_CHANGING"
    with file.changing():
        assert not file.path.exists()


# -- command --------------------------------------------------------------------------------------------


def script(folder: Path, text: str) -> Path:
    path = folder / "give key"  # with a blank, so that quoting counts
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(0o700)
    return path


def test_a_command_gives_what_it_prints(tmp_path: Path) -> None:
    new, old = new_master_key(), new_master_key()
    path = script(
        tmp_path, f"echo progress >&2\nprintf '%s\\n' \"$1\" {base64.b64encode(old.key).decode()}\n"
    )
    command = KeyCommand(f"'{path}' {new.key.hex()}")
    assert command.read() == (new, old)


@pytest.mark.parametrize("word", ["$HOME", "`id`", "a;b", "*", "a|b", ">x"])
def test_no_shell_reads_a_command(tmp_path: Path, word: str) -> None:
    path = script(tmp_path, f"[ \"$1\" = '{word}' ] && echo {_KEY.hex()}\n")
    assert KeyCommand(f"'{path}' '{word}'").read() == (named(_KEY),)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("echo SECRET-OUTPUT; exit 3", "status 3"),
        ("echo SECRET-OUTPUT", "32 bytes"),
        ("exit 0", "32 bytes"),
        ("head -c 100000 /dev/zero", "more than keys"),
        ("kill -9 $$", "status -9"),
    ],
)
def test_a_command_that_gives_no_key_is_refused_without_its_words(
    tmp_path: Path, text: str, says: str, capfd: pytest.CaptureFixture[str]
) -> None:
    path = script(tmp_path, f"echo SECRET-OUTPUT >&2\n{text}\n")
    with pytest.raises(VaultRefused, match=says) as caught:
        KeyCommand(f"'{path}'").read()
    assert "SECRET-OUTPUT" not in f"{caught.value!r} {caught.value} {caught.value.__cause__!r}"
    assert capfd.readouterr() == ("", "")


def test_a_command_that_does_not_end_is_ended_with_what_it_started(tmp_path: Path) -> None:
    path = script(tmp_path, f"echo $$ > '{tmp_path}/pid'\nsleep 600 & sleep 600\n")
    with pytest.raises(VaultRefused, match=r"within 0[.]3 seconds"):
        KeyCommand(f"'{path}'", seconds=0.3).read()
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


@pytest.mark.parametrize(
    ("text", "says"), [("", "empty"), ("   ", "empty"), ("echo 'a", "quote that does not end")]
)
def test_a_command_of_no_words_is_refused(text: str, says: str) -> None:
    with pytest.raises(Misconfigured, match=says):
        KeyCommand(text)


def test_a_command_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(VaultRefused, match="cannot be run: No such file"):
        KeyCommand(str(tmp_path / "nothing")).read()
