"""Gathering: calls that arrive together are served together.

A driver thread takes everything that is waiting, up to a limit, and hands it to one function that answers all
of it. Under load the batch grows and the cost of a commit is shared; when idle a batch is one call and nobody
waits for company.

Nobody waits for long: a database that is away must not hold callers for as long as it is away.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from queue import Empty, SimpleQueue
from typing import Generic, Literal, TypeVar

from keywright.domain.errors import Unavailable

Q = TypeVar("Q")
A = TypeVar("A")


class Traffic:
    """Whether callers are waiting in numbers. Work that can wait asks here first.

    The interpreter runs one thread at a time: a mail that is built while webhooks come in by the hundreds
    makes each of them wait. Under load, mails give way; they are never stopped.
    """

    _HEAVY = 8
    _LASTS = 0.25
    _PAUSE = 0.05
    _SHARED = 1.0
    _LET_PASS = 0.02

    def __init__(self) -> None:
        self._heavy_until = 0.0
        self._shared_until = 0.0
        self._hurrying = 0
        self._nobody_hurries = threading.Event()
        self._nobody_hurries.set()

    def saw(self, together: int) -> None:
        """So many callers were served together."""
        if together >= self._HEAVY:
            self._heavy_until = time.monotonic() + self._LASTS

    @contextmanager
    def hurrying(self) -> Iterator[None]:
        """Somebody whom a person waits for is being served, and probably others after him.

        For one thread: the event loop's.
        """
        self._shared_until = time.monotonic() + self._SHARED
        self._hurrying += 1
        self._nobody_hurries.clear()
        try:
            yield
        finally:
            self._hurrying -= 1
            if not self._hurrying:
                self._nobody_hurries.set()

    def let_pass(self) -> None:
        """Wait for who is in a hurry, but not for long: others may come all the time."""
        self._nobody_hurries.wait(self._LET_PASS)

    def share_of(self, limit: int) -> int:
        """How many may be served together: an eighth while there are some in a hurry.

        On SQLite one transaction writes at a time, and one thread runs at a time: the longest batch
        is how long an activation waits.
        """
        return max(1, limit // 8) if time.monotonic() < self._shared_until else limit

    def give_way(self) -> None:
        """Pause for a moment while the traffic is heavy."""
        if time.monotonic() < self._heavy_until:
            time.sleep(self._PAUSE)


class Gatherer(Generic[Q, A]):
    """`serve` gets a batch and returns one answer, or one exception, for each question in it."""

    def __init__(
        self,
        name: str,
        serve: Callable[[Sequence[Q]], Sequence[A | Exception]],
        *,
        traffic: Traffic,
        limit: int,
        backlog: int,
        patience: float,
        manner: Literal["plain", "urgent", "yielding"] = "plain",
    ) -> None:
        """`patience`: how long a caller waits for an answer, in seconds.

        `manner`: a yielding gatherer lets those pass that ask an urgent one, and its batches are small then.
        """
        self._traffic = traffic
        self._serve = serve
        self._limit = limit
        self._backlog = backlog
        self._patience = patience
        self._manner = manner
        # None wakes the driver to stop. SimpleQueue, because it is written in C and takes no Python lock.
        self._waiting: SimpleQueue[tuple[Q, asyncio.Future[A]] | None] = SimpleQueue()
        self._stopping = False
        self._thread = threading.Thread(target=self._drive, name=name, daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._thread.start()

    def stop(self) -> None:
        """Serve what is waiting, then end the thread."""
        self._stopping = True
        self._waiting.put(None)
        if self._thread.is_alive():
            self._thread.join(timeout=30)

    async def ask(self, question: Q) -> A:
        """The answer to one question.

        Raises Unavailable when too many are waiting already, or when none came in time. The question may have
        its effect all the same: whoever asks again must be told the same.
        """
        if self._loop is None or self._stopping:
            raise Unavailable("The server is stopping. Please try again.")
        if self._waiting.qsize() >= self._backlog:
            raise Unavailable("Too many requests are waiting. Please try again.", retry_after=1)
        future: asyncio.Future[A] = self._loop.create_future()
        try:
            with self._traffic.hurrying() if self._manner == "urgent" else nullcontext():
                self._waiting.put((question, future))
                async with asyncio.timeout(self._patience):
                    return await future
        except TimeoutError:
            raise Unavailable("No answer came in time. Please try again.", retry_after=5) from None

    def _drive(self) -> None:
        while not (self._stopping and self._waiting.empty()):
            batch = self._take()
            self._traffic.saw(len(batch))
            answers = self._answer([question for question, _ in batch]) if batch else []
            if self._loop is not None:
                self._loop.call_soon_threadsafe(_deliver, batch, answers)

    def _take(self) -> list[tuple[Q, asyncio.Future[A]]]:
        """Wait for one, then take what else is there, less what nobody waits for any more."""
        batch = []
        first = self._waiting.get()
        limit = self._limit
        if self._manner == "yielding":
            self._traffic.let_pass()
            limit = self._traffic.share_of(limit)
        while first is not None:
            if not first[1].done():
                batch.append(first)
            if len(batch) >= limit:
                break
            try:
                first = self._waiting.get_nowait()
            except Empty:
                break
        return batch

    def _answer(self, questions: Sequence[Q]) -> Sequence[A | Exception]:
        try:
            return self._serve(questions)
        except Exception as error:  # noqa: BLE001  # whatever it was, every caller must get an answer
            return [error] * len(questions)


def _deliver(batch: Sequence[tuple[Q, asyncio.Future[A]]], answers: Sequence[A | Exception]) -> None:
    for (_, future), answer in zip(batch, answers, strict=True):
        if future.done():  # the caller went away
            continue
        if isinstance(answer, Exception):
            future.set_exception(answer)
        else:
            future.set_result(answer)
