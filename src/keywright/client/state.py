"""What the client remembers between two starts, in two files under an HMAC, shared by all processes of a
user.

The HMAC's key comes from the machine. It keeps nobody out who reads this code; it notices a file that was
edited, torn or carried to another machine. What cannot be kept is held in memory: a read-only disk does not
stop the program.
"""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
import json
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import strict_json

_LARGEST = 1024 * 1024
_LARGEST_LIST = 8 * 1024 * 1024
_LOCK_PATIENCE = 2.0
_LATEST = 253_402_300_799


@dataclass(frozen=True)
class State:
    """All that is kept. Times are unix seconds.

    Attributes:
        writes: rises with every change; of two files the one with more is the newer.
        key: the license key as typed.
        lease, file: the newest lease, the license file's token.
        mark: the highest time that was seen. No true clock is far before it.
        offset: what must be added to this machine's clock to have the server's, as far as it was ever told.
        seq: of the newest lease, `key_set_seq` and `revoked_seq` of the lists.
        asked_at, ask_at: this machine's clock when the server was last asked, and when it is to be asked
            next.
        hold_until: the server asked us to wait until then (429).
        tries: how often in a row it gave no answer.
        away_since: since when it gives none; 0 while it does.
        answered_at: when it last gave one.
        refused: what it said when it said no: code, detail, next_action.
        told: what it said of the license beside the lease: trial, canceling.
        key_set: the signed key set as it was fetched. The revocation list may be long and has a file of its
            own.
        lists_at: when both were last asked for.
        baseline: what runs without a license, as the server told it.
        claim: a purchase that is not finished: reference, token, url.
        looked_at: when it was last asked about.
    """

    writes: int = 0
    key: str = ""
    lease: str = ""
    file: str = ""
    mark: int = 0
    offset: int = 0
    seq: int = -1
    asked_at: int = 0
    ask_at: int = 0
    hold_until: int = 0
    tries: int = 0
    away_since: int = 0
    answered_at: int = 0
    refused: Mapping[str, Any] = field(default_factory=dict)
    told: Mapping[str, Any] = field(default_factory=dict)
    key_set: str = ""
    key_set_seq: int = -1
    revoked_seq: int = -1
    lists_at: int = 0
    baseline: Mapping[str, Any] = field(default_factory=dict)
    claim: Mapping[str, Any] = field(default_factory=dict)
    looked_at: int = 0

    def __repr__(self) -> str:  # the key and the claim never reach a log
        return f"State(writes={self.writes}, licensed={bool(self.lease or self.file)})"


@dataclass(frozen=True)
class Seen:
    """What the two places held.

    Attributes:
        state: the newest that was written on this machine.
        foreign_key: the license key in a file from another machine: good for asking, proof of nothing.
        restored: one place had an older state than the other: somebody put back a copy, or could not write
            there.
    """

    state: State
    foreign_key: str = ""
    restored: bool = False


_TYPES = {one.name: type(getattr(State(), one.name)) for one in dataclasses.fields(State)}


def encode(state: State, secret: bytes) -> bytes:
    """The state as it stands in a file."""
    body = json.dumps(dataclasses.asdict(state), separators=(",", ":"), sort_keys=True)
    return json.dumps({"v": 1, "mac": _mac(body, secret), "body": body}).encode() + b"\n"


def decode(raw: bytes, secret: bytes) -> tuple[State | None, str]:
    """The state in a file's bytes, and the key in it when the file is another machine's. Never raises.

    Bytes that are no state at all are (None, "").
    """
    try:
        outer = strict_json.loads(raw)
        body, mac = outer["body"], outer["mac"]
        inner = strict_json.loads(body.encode())
        ours = hmac.compare_digest(mac.encode(), _mac(body, secret).encode())
    except (ValueError, KeyError, TypeError, AttributeError):
        return None, ""
    if not isinstance(inner, dict):
        return None, ""
    if not ours:
        key = inner.get("key")
        return None, key if isinstance(key, str) and len(key) <= 512 else ""
    return _state_of(inner), ""


