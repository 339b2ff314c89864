"""Refetching: asking the provider for an object, and taking its answer in like a webhook.

Events of some providers prove nothing by themselves: they only name what to ask for. The rows of the table
`refetches` are the truth; whoever looks at them does what is due. An object is asked for once however many
events named it, and again when one more names it while the answer is on its way.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from weakref import WeakKeyDictionary

import msgspec
import sqlalchemy as sa
import structlog

from keywright.domain.errors import (
    Invalid,
    KeywrightError,
    Misconfigured,
    NotFound,
    ProviderUnavailable,
    Unreadable,
)
from keywright.domain.facts import Refetch
from keywright.flows import alarms
from keywright.flows.context import Channel, Context
from keywright.flows.fulfillment import waits_of
from keywright.flows.intake import Arrival, answer_waiting, arrive, name_of, take_in
from keywright.flows.own_changes import owner_of_answer
from keywright.store import inbox, refetches
from keywright.store.engine import Database
from keywright.store.refetches import Due

log = structlog.get_logger(__name__)

_AT_ONCE = 32
# An answer takes some tenths of a second and an object needs two or three: this bounds the licenses of an
# account, at ten to twenty a second. Many more would be a burst that a provider may refuse.
_THREADS = 8
_ACCOUNTS = 16  # at a time
_SLOWEST = timedelta(minutes=15)
# Providers that read from copies may not find for minutes what they have just told us of.
_MISSES = 5
# How soon a provider that came back is noticed, at the latest.
_LONGEST_SILENCE = timedelta(minutes=1)


class _Desk:
    """What this process knows of an account: whether somebody asks there now, and until when nobody should.

    A provider that answers nothing is asked one question at a time, with pauses: hundreds of objects that are
    due would otherwise keep a provider down that is just coming up, or that has asked us to slow down.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.silences = 0
        self.closed_until: datetime | None = None

    def is_open(self, now: datetime) -> bool:
        return self.closed_until is None or now >= self.closed_until

    def answered(self) -> None:
        self.silences, self.closed_until = 0, None

    def silent(self, now: datetime, wished: timedelta) -> datetime:
        """Nothing was answered: until when nobody asks. `wished`: how long the provider wants that to be."""
        pause = min(timedelta(seconds=5 * 2 ** min(self.silences, 10)), _LONGEST_SILENCE)
        self.silences += 1
        self.closed_until = now + max(pause, wished)
        return self.closed_until


# By database and account, and gone with the database: an `id()` may soon be that of another object, which
# would then keep a silence that is not its own.
_desks: WeakKeyDictionary[Database, dict[str, _Desk]] = WeakKeyDictionary()


class _Answer(msgspec.Struct, frozen=True):
    """What came of asking for one object: arrivals, or why there are none. `is_others`: the object is not of
    the account that asked, but of one that is connected to it."""

    due: Due
    arrivals: tuple[Arrival, ...] = ()
    trouble: Exception | None = None
    is_others: bool = False


def run_due(context: Context) -> int:
    """Fetch what is due, of every account side by side. Returns how many objects were answered."""
    channels = _list_due(context)
    if not channels:
        return 0
    with ThreadPoolExecutor(min(len(channels), _ACCOUNTS), thread_name_prefix="refetching") as pool:
        return sum(pool.map(lambda one: _run_account(context.of(one.account.tenant_id), one), channels))


def owe_stranded(context: Context) -> None:
    """Have somebody look at what is due, in case that nobody does: a process may have ended in between."""
    if _list_due(context):
        with context.database.write() as connection:
            context.followups.refetch(connection, context.new_id("bat"))


def _run_account(context: Context, channel: Channel) -> int:
    """All that is due of one account. One thread at a time: a second one leaves it to the first."""
    desk = _desk(context, channel)
    done = 0
    while _is_due(context, channel) and desk.lock.acquire(blocking=False):
        try:
            answered, goes_on = _turn(context, channel, desk)
        finally:
            desk.lock.release()
        done += answered
        if not goes_on:
            break
    return done


def _list_due(context: Context) -> list[Channel]:
    """The accounts of all tenants where something is due that can be asked for now."""
    with context.database.read() as connection:
        accounts = refetches.accounts_due(connection, context.clock.now())
    found = [channel for one in accounts if (channel := context.find_channel(one)) is not None]
    return [one for one in found if one.api is not None and _desk(context, one).is_open(context.clock.now())]


def _desk(context: Context, channel: Channel) -> _Desk:
    return _desks.setdefault(context.database, {}).setdefault(channel.account.id, _Desk())


def _is_due(context: Context, channel: Channel) -> bool:
    if channel.api is None or not _desk(context, channel).is_open(context.clock.now()):
        return False
    with context.database.read() as connection:
        return refetches.is_due(connection, channel.account.id, context.clock.now())


def _turn(context: Context, channel: Channel, desk: _Desk) -> tuple[int, bool]:
    """Ask for a handful of objects, and take in what was answered: how many, and whether to go on."""
    many = 1 if desk.silences else _AT_ONCE
    with context.database.read() as connection:
        due = refetches.list_due(connection, channel.account.id, context.clock.now(), many)
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="refetch") as pool:
        answers = list(pool.map(lambda one: _ask(context, channel, one), due))
    good = [answer for answer in answers if answer.trouble is None]
    _take(context, channel, good)
    silent = [answer for answer in answers if isinstance(answer.trouble, ProviderUnavailable | Misconfigured)]
    for answer in answers:
        if answer.trouble is not None and answer not in silent:
            _give_up(context, channel, answer)
    if len(silent) < len(answers):
        desk.answered()
    if silent:
        _wait(context, channel, silent, desk if len(silent) == len(answers) else None)
    return len(good), bool(due) and desk.silences == 0


