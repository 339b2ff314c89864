"""`serve --workers N`: several processes that answer on the same sockets, and the one that looks after them.

The parent opens the sockets and hands them down, so that nobody is refused while a process starts or after
one has died: who connects waits in the sockets' queue for the next one that is free. It touches no database.
A process that dies is started again. When the parent dies, its processes stop in order.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

import structlog

from keywright.cli import collector
from keywright.cli.running import BACKLOG, serve_here
from keywright.domain.errors import KeywrightError, Misconfigured

if TYPE_CHECKING:
    from keywright.settings import Settings

log = structlog.get_logger(__name__)

Begin = Callable[[], "subprocess.Popen[bytes]"]

_STOPS: Final = (signal.SIGTERM, signal.SIGINT)
_SHORT: Final = 10.0  # seconds; a life that is not worth starting again at once
_LONGEST_PAUSE: Final = 30.0
_GIVE_UP: Final = 8  # short lives in a row, of each of them
_STOP_WITHIN: Final = 25.0
_ASK_AGAIN: Final = 2.0  # a process that is just starting may not hear the first time
_LOOK_EVERY: Final = 1.0


def run_several(
    settings: Settings, host: str, workers: int, listeners: list[socket.socket], *, engine: bool
) -> None:
    """Keep `workers` processes running until SIGTERM or SIGINT. Raises Misconfigured when none can."""
    for listener in listeners:
        listener.listen(BACKLOG)
    ours, theirs = os.pipe()  # nothing is ever written: it is closed when we are gone
    files = [listener.fileno() for listener in listeners]
    order = json.dumps([host, settings.port, files, ours, engine])

    def begin() -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "keywright.cli.several", order],
            pass_fds=[*files, ours],
            # What a terminal sends reaches us alone, and we pass it on.
            start_new_session=True,
        )

    try:
        supervise(begin, workers)
    finally:
        os.close(theirs)
        os.close(ours)


class _Place:
    """One of the processes, or the gap that it left."""

    def __init__(self, number: int, begin: Begin) -> None:
        self._number = number
        self._begin = begin
        self._began = self._next_at = 0.0
        self.process: subprocess.Popen[bytes] | None = None
        self.short_lives = 0

    def look(self, now: float) -> None:
        if self.process is not None and (code := self.process.poll()) is not None:
            self.process = None
            self.short_lives = self.short_lives + 1 if now - self._began < _SHORT else 0
            pause = min(_LONGEST_PAUSE, 2.0 ** (self.short_lives - 1)) if self.short_lives else 0.0
            self._next_at = now + pause
            log.warning("process_ended", process=self._number, code=code, again_in_seconds=pause)
        if self.process is None and now >= self._next_at:
            self.process, self._began = self._begin(), now


def supervise(begin: Begin, workers: int) -> None:
    """Keep as many processes as `begin` starts running until we are told to stop; then stop them in order.

    Raises Misconfigured when every one of them has ended at once, again and again.
    """
    places = [_Place(number, begin) for number in range(1, workers + 1)]
    with _signals() as wait:
        try:
            while True:
                for place in places:
                    place.look(time.monotonic())
                if all(place.process is None and place.short_lives >= _GIVE_UP for place in places):
                    raise Misconfigured(
                        "The server's processes end again and again. What they said is above."
                    )
                if wait(_LOOK_EVERY).intersection(_STOPS):
                    return
        finally:
            _stop([place.process for place in places if place.process is not None], wait)


def _stop(running: list[subprocess.Popen[bytes]], wait: Callable[[float], set[int]]) -> None:
    """Ask all to stop, wait for what they have under way, and end what does not."""
    until, ask_at = time.monotonic() + _STOP_WITHIN, 0.0
    while running := [one for one in running if one.poll() is None]:
        now = time.monotonic()
        if now >= until:
            log.warning("processes_killed", processes=len(running))
            for one in running:
                one.kill()
                one.wait()
            return
        if now >= ask_at:
            ask_at = now + _ASK_AGAIN
            for one in running:
                one.terminate()
        wait(_LOOK_EVERY)


@contextmanager
def _signals() -> Iterator[Callable[[float], set[int]]]:
    """A call that waits, at most so many seconds, and returns which signals came. A child's end is one."""
    heard, told = socket.socketpair()
    heard.setblocking(False)
    told.setblocking(False)
    numbers = (*_STOPS, signal.SIGCHLD)
    # Not ignored: then nobody would be told. Whoever comes after us finds them as they were.
    before = {number: signal.signal(number, lambda *_: None) for number in numbers}
    waker = signal.set_wakeup_fd(told.fileno(), warn_on_full_buffer=False)

    def wait(seconds: float) -> set[int]:
        select.select([heard], [], [], seconds)
        with suppress(BlockingIOError):
            return set(heard.recv(4096))
        return set()

    try:
        yield wait
    finally:
        signal.set_wakeup_fd(waker)
        for number, then in before.items():
            signal.signal(number, then)
        heard.close()
        told.close()


# -- one of them ----------------------------------------------------------------------------------------


def main() -> None:
    """One of several processes. What to do stands in the arguments; it is started by `run_several` alone."""
    collector.look_seldom()
    from keywright import bootstrap

    host, port, files, lifeline, engine = json.loads(sys.argv[1])
    threading.Thread(target=_stop_with, args=(lifeline,), name="lifeline", daemon=True).start()
    listeners = [socket.socket(fileno=file) for file in files]
    try:
        settings = bootstrap.read_settings(port=port)
        bootstrap.configure_logging(settings)
        database = bootstrap.open_database(settings)
        serve_here(settings, database, host, listeners, engine=engine)
    except KeywrightError as error:
        print(f"keywright: {error.detail}", file=sys.stderr)
        sys.exit(1)


def _stop_with(lifeline: int) -> None:
    """When the parent is gone, stop as if it had said so: nobody else would start us again or stop us."""
    os.read(lifeline, 1)
    while True:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(_ASK_AGAIN)


if __name__ == "__main__":
    main()
