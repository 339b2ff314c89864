"""Questions and answers: what is asked, whether the answer is believed, and what the state becomes by it."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Union

from . import asking, learning, tokens
from .asking import Said, Silence, Throttled
from .lists import Lists
from .machine import Machine
from .state import State, Store
from .wire import Wire

Heard = Union[Said, Silence, Throttled]  # in this form for Python 3.9


class Exchange:
    """The one way between state and server. `turn` is held by whoever asks, so that one question is out at a
    time."""

    def __init__(
        self,
        wire: Wire | None,
        store: Store,
        lists: Lists,
        machine: Machine,
        product: str,
        *,
        version: str | None,
        every: int,
        clock: Callable[[], float],
    ) -> None:
        self.wire, self.store, self.lists, self.machine = wire, store, lists, machine
        self.product, self.mid = product, tokens.mid(product, machine.fingerprint)
        self.clock = clock
        self.turn = threading.Lock()
        self._version, self._every = version, every
        self._luck: Callable[[], float] = random.random  # spreads questions over time; no secret

    @property
    def headers(self) -> dict[str, str]:
        """What tells a stream which machine and product its verdicts are about."""
        return {"Keywright-Fingerprint": self.machine.fingerprint, "Keywright-Product": self.product}

    def is_held(self) -> bool:
        """Whether the server asked for a pause that is not over."""
        return learning.is_held(self.store.read().state, self.now())

    def now(self) -> int:
        return int(self.clock())

    def key(self) -> str:
        """The license key that is known here, if only from another machine's state."""
        seen = self.store.read()
        return seen.state.key or seen.foreign_key

    def ask(self, call: str, key: str, **more: str | int | None) -> Heard:
        """Ask the server. Nothing is learned from it yet. Never raises."""
        state, now = self.store.read().state, self.now()
        if self.wire is None:
            return Silence("no server")
        if learning.is_held(state, now):
            return Throttled(max(1, state.hold_until - now))
        asked = asking.question(key, self.product, self.machine, version=self._version, **more)
        heard = asking.ask(self.wire, call, asked, self.clock())
        grants = isinstance(heard, Said) and heard.valid and call != "deactivate"
        return self._believed(heard, asked) if grants and isinstance(heard, Said) else heard

    def learn(self, key: str, heard: Heard) -> Heard:
        """Make the state what this answer makes it."""
        now, every, luck = self.now(), self._every, self._luck()
        if not isinstance(heard, Said):
            self.miss(heard)
        elif heard.valid:
            lease = heard.members["claims"]
            self.store.change(
                lambda old: learning.after_yes(old, key, heard, lease, now=now, every=every, luck=luck)
            )
        else:
            self.store.change(lambda old: learning.after_no(old, key, heard, now=now, every=every, luck=luck))
        return heard

    def miss(self, heard: Silence | Throttled) -> None:
        """Note that there was no verdict."""
        now, luck = self.now(), self._luck()

        def after(state: State) -> State:
            if isinstance(heard, Silence):
                return learning.after_silence(state, heard, now=now, luck=luck)
            held = learning.is_held(state, now)
            return state if held else learning.after_throttle(state, heard, now=now, luck=luck)

        self.store.change(after, durable=False)

    def refresh(self) -> None:
        """Ask about the license, and for the lists where they are due. The caller has the turn."""
        state, now = self.store.read().state, self.now()
        if self.wire is None or learning.is_held(state, now):
            return
        key = self.key()
        if key:
            heard = self.learn(key, self.ask("validate", key))
            if isinstance(heard, Said) and learning.are_lists_due(self.store.read().state, now):
                self.lists.fetch(now)
        elif self.lists.fetch(now):
            every, luck = self._every, self._luck()
            self.store.change(lambda old: learning.after_lists(old, now=now, every=every, luck=luck))
        else:
            self.miss(Silence("no answer"))

    def settle(self, key: str) -> Heard:
        """Take up a key that a purchase brought. The server has activated it for this machine, mostly."""
        heard = self.ask("validate", key)
        if isinstance(heard, Said) and heard.code == "NOT_ACTIVATED":
            heard = self.ask("activate", key, name=self.machine.name)
        self.learn(key, heard)
        if isinstance(heard, Said) and heard.valid:
            self.store.change(lambda old: replace(old, claim={}))
        return heard

    def _believed(self, said: Said, asked: Mapping[str, Any]) -> Said | Silence:
        """A yes counts with a lease that our keys signed for this machine and this question. A no needs no
        proof."""
        claims = self._lease_in(said)
        if isinstance(claims, tokens.TokenRefused) and claims.reason == "kid":
            self.lists.fetch(self.now())  # the key may be newer than the key set that we know
            claims = self._lease_in(said)
        if isinstance(claims, tokens.TokenRefused):
            return Silence(f"the answer is not signed as it must be ({claims})", problem="UNTRUSTED")
        if claims.get("nonce") != asked["nonce"] or claims["mid"] != self.mid:
            return Silence("the answer is to another question", problem="UNTRUSTED")
        return replace(said, members={**said.members, "claims": claims})

    def _lease_in(self, said: Said) -> dict[str, Any] | tokens.TokenRefused:
        try:
            return self.lists.read_lease(said.lease, self.store.read().state)
        except tokens.TokenRefused as refusal:
            return refusal
