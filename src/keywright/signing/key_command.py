"""The master key from a command: so that any key management service or secret store can hold it.

The command is run without a shell. What it prints is the key and nothing else; what it says on stderr is
thrown away, because a tool that fails may well repeat what it was about to print.
"""

from __future__ import annotations

import os
import selectors
import shlex
import signal
import subprocess
import time
from contextlib import suppress
from typing import Final

from keywright.domain.errors import Misconfigured
from keywright.signing.master_key import LONGEST, MasterKey, read_master_keys
from keywright.signing.vault import VaultRefused

SECONDS: Final = 15.0
_NAME: Final = "KEYWRIGHT_MASTER_KEY_COMMAND"


class KeyCommand:
    """Implements Source over a command. Raises Misconfigured for one that cannot be split into words.

    Args:
        text: the command, quoted as for a shell; nothing in it is expanded.
        seconds: after so long it is ended, with everything it has started.
    """

    name = _NAME

    def __init__(self, text: str, *, seconds: float = SECONDS) -> None:
        try:
            self._words = shlex.split(text)
        except ValueError:
            raise Misconfigured(f"{_NAME} has a quote that does not end.") from None
        if not self._words:
            raise Misconfigured(f"{_NAME} is empty.")
        self._seconds = seconds

    def read(self) -> tuple[MasterKey, ...]:
        """Raises VaultRefused: it cannot be run, fails, lasts too long, or prints anything but keys."""
        try:
            running = subprocess.Popen(  # the operator's own command, split without a shell
                self._words,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        except OSError as error:
            raise VaultRefused(f"{_NAME} cannot be run: {error.strerror}") from None
        try:
            printed = self._read(running)
        finally:
            _end(running)
        if running.returncode != 0:
            raise VaultRefused(f"{_NAME} failed with status {running.returncode}")
        return read_master_keys(printed.decode("ascii", "replace"))

    def _read(self, running: subprocess.Popen[bytes]) -> bytes:
        """All that it prints, until it has ended."""
        until = time.monotonic() + self._seconds
        printed = b""
        if running.stdout is None:
            return printed
        with selectors.DefaultSelector() as selector:
            selector.register(running.stdout, selectors.EVENT_READ)
            while selector.select(max(0.0, until - time.monotonic())):
                part = os.read(running.stdout.fileno(), LONGEST + 1)
                printed += part
                if len(printed) > LONGEST:
                    raise VaultRefused(f"{_NAME} printed more than keys")
                if not part:
                    with suppress(subprocess.TimeoutExpired):
                        running.wait(max(0.01, until - time.monotonic()))
                        return printed
                    break
        raise VaultRefused(f"{_NAME} did not end within {self._seconds:g} seconds")


def _end(running: subprocess.Popen[bytes]) -> None:
    """Leave nothing of it behind: it leads a process group of its own."""
    if running.stdout is not None:
        running.stdout.close()
    if running.poll() is None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(running.pid, signal.SIGKILL)
        running.wait()
