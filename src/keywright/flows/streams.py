"""Live streams: what a running program is told, and what is looked at to tell it.

A stream is about a license, by its key, or about a checkout, by its claim: then it tells how the payment
stands, brings the license when it is there, and goes on with its verdicts. Here is one look at many streams
at once; who looks, and when, is in `web/streams.py`.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final, Literal

import msgspec

from keywright.domain.license import next_change
from keywright.flows import activating, checkout, licensing
from keywright.flows.checkout import Standing
from keywright.flows.context import Context
from keywright.flows.licensing import Ask, Asked, Bookkeeping, Verdict
from keywright.store import checkouts, licenses
from keywright.store.checkouts import Checkout
from keywright.store.engine import is_away
from keywright.store.licenses import Found

Over = Literal["key", "claim", "expired"]
"""Why a stream has nothing more to tell: its key is no license's any more; the time in which a claim shows
keys is over; the checkout ran out unpaid."""

_MARK: Final = 12  # bytes
_encode: Final = msgspec.json.Encoder().encode
_UNTOLD: Final = ("server_time", "cache_until", "lease", "nonce")


class Subject(msgspec.Struct, frozen=True):
    """What a stream is about: a key, or the reference of a checkout whose claim was shown.

    `ask` is the question each verdict answers; its key is empty where a claim brings it. `tenant`: whose
    checkout it is.
    """

    ask: Ask
    asked: Asked | None = None
    reference: str | None = None
    tenant: str = ""


class Glimpse(msgspec.Struct, frozen=True):
    """What there is to tell a stream now.

    `claim_mark` and `verdict_mark` are equal as long as nothing changed but the time. `topics`: whose changes
    wake the stream. `due`: when time alone makes something new, on the context's clock; `renews`: that it is
    a lease. `key_hash`: the key that the verdict is about.
    """

    verdict: Verdict | None = None
    standing: Standing | None = None
    verdict_mark: str = ""
    claim_mark: str = ""
    topics: frozenset[str] = frozenset()
    due: datetime | None = None
    renews: bool = False
    over: Over | None = None
    key_hash: str | None = None


def by_key(context: Context, ask: Ask) -> Subject:
    """A stream for a license key. Raises Invalid for what cannot be meant, as `validate` does."""
    return Subject(ask, _checked(context, ask))


def by_claim(context: Context, claim_token: str, ask: Ask, reference: str | None = None) -> Subject | None:
    """A stream for the holder of a claim token; None when it is none, or not of that checkout."""
    licensing.check(context, ask, fingerprint_needed=False)
    hashed = checkout.claim_hash_of(claim_token)
    with context.database.read() as connection:
        found = checkouts.find_by_claim(connection, context.tenant.id, hashed)
    if found is None or not checkout.is_claim_of(context, found.reference, claim_token):
        return None
    if reference is not None and not hmac.compare_digest(reference.encode(), found.reference.encode()):
        return None
    return Subject(ask, reference=found.reference, tenant=context.tenant.id)


def look_each(context: Context, books: Bookkeeping, subjects: Sequence[Subject]) -> list[Glimpse | Exception]:
    """As `look`. What cannot be told to one stream is kept from no other, which may be of another tenant: the
    key of one that is being shredded does not open. Raises where the database is away."""
    try:
        return list(look(context, books, subjects))
    except Exception as error:
        if is_away(error):
            raise
        if len(subjects) == 1:
            return [error]
    return [seen for one in subjects for seen in look_each(context, books, [one])]


def look(context: Context, books: Bookkeeping, subjects: Sequence[Subject]) -> list[Glimpse]:
    """What there is to tell each of these streams now; licenses and checkouts are read in one query each."""
    now = context.clock.now()
    claimed = _claims(context, subjects, now)
    asked = [_asked(context, subject, claimed) for subject in subjects]
    questions = {(a.key_hash, a.fingerprint_hash) for a in asked if a is not None and a.key_hash is not None}
    found: dict[tuple[str, str | None], Found] = {}
    if questions:
        with context.database.read() as connection:
            found = licenses.find_many_for_verdict(connection, sorted(questions, key=str))
    verdicts = _verdicts(context, books, asked, found)
    glimpses = []
    for subject, one, verdict in zip(subjects, asked, verdicts, strict=True):
        glimpse = _of_claim(context, claimed[subject.reference], now) if subject.reference else Glimpse()
        if one is not None and verdict is not None:
            seen = found.get((one.key_hash or "", one.fingerprint_hash))
            glimpse = _with_verdict(glimpse, verdict, seen, now)
        glimpses.append(glimpse)
    return glimpses


def _verdicts(
    context: Context,
    books: Bookkeeping,
    several: Sequence[Asked | None],
    found: Mapping[tuple[str, str | None], Found],
) -> list[Verdict | None]:
    """The answers of `validate`: a stream is a sign of life, and holds a floating seat as that does."""
    verdicts = [
        licensing.answer(context, books, one, found.get((one.key_hash or "", one.fingerprint_hash)))
        if one is not None
        else None
        for one in several
    ]
    wanting = [
        (number, (one, verdict))
        for number, (one, verdict) in enumerate(zip(several, verdicts, strict=True))
        if one is not None and verdict is not None and verdict.lease is None
        if licensing.wants_writer(one, verdict)
    ]
    kept = activating.keep_many(context, [pair for _, pair in wanting]) if wanting else []
    for (number, _), answer in zip(wanting, kept, strict=True):
        # Where a seat could not be held longer, there is no lease this time; the neighbors get theirs.
        if not isinstance(answer, Exception):
            verdicts[number] = answer
    return verdicts


class _Claimed(msgspec.Struct, frozen=True):
    row: Checkout | None
    standing: Standing


def _claims(context: Context, subjects: Sequence[Subject], now: datetime) -> dict[str, _Claimed]:
    """How the checkouts stand, by reference. One query for each tenant: streams of several are looked at
    together."""
    wanted: dict[str, set[str]] = {}
    for one in subjects:
        if one.reference is not None:
            wanted.setdefault(one.tenant, set()).add(one.reference)
    if not wanted:
        return {}
    rows: dict[str, Checkout] = {}
    with context.database.read() as connection:
        for tenant, references in wanted.items():
            rows.update(checkouts.find_many(connection, tenant, sorted(references)))
    return {
        reference: _Claimed(
            row,
            checkout.standing_of(context, row, now) if row is not None else Standing(reference, "expired"),
        )
        for references in wanted.values()
        for reference in references
        for row in (rows.get(reference),)
    }


def _asked(context: Context, subject: Subject, claimed: dict[str, _Claimed]) -> Asked | None:
    """The question for the verdict; None while a claim has brought no license yet."""
    if subject.reference is None:
        return subject.asked
    shown = claimed[subject.reference].standing.licenses
    if not shown:
        return None
    # The first one: it is the license that a device named at checkout is activated on.
    return _checked(context, msgspec.structs.replace(subject.ask, key=shown[0].key))


def _checked(context: Context, ask: Ask) -> Asked:
    asked = licensing.check(context, ask, fingerprint_needed=False)
    return licensing.settle(context, asked) if asked.also else asked


def _of_claim(context: Context, claimed: _Claimed, now: datetime) -> Glimpse:
    row, standing = claimed.row, claimed.standing
    if not standing.licenses:
        standing = Standing(standing.reference, standing.status)
    if row is None:
        return Glimpse(standing=standing, claim_mark=_claim_mark(standing), over="expired")
    due: datetime | None = None
    over: Over | None = None
    if row.settled_at is not None:
        end = row.settled_at + context.policy.claim_for
        due, over = end, "claim" if now >= end else None
    elif standing.status in ("open", "expired"):
        due, over = row.expires_at, "expired" if standing.status == "expired" else None
    return Glimpse(
        standing=standing,
        claim_mark=_claim_mark(standing),
        topics=frozenset(filter(None, (row.reference, row.purchase_id))),
        due=due,
        over=over,
    )


def _with_verdict(glimpse: Glimpse, verdict: Verdict, found: Found | None, now: datetime) -> Glimpse:
    if found is None:
        return msgspec.structs.replace(
            glimpse, verdict=verdict, verdict_mark=_verdict_mark(verdict), over="key", key_hash=None
        )
    held = found.license
    moments = [glimpse.due, next_change(held, now)]
    if (
        verdict.lease is not None
        and verdict.license is not None
        and verdict.license.offline_until is not None
    ):
        # A program that only listens has its lease renewed in time, and keeps its seat.
        moments.append(now + (verdict.license.offline_until - now) / 2)
    due = min((moment for moment in moments if moment is not None), default=None)
    return msgspec.structs.replace(
        glimpse,
        verdict=verdict,
        verdict_mark=_verdict_mark(verdict),
        topics=glimpse.topics | {held.id, held.plan_id},
        due=due,
        renews=due is not None and due == _renewal(verdict, now),
        key_hash=held.key_hash,
    )


def _renewal(verdict: Verdict, now: datetime) -> datetime | None:
    """When a program that only listens is to have its lease renewed, so that it keeps its seat."""
    until = verdict.license.offline_until if verdict.license is not None else None
    return now + (until - now) / 2 if verdict.lease is not None and until is not None else None


def _claim_mark(standing: Standing) -> str:
    """Equal as long as the payment stands the same and the keys are the same: the verdict tells the rest."""
    held = [(one.id, one.key) for one in standing.licenses or ()]
    return _mark((standing.status, standing.licenses is None, held))


def _verdict_mark(verdict: Verdict) -> str:
    """Equal for verdicts that say the same, though at other times."""
    shown = verdict.license
    if shown is not None:
        shown = msgspec.structs.replace(shown, offline_until=None)
    told = {name: getattr(verdict, name) for name in verdict.__struct_fields__ if name not in _UNTOLD}
    return _mark({**told, "license": shown})


def _mark(value: object) -> str:
    return hashlib.sha256(_encode(value)).digest()[:_MARK].hex()
