"""The client: what a program asks before it runs, offline first."""

from __future__ import annotations

import ssl
import threading
import time
import webbrowser
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from . import judging, learning, tokens
from .asking import Said, Silence, Throttled
from .exchange import Exchange
from .lists import Lists
from .machine import Machine, this_machine
from .places import places_for
from .purchase import Purchase, opened
from .result import Baseline, Result, moment
from .state import Seen, State, Store
from .trust import Trust
from .watching import Watch
from .wire import Wire

_KEEP_MARK = 600  # seconds of time seen that a crash may lose
_LOOK_AGAIN = 300
_RESTORED_PAUSE = 60
_CLAIM_PAUSE = 30
_LONGEST_KEY = 512


@dataclass(frozen=True)
class _Held:
    """A result that holds without another look, from `since` until `until` by this machine's clock."""

    result: Result
    since: float
    until: float
    stamp: tuple[tuple[int, int], ...]


class Client:
    """Licenses one program on one machine. Threads may share it; several processes may use one folder.

    No method raises for what the network, the server, the disk or the clock does. `ValueError` at
    construction is a mistake in the program.

    Args:
        product: the product's slug.
        trust: whom the program believes.
        server: the license server's base URL. `https`, except on this machine. A seller who is not the first
            one there has the address of his shop, too: `https://licenses.acme.example/t/his-slug`. None for
            a program that never asks and runs on license files alone.
        state_dir: where the state is kept; None for the user's folder for settings.
        second_dir: the second place, by which an old copy of the first one is noticed; None for the user's
            folder for program state.
        baseline: what runs without a license, as in the catalog. None: the server is asked for it now and
            then.
        machine: this machine. None reads it.
        tenant: the seller's slug where a server has several and he is not the first, and `server` does not
            name it.
        every: for how many seconds an answer is good before the server is asked again.
        background: ask in a thread of its own while the license holds offline, so that `check` never waits
            for the network. For programs that go on running: one that ends at once would never get to ask.
        timeout: seconds for one question.
        version: the program's version, told to the server.
        clock: seconds since 1970.
        ssl_context: for a private certificate authority.

    Raises:
        ValueError: the server's URL or the machine's fingerprint is not as it must be.
    """

    def __init__(
        self,
        *,
        product: str,
        trust: Trust,
        server: str | None = None,
        state_dir: str | Path | None = None,
        second_dir: str | Path | None = None,
        baseline: Mapping[str, Any] | None = None,
        machine: Machine | None = None,
        tenant: str | None = None,
        every: int = 3600,
        background: bool = False,
        timeout: float = 5.0,
        version: str | None = None,
        clock: Callable[[], float] = time.time,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        agent = f"keywright-client/1 ({product})"
        wire = (
            Wire(server, timeout=timeout, agent=agent, context=ssl_context, tenant=tenant) if server else None
        )
        first, second = (Path(one) if one else None for one in (state_dir, second_dir))
        folders = places_for(product, first, second)
        machine = machine or this_machine(product, state_dir=folders[0])
        store = Store(folders, product, machine.fingerprint)
        mid = tokens.mid(product, machine.fingerprint)
        lists = Lists(wire, store, trust, product, mid, baseline=baseline is None)
        self._baseline = None if baseline is None else Baseline.of(baseline)
        self._background = background
        self._exchange = Exchange(
            wire, store, lists, machine, product, version=version, every=every, clock=clock
        )
        self._store, self._lists = store, lists
        self._lock = threading.RLock()
        self._held: _Held | None = None

    @property
    def machine(self) -> Machine:
        """What the server is told of this machine."""
        return self._exchange.machine

    # -- may I run? -------------------------------------------------------------------------------------

    def check(self) -> Result:
        """May the program run? Answered without the network while that is known, and then in some
        microseconds.

        When the server is due to be asked it is asked, about once an hour. While it is away the lease goes
        on to hold. Call this as often as you like.
        """
        now = self._exchange.clock()
        held = self._held
        if held is not None and held.since <= now < held.until and held.stamp == self._store.stamp():
            return held.result
        result, due = self._look()
        if due and self._exchange.turn.acquire(blocking=False):
            if self._background and result.valid:
                threading.Thread(target=self._refresh_and_let_go, name="license", daemon=True).start()
                return result
            self._refresh_and_let_go()
            result, _ = self._look()
        return result

    def validate(self) -> Result:
        """Ask the server now, whether it is due or not. Only a pause that the server itself asked for is
        kept."""
        with self._exchange.turn:
            self._refresh(asked_for=True)
        return self._look()[0]

    # -- this machine -----------------------------------------------------------------------------------

    def activate(self, key: str | None = None, name: str | None = None, *, days: int | None = None) -> Result:
        """Bind a license to this machine. When the server refuses, or gives no answer, what was there before
        stays.

        Args:
            key: as the user typed it; None for one that is known already, as from another machine's folder.
            name: what the user calls this machine; None for its host name.
            days: check the machine out for so many days without a network, where the plan gives them.
                `deactivate` hands it back early.
        """
        with self._exchange.turn:
            typed = (key or self._exchange.key()).strip()
            if not typed or len(typed) > _LONGEST_KEY or not typed.isprintable():
                return judging.unlicensed("no_license", "Please enter a license key.", self._base())
            heard = self._exchange.ask("activate", typed, name=name or self.machine.name, checkout_days=days)
            is_new = typed != self._store.read().state.key
            if isinstance(heard, Said) and not heard.valid and is_new:
                return judging.refusal(heard.members, self._base())
            # What the server did not take as it was says nothing of the license, nor of the line.
            if not isinstance(heard, Silence) or heard.problem in ("", "UNTRUSTED"):
                self._exchange.learn(typed, heard)
        return self._after(heard)

    def deactivate(self) -> Result:
        """Free this machine's seat and forget the license here. `reason` is `freed` when that was done."""
        with self._exchange.turn:
            key = self._store.read().state.key
            heard = self._exchange.ask("deactivate", key) if key else None
            if isinstance(heard, Said) and heard.code == "MOVES_EXHAUSTED":
                return judging.refusal(heard.members, self._base())
            if heard is None or isinstance(heard, Said):
                self._store.change(learning.without_license)
                self._held = None
                return judging.unlicensed("freed", "This computer no longer uses the license.", self._base())
            self._exchange.miss(heard)
        return self._after(heard)

    def load_file(self, text: str) -> Result:
        """Take a license file: its text, for this machine or for any. It needs no network.

        A file of another license takes the place of what was there. One that does not count changes nothing;
        `reason` then says why: `file_refused`, `other_machine`.
        """
        state = self._store.read().state
        try:
            token, claims = self._lists.read_file(text, state)
        except tokens.TokenRefused:
            sentence = "This is not a license file of this product, or it was changed on its way."
            return judging.unlicensed("file_refused", sentence, self._base())
        if claims.get("mid", self._exchange.mid) != self._exchange.mid:
            sentence = "This license file was made for another computer."
            return judging.unlicensed("other_machine", sentence, self._base())
        known = (state.refused.get("license"), self._lists.papers(state).lease.get("sub"))
        is_another = claims["sub"] not in known
        is_over = not is_another and claims["iat"] <= int(state.refused.get("at", 0))

        def taken(old: State) -> State:
            # The key of another license would be asked about, and its end be taken for this one's.
            base = replace(learning.without_license(old), claim=old.claim) if is_another else old
            return replace(base, file=token, refused=old.refused if is_over else {})

        self._store.change(taken)
        self._held = None
        return self._look()[0]

    def load_lists(self, *texts: str) -> Result:
        """Take a signed key set and a signed revocation list that were carried here, where there is no
        network."""
        self._look()  # what the list may name is known then
        for text in texts:
            self._lists.take(text.strip())
        self._held = None
        return self._look()[0]

    # -- buying and watching ----------------------------------------------------------------------------

    def buy(self, plan: str, *, open_page: Callable[[str], Any] = webbrowser.open, **more: Any) -> Purchase:
        """Open the pay page in the browser. When the payment arrives this program is unlocked; no key is
        typed.

        Args:
            plan: the plan's slug, or `product/plan`.
            open_page: what opens a page; it gets the URL.
            more: further members of the checkout: `interval` (`month`, `year`, `once`), `price` (its key in
                the catalog), `provider`, `currency`, `quantity`, `email`. A plan with several prices needs as
                many of the first four as leave one; otherwise `problem` is `PRICE_AMBIGUOUS`.

        Returns:
            the purchase: `wait` for it, or go on and let `check` find it later, even after a new start.
        """
        wanted = {"plan": plan if "/" in plan else f"{self._exchange.product}/{plan}", **more}
        wanted["device"] = self.machine.fingerprint
        if self.machine.name:
            wanted["device_name"] = self.machine.name
        purchase = opened(self._exchange, self.check, wanted)
        self._held = None
        if purchase.reference:
            purchase.show(open_page)
        return purchase

    def resume_purchase(self) -> Purchase | None:
        """A purchase that was begun and is not finished, after a new start; None when there is none."""
        claim = self._store.read().state.claim
        return Purchase(self._exchange, self.check, claim) if claim else None

    def watch(self, callback: Callable[[Result], Any]) -> Watch:
        """Call back with every new result, within a second of a change at the server, from a thread of its
        own."""
        return Watch(self._exchange, self._credentials, self.validate, self.check, callback)

    # -- inside -----------------------------------------------------------------------------------------

    def _base(self) -> Baseline:
        return (
            self._baseline if self._baseline is not None else Baseline.of(self._store.read().state.baseline)
        )

    def _credentials(self) -> str:
        """What opens the stream; empty for nothing to watch. A purchase goes before what no longer holds."""
        state, key = self._store.read().state, self._exchange.key()
        if state.claim and not self._look()[0].valid:
            return f"Claim {state.claim.get('token', '')}"
        return f"License {key}" if key.isascii() and key else ""

    def _look(self) -> tuple[Result, bool]:
        """The result as it stands, and whether the server is due to be asked."""
        with self._lock:
            clock, stamp = self._exchange.clock(), self._store.stamp()
            now, seen = int(clock), self._store.read()
            papers = self._lists.papers(seen.state)
            result = judging.judge(seen.state, papers, now, self._base(), foreign=bool(seen.foreign_key))
            state = self._keep_mark(seen.state, judging.true_time(now, seen.state, papers))
            at = self._ask_at(seen, now, valid=result.valid)
            result = replace(result, **self._contact(state, now, result))
            until = min(now + _LOOK_AGAIN, max(at, now + 1), _next_change(result, state, clock))
            due = now >= at
            # What was written meanwhile, by us or by another process, is looked at the next time.
            self._held = None if due else _Held(result, clock, until, stamp)
            return result, due

    def _keep_mark(self, state: State, time_now: int | None) -> State:
        """Keep the time that was seen, now and then: whoever turns the clock back later must not get below
        it."""
        if time_now is None or time_now - state.mark < _KEEP_MARK or not (state.key or state.file):
            return state
        return self._store.change(lambda old: replace(old, mark=max(old.mark, time_now)), durable=False)

    def _ask_at(self, seen: Seen, now: int, *, valid: bool) -> int:
        """When the server is to be asked, by this machine's clock."""
        state = seen.state
        if self._exchange.wire is None:
            return now + _LOOK_AGAIN
        if state.claim and not learning.is_held(state, now) and not 0 <= now - state.looked_at < _CLAIM_PAUSE:
            return now
        is_something = state.key or state.file or seen.foreign_key
        if not (is_something or self._lists.wants_baseline(state)):
            return now + (_CLAIM_PAUSE if state.claim else _LOOK_AGAIN)
        if (
            seen.restored
            and not learning.is_held(state, now)
            and not 0 <= now - state.asked_at < _RESTORED_PAUSE
        ):
            return now
        at = learning.next_question(state, now, valid=valid or not is_something)
        return min(at, state.looked_at + _CLAIM_PAUSE) if state.claim else at

    @staticmethod
    def _contact(state: State, now: int, result: Result) -> dict[str, Any]:
        """How the last question went."""
        if learning.is_held(state, now):
            return {"contact": "throttled", "retry_at": moment(state.hold_until)}
        if state.tries:
            return {"contact": "away", "stale": True, "retry_at": moment(state.ask_at)}
        if result.contact == "refused":
            return {}
        return {"contact": "fine" if state.asked_at else "none"}

    def _refresh(self, *, asked_for: bool = False) -> None:
        """Ask about a purchase that is not finished, and about the license where that is due or asked for."""
        claim = self._store.read().state.claim
        if claim:
            Purchase(self._exchange, self.check, claim).look()
        if asked_for or not claim or self._look()[1]:
            self._exchange.refresh()
        self._held = None

    def _refresh_and_let_go(self) -> None:
        try:
            self._refresh()
        finally:
            self._exchange.turn.release()

    def _after(self, heard: Said | Silence | Throttled) -> Result:
        """What stands after a call that needs the server."""
        self._held = None
        result, _ = self._look()
        if not isinstance(heard, Silence):
            return result
        sentence = "The license server could not be reached. Please try again."
        if heard.problem:
            sentence = f"The license server's answer could not be used ({heard.problem})."
        return replace(result, message=sentence, next_action="retry")


def _next_change(result: Result, state: State, clock: float) -> float:
    """When time alone makes another result, at the earliest, by this machine's clock."""
    moments = (result.offline_until, result.entitled_until, result.grace_until)
    ends = [one.timestamp() - max(state.offset, 0) for one in moments if one is not None]
    return min((end for end in ends if end > clock), default=clock + _LOOK_AGAIN)