class Store:
    """The state in two folders. Threads and processes may use it at once."""

    def __init__(self, folders: tuple[Path, Path], product: str, fingerprint: str) -> None:
        text = f"keywright-state/1\0{product}\0{fingerprint}".encode()
        self._secret = hashlib.sha256(text).digest()
        # A home folder may be shared by several machines: each has a file of its own in it.
        name = f"license-{hashlib.sha256(self._secret).hexdigest()[:12]}.json"
        self._paths = tuple(folder / name for folder in folders)
        self._lists = tuple(folder / "revoked.jwt" for folder in folders)
        self._list = ""
        self._held: State | None = None
        self._lock = threading.RLock()

    def stamp(self) -> tuple[tuple[int, int], ...]:
        """Changes when another process writes. A few microseconds."""
        return tuple(_stamp_of(path) for path in self._paths)

    def read(self) -> Seen:
        """What is kept. Never raises: what is torn, foreign or not there does not count."""
        with self._lock:
            found = [decode(_bytes_of(path), self._secret) for path in self._paths]
            states = [state for state, _ in found if state is not None]
            kept = max(states, key=lambda one: one.writes, default=None)
            restored = found[0][0] is not None and kept is not None and found[0][0].writes < kept.writes
            if self._held is not None and (kept is None or kept.writes < self._held.writes):
                kept = self._held  # the places cannot be written, or were emptied under a running program
            # What only says that the server was away is no license of this machine's own.
            own = kept is not None and (kept.key or kept.file or kept.answered_at)
            return Seen(kept or State(), "" if own else self._foreign_key(), restored)

    def keep_list(self, text: str) -> None:
        """Keep a revocation list. It is signed, so it needs no more protection than its `seq` in the
        state."""
        self._list = text
        for path in self._lists:
            _write(path, text.encode(), durable=False)

    def lists(self) -> list[str]:
        """The revocation lists that are kept, as they are: not verified."""
        found = [_bytes_of(path, _LARGEST_LIST).decode("ascii", "replace") for path in self._lists]
        return list(dict.fromkeys(text for text in (self._list, *found) if text))

    def _foreign_key(self) -> str:
        """The license key in a file of another machine, or of this one before it changed; the newest
        first."""
        found = [path for place in self._paths for path in _files_in(place.parent)]
        return next((key for key in (decode(_bytes_of(path), self._secret)[1] for path in found) if key), "")

    def change(self, how: Callable[[State], State], *, durable: bool = True) -> State:
        """Read, change and write as one step among all processes. Returns the new state.

        Args:
            how: makes the new state from the newest one.
            durable: wait until the disk has it; without, a power cut may lose the change but not the file.
        """
        with self._lock, _locked(self._paths[0].parent):
            before = self.read().state
            after = dataclasses.replace(how(before), writes=before.writes + 1)
            self._held = after
            raw = encode(after, self._secret)
            for path in self._paths:
                _write(path, raw, durable)
            return after


def _mac(body: str, secret: bytes) -> str:
    return hmac.new(secret, body.encode(), hashlib.sha256).hexdigest()


def _state_of(members: dict[str, Any]) -> State | None:
    """Unknown members are a later version's and are left out; a wrong type is no state."""
    known = {name: value for name, value in members.items() if name in _TYPES}
    for name, value in known.items():
        if type(value) is not _TYPES[name] or (type(value) is int and not -_LATEST <= value <= 10 * _LATEST):
            return None
    return State(**known)


def _bytes_of(path: Path, largest: int = _LARGEST) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(largest)
    except OSError:
        return b""


def _stamp_of(path: Path) -> tuple[int, int]:
    try:
        found = os.stat(path)
    except OSError:
        return (0, 0)
    return (found.st_mtime_ns, found.st_ino)


def _files_in(folder: Path) -> list[Path]:
    try:
        return sorted(folder.glob("license-*.json"), key=lambda path: path.stat().st_mtime, reverse=True)[:8]
    except OSError:
        return []


def _write(path: Path, raw: bytes, durable: bool) -> bool:
    """Replace a file as a whole, readable by its owner only. False when that cannot be done here."""
    temporary = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor, temporary = tempfile.mkstemp(prefix=".license-", dir=str(path.parent))  # 0600, a new file
        with os.fdopen(descriptor, "wb") as file:
            file.write(raw)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        _replace(temporary, path)
    except OSError:
        if temporary:
            _remove(temporary)
        return False
    return True


def _replace(temporary: str, path: Path) -> None:
    for _ in range(5):
        try:
            os.replace(temporary, path)
        except PermissionError:  # noqa: PERF203 - on Windows somebody may read the file at this moment
            time.sleep(0.02)
        else:
            return
    os.replace(temporary, path)


def _remove(path: str) -> None:
    try:
        os.remove(path)
    except OSError:
        return


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Alone among the processes that use this folder; after two seconds, or where that cannot be had,
    without.

    Whoever writes last without the lock wins as a whole, so nothing is torn even then.
    """
    descriptor = -1
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(folder / ".license-lock", os.O_RDWR | os.O_CREAT, 0o600)
        _lock(descriptor)
    except OSError:
        pass  # a place that cannot be written is not shared either
    try:
        yield
    finally:
        if descriptor >= 0:
            os.close(descriptor)  # lets go of the lock


def _lock(descriptor: int) -> None:
    end = time.monotonic() + _LOCK_PATIENCE
    while not _try_lock(descriptor) and time.monotonic() < end:
        time.sleep(0.005)


def _try_lock(descriptor: int) -> bool:
    try:
        if os.name == "nt":
            import msvcrt

            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]  # Windows
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
