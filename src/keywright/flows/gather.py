"""Gathering: calls that arrive together are served together.

A driver thread takes everything that is waiting, up to a limit, and hands it to one function that answers all
of it. Under load the batch grows and the cost of a commit is shared; when idle a batch is one call and nobody
waits for company.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from keywright.domain.errors import Unavailable

Q = TypeVar("Q")
A = TypeVar("A")


class Gatherer(Generic[Q, A]):
    """`serve` gets a batch and returns one answer, or one exception, for each question in it."""

    def __init__(
        self, name: str, serve: Callable[[Sequence[Q]], Sequence[A | Exception]], *, limit: int, backlog: int
    ) -> None:
        self._serve = serve
        self._limit = limit
        self._backlog = backlog
        self._waiting: deque[tuple[Q, asyncio.Future[A]]] = deque()
        self._wake = threading.Semaphore(0)
        self._idle = True
        self._stopping = False
        self._thread = threading.Thread(target=self._drive, name=name, daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._thread.start()

    def stop(self) -> None:
        """Serve what is waiting, then end the thread."""
        self._stopping = True
        self._wake.release()
        if self._thread.is_alive():
            self._thread.join(timeout=30)

    async def ask(self, question: Q) -> A:
        """The answer to one question. Raises Unavailable when too many are waiting already."""
        if self._loop is None or self._stopping:
            raise Unavailable("The server is stopping. Please try again.")
        if len(self._waiting) >= self._backlog:
            raise Unavailable("Too many requests are waiting. Please try again.", retry_after=1)
        future: asyncio.Future[A] = self._loop.create_future()
        self._waiting.append((question, future))
        self._wake.release()
        return await future

    def _drive(self) -> None:
        while True:
            self._wake.acquire()
            batch = self._take()
            if batch:
                answers = self._answer([question for question, _ in batch])
                if self._loop is not None:
                    self._loop.call_soon_threadsafe(_deliver, batch, answers)
            elif self._stopping:
                return

    def _take(self) -> list[tuple[Q, asyncio.Future[A]]]:
        batch: list[tuple[Q, asyncio.Future[A]]] = []
        while self._waiting and len(batch) < self._limit:
            batch.append(self._waiting.popleft())
        for _ in range(len(batch) - 1):
            # Each question released the semaphore once; this batch answers them all.
            self._wake.acquire(blocking=False)
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