def _ask(context: Context, channel: Channel, due: Due) -> _Answer:
    api = channel.api
    if api is None:
        return _Answer(due, trouble=ProviderUnavailable("There is no key to ask with."))
    try:
        now, raws = context.clock.now(), api.fetch(due.wanted)
        owner = owner_of_answer(context, channel, raws)
        reader = channel if owner is None else owner.channel
        # Of one that was shredded nobody is told.
        arrivals = () if reader is None else tuple(arrive(reader, raw, now, fetched=True) for raw in raws)
    except Exception as error:  # noqa: BLE001  # whatever it was, the other objects must have their turn
        return _Answer(due, trouble=error)
    unread = next((arrival.error for arrival in arrivals if arrival.error is not None), None)
    trouble = None if unread is None else Unreadable(unread)
    return _Answer(due, arrivals, trouble, is_others=owner is not None)


def _take(context: Context, channel: Channel, answers: Sequence[_Answer]) -> None:
    """Take the answers in, and settle the events that waited for them, all together.

    Two transactions: a kill between them asks once more, and the second answer changes nothing.
    """
    if not answers:
        return
    telling = [a for answer in answers for a in answer.arrivals if a.reading is not None]
    failed = [o for o in take_in(context, telling) if isinstance(o, Exception)] if telling else []
    if failed:
        raise failed[0]
    now = context.clock.now()
    with context.database.write() as connection:
        # What was asked for again in the meantime is left out: the next answer settles those that wait.
        done = refetches.strike_off(connection, channel.account.id, [answer.due for answer in answers])
        others = {answer.due.wanted for answer in answers if answer.is_others}.intersection(done)
        _disown(connection, channel, sorted(others))
        mine = [one for one in done if one not in others]
        if mine:
            answer_waiting(context, connection, channel.account, waits_of(mine), now)


def _disown(connection: sa.Connection, channel: Channel, others: Sequence[Refetch]) -> None:
    """What had us ask for a connected account's objects came before their payment said whose they are: it is
    noted without its body, as what comes after that."""
    waiting = inbox.waiting_for(connection, channel.account.id, waits_of(others))
    inbox.stop_waiting(connection, waiting)
    noted = {"status": "ignored", "reason": "WRONG_ACCOUNT", "body": "{}"}
    inbox.settle(connection, [{"id": id_, **noted} for id_ in waiting])


def _wait(context: Context, channel: Channel, silent: Sequence[_Answer], desk: _Desk | None) -> None:
    """No answer: later, and never given up. The events are kept, and the provider will be back.

    With a `desk` nothing at all was answered, so the account is left alone; else it is these objects that the
    provider does not answer for, and each waits longer every time.
    """
    error, now = _name(silent[0]), context.clock.now()
    wished = timedelta(seconds=max(_asked_for(answer) for answer in silent))
    if desk is not None:
        due = desk.silent(now, wished)
    else:
        attempts = max(answer.due.attempts for answer in silent)
        due = now + max(min(timedelta(seconds=5 * 2 ** min(attempts, 10)), _SLOWEST), wished)
    with context.database.write() as connection:
        refetches.later(connection, channel.account.id, [a.due for a in silent], due, error)
    log.warning("provider_silent", provider=channel.account.provider, objects=len(silent), error=error)


def _asked_for(answer: _Answer) -> int:
    """For how many seconds the provider wants to be left alone, as far as it says."""
    told = answer.trouble.retry_after if isinstance(answer.trouble, KeywrightError) else None
    return min(told or 0, int(_SLOWEST.total_seconds()))


def _give_up(context: Context, channel: Channel, answer: _Answer) -> None:
    """The provider knows no such object, or its answer cannot be taken in: a few more tries, then staff."""
    due, account = answer.due, channel.account
    missing = isinstance(answer.trouble, NotFound | Invalid)
    error, now = _name(answer), context.clock.now()
    last = due.attempts + 1 >= (_MISSES if missing else context.policy.attempts)
    with context.database.write() as connection:
        if not last:
            pause = timedelta(seconds=15 * 2**due.attempts)
            refetches.later(connection, account.id, [due], now + pause, error)
            return
        if not refetches.answered(connection, account.id, due):
            return
        waiting = inbox.waiting_for(connection, account.id, waits_of([due.wanted]))
        inbox.stop_waiting(connection, waiting)
        status, reason = ("ignored", "NOT_CONFIRMED") if missing else ("dead", "FAILED")
        inbox.settle(
            connection, [{"id": i, "status": status, "reason": reason, "error": error} for i in waiting]
        )
        for id_ in waiting if not missing else ():
            alarms.raise_alarm(context, connection, "dead_letter", id_, {"object": due.wanted.kind})
    log.error("refetch_given_up", provider=account.provider, kind=due.wanted.kind, error=error)


def _name(answer: _Answer) -> str:
    return name_of(answer.trouble) if isinstance(answer.trouble, Exception) else KeywrightError.code
