"""The master key: from a file, from the environment, or from what a command prints.

While it is being changed there are two, the new one first. Each is known by an id that tells nothing of it,
and what it wraps is stored with this id: so a server meets a key that it does not know yet, and asks its
source again.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import stat
import threading
import time
from base64 import b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, Protocol

import msgspec

from keywright.domain.errors import Conflict, Misconfigured
from keywright.signing import vault
from keywright.signing.vault import KEY_BYTES, VaultRefused

MOST_KEYS: Final = 4  # the new one, the one before, and room for a change that was left half done
LONGEST: Final = 1024  # characters of all keys together
_KEY_TEXT_MAX: Final = 256
_ID_DIGITS: Final = 16
_AGAIN: Final = 2.0  # seconds until a source that did not know a key is asked for the same one again


class MasterKey(msgspec.Struct, frozen=True):
    """`id`: 64 bits, derived from the key. It names the key in the database, and tells nothing of it."""

    id: str
    key: bytes

    def __repr__(self) -> str:  # keys never reach a log
        return f"MasterKey({self.id!r})"


class Source(Protocol):
    """Where master keys come from. `name` is what an operator knows it by."""

    @property
    def name(self) -> str: ...

    def read(self) -> tuple[MasterKey, ...]:
        """Every key at hand, the newest first. Raises VaultRefused, OSError."""
        ...


class MasterKeys:
    """The master keys at hand, kept; the source is asked again for one that is not among them."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self._asking = threading.Lock()
        self._missed: dict[str, float] = {}
        self._known = self._read()

    @property
    def newest(self) -> MasterKey:
        return next(iter(self._known.values()))

    @property
    def ids(self) -> tuple[str, ...]:
        """The newest first."""
        return tuple(self._known)

    def get(self, id_: str) -> MasterKey:
        """The key of this id.

        Raises:
            VaultRefused: neither known nor at the source.
        """
        found = self._known.get(id_) or self._ask_for(id_)
        if found is None:
            raise VaultRefused(f"the master key {id_} is not at hand: see {self.source.name}")
        return found

    def again(self) -> None:
        """Ask the source. Raises VaultRefused, OSError."""
        with self._asking:
            self._known = self._read()

    def _ask_for(self, id_: str) -> MasterKey | None:
        with self._asking:
            # Another thread may have asked while this one waited.
            if id_ in self._known or time.monotonic() - self._missed.get(id_, -_AGAIN) < _AGAIN:
                return self._known.get(id_)
            with suppress(VaultRefused, OSError):  # what is known stays known while a key store is away
                self._known = self._read()
            if id_ not in self._known:
                # For each id by itself: a key that is truly missing must not delay one that was just made.
                self._missed = {id_: time.monotonic()} if len(self._missed) > 1000 else self._missed
                self._missed[id_] = time.monotonic()
            return self._known.get(id_)

    def _read(self) -> dict[str, MasterKey]:
        return {one.id: one for one in self.source.read()}


# -- text ------------------------------------------------------------------------------------------------


def read_master_key(text: str) -> bytes:
    """A master key from its text: 32 bytes as hex, base64 or base64url, blanks around it ignored.

    Raises:
        VaultRefused: the text is anything else.
    """
    text = text.strip()
    if len(text) <= _KEY_TEXT_MAX and text.isascii():
        try:
            if len(text) == KEY_BYTES * 2:
                return bytes.fromhex(text)
            standard = text.rstrip("=").replace("-", "+").replace("_", "/")
            key = b64decode(standard + "=" * (-len(standard) % 4), validate=True)
        except ValueError:  # binascii.Error is one
            key = b""
        if len(key) == KEY_BYTES:
            return key
    raise VaultRefused("the master key must be 32 bytes, written as 64 hex digits or as base64")


def read_master_keys(text: str) -> tuple[MasterKey, ...]:
    """One or several master keys, the newest first, with commas or line ends between them.

    Raises:
        VaultRefused: one of them is none, or there are too many.
    """
    parts = [part for line in text.splitlines() for part in line.split(",") if part.strip()]
    if len(text) > LONGEST or len(parts) > MOST_KEYS:
        raise VaultRefused(f"a master key must be 32 bytes, and there may be {MOST_KEYS} of them at the most")
    return tuple(named(read_master_key(part)) for part in parts or [""])


