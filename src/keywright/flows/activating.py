"""Binding licenses to machines: many at once, in one transaction, and never one too many.

Activations that arrive together are served together. Each by itself would wait for its own turn at the
writers' gate behind the intake's batches, and pay for its own commit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from keywright.domain import activation as rules
from keywright.domain import machine
from keywright.flows import licensing
from keywright.flows.admissions import Admissions, count_rebinds
from keywright.flows.context import Context
from keywright.flows.licensing import Asked, Verdict
from keywright.store import activations, licenses, machines

Q = TypeVar("Q")
_LAPSED_AT_ONCE = 500


def activate(context: Context, asked: Asked) -> Verdict:
    """Bind a license to a machine. Idempotent per license and fingerprint; the limit holds in any race.

    A machine that changed, but that its signals tell to be one that is bound, takes over its own place.

    Raises:
        Invalid: `CHECKOUT_REFUSED`, for days that the plan does not give.
    """
    (answer,) = activate_many(context, [asked])
    if isinstance(answer, Exception):
        raise answer
    return answer


def activate_many(context: Context, several: Sequence[Asked]) -> list[Verdict | Exception]:
    """The same for many at once. What fails is tried again one by one, so that it fails alone."""
    return _each(several, lambda some: _in_one_transaction(context, some, Admissions.activate))


def keep_many(context: Context, several: Sequence[tuple[Asked, Verdict]]) -> list[Verdict | Exception]:
    """Give validations that `licensing.wants_writer` their answer, each in place of the verdict it came with.

    Written is only where a seat is to be held longer or a machine was recognized: strangers cost a read.
    """
    answers: list[Verdict | Exception] = [verdict for _, verdict in several]
    known = _recognized(context, [asked for asked, verdict in several if not verdict.valid])
    wanted = [n for n, (asked, verdict) in enumerate(several) if verdict.valid or asked in known]
    if wanted:
        asked = [several[n][0] for n in wanted]
        kept = _each(asked, lambda some: _in_one_transaction(context, some, Admissions.keep))
        for n, answer in zip(wanted, kept, strict=True):
            answers[n] = answer
    return answers


def release_lapsed(context: Context) -> int:
    """Write that floating seats have returned, for whoever looks at lists. Returns how many had.

    No answer waits for this: each one knows by the clock which seats have ended.
    """
    now = context.clock.now()
    with context.database.read() as connection:
        ended = activations.list_ended(connection, now, _LAPSED_AT_ONCE)
    if not ended:
        return 0
    with context.database.write() as connection:
        found = licenses.lock_many(connection, sorted(ended))
        admissions = Admissions(context, connection, found, context.clock.now())
        for key_hash in found:
            admissions.sweep(key_hash)
        admissions.write()
    return sum(len(several) for several in ended.values())


def _each(
    several: Sequence[Q], serve: Callable[[Sequence[Q]], Sequence[Verdict | Exception]]
) -> list[Verdict | Exception]:
    try:
        return list(serve(several))
    except Exception as error:  # noqa: BLE001  # every caller must get an answer of its own
        if len(several) == 1:
            return [error]
    return [answer for one in several for answer in _each([one], serve)]


def _in_one_transaction(
    context: Context,
    several: Sequence[Asked],
    ask: Callable[[Admissions, Asked], Verdict | Exception],
) -> list[Verdict | Exception]:
    keys = sorted({asked.key_hash for asked in several if asked.key_hash is not None})
    if not keys:
        return [licensing.not_found(context, asked) for asked in several]
    with context.database.write() as connection:
        found = licenses.lock_many(connection, keys)
        admissions = Admissions(context, connection, found, context.clock.now())
        admissions.prepare(several)
        answers = [ask(admissions, asked) for asked in several]
        admissions.write()
        return answers


def _recognized(context: Context, strangers: Sequence[Asked]) -> list[Asked]:
    """Those whose signals are like those of a machine that is bound, and whose license may follow it."""
    if not strangers:
        return []
    keys = sorted({asked.key_hash for asked in strangers if asked.key_hash is not None})
    with context.database.read() as connection:
        found = licenses.find_many_for_verdict(connection, [(key, None) for key in keys])
        shown = []
        for asked in strangers:
            one = found.get((asked.key_hash or "", None))
            if one is not None and asked.signals:
                shown.append((asked, one, licensing.blinded(context, one, asked.signals)))
        alike = machines.list_alike(connection, [(one.license.id, signals) for _, one, signals in shown])
        several = [one for _, one, _ in shown if one.license.id in alike]
        rebound = count_rebinds(connection, several, context.clock.now())
    return [
        asked
        for asked, one, signals in shown
        if machine.closest(signals, alike.get(one.license.id, ())) is not None
        and rules.may_rebind(one.plan, rebound=rebound.get(one.license.id, 0))
    ]
