"""What the state becomes by what the server said or did not say: pure functions.

`now` is this machine's clock; `luck` a number from 0 to 1 that spreads the questions of many programs over
time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from .asking import Said, Silence, Throttled, seconds
from .state import State

_FIRST_WAIT, _LONGEST_WAIT = 15, 3600  # after silence, doubled each time
_LEAST_WAIT = 5
_AGAIN_INVALID = 60  # who may not run is not made to wait for an hour once the network is back
_RACE = 3600
_LONGEST_HOLD = 86_400
_LISTS_EVERY = 3600


def after_yes(
    state: State, key: str, said: Said, lease: Mapping[str, Any], *, now: int, every: int, luck: float
) -> State:
    """The server said yes, with a lease that was verified and answers our nonce."""
    srv = lease["srv"]
    # Two processes that asked at once may store their answers in the other order.
    overtaken = (
        key == state.key and state.lease and state.seq > lease["seq"] and abs(state.answered_at - srv) < _RACE
    )
    cached, told_at = seconds(said.members.get("cache_until")), seconds(said.members.get("server_time"))
    least = cached - told_at if cached is not None and told_at is not None else 0
    wait = min(max(every, least), (lease["lexp"] - srv) // 2)
    return replace(
        _answered(state, now, wait, luck),
        key=key,
        lease=state.lease if overtaken else said.lease,
        seq=state.seq if overtaken else lease["seq"],
        # The lease carries our nonce: this is the server's time now, whatever was seen before.
        mark=srv,
        offset=srv - now,
        answered_at=srv,
        refused={},
        told={name: said.license.get(name) is True for name in ("trial", "canceling")},
    )


def after_no(state: State, key: str, said: Said, *, now: int, every: int, luck: float) -> State:
    """The server said no. It holds from now on, until the server says yes."""
    told = {
        "code": said.code,
        "detail": said.text("detail")[:500],
        "next_action": said.text("next_action")[:40],
    }
    told_at = seconds(said.members.get("server_time")) or now
    refused = {**told, "at": told_at, "license": str(said.license.get("id", ""))}
    return replace(_answered(state, now, every, luck), key=key, refused=refused, answered_at=told_at)


def after_silence(state: State, silence: Silence, *, now: int, luck: float) -> State:
    """Nobody answered. What was known goes on to hold."""
    tries = state.tries + 1
    wait = max(min(_FIRST_WAIT * 2 ** min(tries - 1, 20), _LONGEST_WAIT), silence.retry_after or 0)
    return replace(
        state,
        tries=tries,
        asked_at=now,
        ask_at=now + int(wait * (0.5 + luck / 2)) + 1,
        away_since=state.away_since or now,
    )


def after_throttle(state: State, throttled: Throttled, *, now: int, luck: float) -> State:
    """The server wants a pause: it gets it, and a little more, so that not all come back in one second."""
    wait = max(throttled.retry_after, 1)
    until = now + wait + int(min(wait, 30) * luck)
    return replace(state, asked_at=now, ask_at=until, hold_until=until)


def without_license(state: State) -> State:
    """After the machine was freed: what protects against turning back the time stays."""
    return replace(
        state,
        key="",
        lease="",
        file="",
        refused={},
        told={},
        claim={},
        seq=-1,
        ask_at=0,
        tries=0,
        away_since=0,
    )


def is_held(state: State, now: int) -> bool:
    """Whether the server asked for a pause that is not over. A clock that was turned does not make it
    endless."""
    return now < state.hold_until <= now + 2 * _LONGEST_HOLD and state.asked_at <= now


def next_question(state: State, now: int, *, valid: bool) -> int:
    """When the server is to be asked again, by this machine's clock."""
    if now < state.asked_at - _LEAST_WAIT:
        return now  # the clock was set back since
    if is_held(state, now):
        return state.hold_until
    return state.ask_at if valid else min(state.ask_at, state.asked_at + _AGAIN_INVALID)


def are_lists_due(state: State, now: int) -> bool:
    """Whether the signed lists are to be fetched: once an hour, with a question that is asked anyway."""
    return not 0 <= now - state.lists_at < _LISTS_EVERY


def _answered(state: State, now: int, wait: int, luck: float) -> State:
    spread = int(wait * (0.8 + luck / 5))
    return replace(
        state, tries=0, away_since=0, hold_until=0, asked_at=now, ask_at=now + max(spread, _LEAST_WAIT)
    )


def after_lists(state: State, *, now: int, every: int, luck: float) -> State:
    """The lists were fetched, for a program that has no key to ask about."""
    return _answered(state, now, every if state.file else 24 * _LISTS_EVERY, luck)