def named(key: bytes) -> MasterKey:
    """A master key with its id. Raises VaultRefused when it is not 32 bytes long."""
    return MasterKey(vault.derive(key, "master-key-id").hex()[:_ID_DIGITS], key)


def new_master_key() -> MasterKey:
    return named(secrets.token_bytes(KEY_BYTES))


# -- environment -----------------------------------------------------------------------------------------


class GivenKeys:
    """Implements Source over a setting: it stays what it was until the process starts again."""

    name = "KEYWRIGHT_MASTER_KEY"

    def __init__(self, text: str) -> None:
        self._keys = read_master_keys(text)

    def read(self) -> tuple[MasterKey, ...]:
        return self._keys


# -- file ------------------------------------------------------------------------------------------------


class KeyFile:
    """Implements Source over a file of mode 0600, a key a line. It is made at the first start.

    `in_use` tells whether a master key has sealed anything already; asked when there is no file.
    """

    def __init__(self, path: Path, in_use: Callable[[], bool]) -> None:
        self.path = path
        self._in_use = in_use

    @property
    def name(self) -> str:
        return str(self.path)

    def read(self) -> tuple[MasterKey, ...]:
        """Raises Misconfigured when there is no file and something was sealed by a key: a new one would open
        none of it, and lie in the way of the one that does."""
        # Asked before the file is looked for: whoever makes the first data key has made the file by then.
        if not self.path.exists() and self._in_use() and not self.path.exists():
            raise Misconfigured(
                f"{self.path} is missing, and it opens this database: put it back, or set "
                "KEYWRIGHT_MASTER_KEY."
            )
        return load_or_create(self.path)

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Hold the file for one who changes it. Raises Conflict when another one does."""
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        handle = os.open(self.path.with_name(f".{self.path.name}.lock"), flags, 0o600)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise Conflict("Another command is changing the master key.", code="KEY_CHANGING") from None
            yield
        finally:
            os.close(handle)

    def write(self, keys: tuple[MasterKey, ...]) -> None:
        """Put these keys into the file, whole and on the disk before it has the name. Raises OSError."""
        draft = _draft(self.path, keys)
        try:
            os.rename(draft, self.path)
            _sync_folder(self.path.parent)
        finally:
            draft.unlink(missing_ok=True)


def load_or_create(path: Path) -> tuple[MasterKey, ...]:
    """The master keys of a file, which is made, with one key, when there is none.

    Safe when several processes start at once: all get the key that is in the file.

    Raises:
        VaultRefused: the file can be read by group or others, is no regular file, or holds no key.
        OSError: the file system refuses.
    """
    try:
        return _read_file(path)
    except FileNotFoundError:
        _create_file(path)
        return _read_file(path)


def _read_file(path: Path) -> tuple[MasterKey, ...]:
    # Mode and content are taken from the same open file, so that nobody can exchange it in between.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):
            raise VaultRefused("the master key file is not a regular file")
        if stat.S_IMODE(mode) & 0o077:
            raise VaultRefused("the master key file can be read by others: chmod 600 it, then rotate the key")
        content = os.read(descriptor, LONGEST + 1)
    finally:
        os.close(descriptor)
    return read_master_keys(content.decode("ascii", "replace"))


def _create_file(path: Path) -> None:
    """Write a whole file under a name of our own, then give it the real name unless another was first."""
    with suppress(FileExistsError):
        write_new(path, (new_master_key(),))
    _sync_folder(path.parent)  # the name that another process gave must last, too


def write_new(path: Path, keys: tuple[MasterKey, ...]) -> None:
    """Put keys into a file of mode 0600 that is not there yet. Raises OSError, also when it is."""
    draft = _draft(path, keys)
    try:
        os.link(draft, path)  # a link never replaces; a rename would, and two processes had two keys
        _sync_folder(path.parent)
    finally:
        draft.unlink(missing_ok=True)


def _draft(path: Path, keys: tuple[MasterKey, ...]) -> Path:
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    with os.fdopen(os.open(draft, flags, 0o600), "wb") as file:
        file.writelines(urlsafe_b64encode(one.key) + b"\n" for one in keys)
        file.flush()
        os.fsync(file.fileno())
    return draft


def _sync_folder(folder: Path) -> None:
    # Without this a power cut may forget the file's name, and with it the key of everything written since.
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
