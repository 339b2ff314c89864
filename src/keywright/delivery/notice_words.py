"""What each notice says: what happened, what to do, and which license it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Final

from keywright.delivery.sheet import Block, Sheet, facts, link, text
from keywright.delivery.speech import Speech
from keywright.delivery.wording import line
from keywright.domain.plan import FOREVER, NoticeKind
from keywright.ports import NoticeLetter


def sheet_of(speech: Speech, told: NoticeLetter) -> Sheet:
    """A notice. Only names from the seller's catalog, numbers and dates are filled in."""
    subject, heading, blocks = _WORDS[told.kind](speech, told, line(told.product))
    return Sheet(subject, heading, (*blocks, facts(_facts(speech, told))))


_Words = tuple[str, str, list[Block]]


def _facts(speech: Speech, told: NoticeLetter) -> list[tuple[str, str]]:
    say = speech.say
    return [
        (say("fact.product"), line(told.product)),
        (say("fact.plan"), line(told.plan)),
        (say("fact.seats"), str(told.seats)),
        (say("fact.key"), say("value.ends_in", key=told.key_last5)),
        (say("fact.valid"), _validity(speech, told)),
    ]


def _validity(speech: Speech, told: NoticeLetter) -> str:
    if told.entitled_until == FOREVER and told.works:
        return speech.say("value.unlimited")
    # What comes after the paid time is told only to those who need it.
    end = told.stops_at if told.kind in ("payment_failed", "grace_ending") else told.entitled_until
    if end is None or not told.works:
        return speech.say("value.not_valid")
    return speech.say("value.until", day=speech.moment(end))


def _payment_failed(speech: Speech, told: NoticeLetter, product: str) -> _Words:
    say, asked = speech.say, _money(speech, told.detail)
    failed = (
        say("payment_failed.failed_of", product=product, money=asked)
        if asked
        else say("payment_failed.failed", product=product)
    )
    effect = (
        say("payment_failed.works", until=_until(speech, told.stops_at))
        if told.works
        else say("payment_failed.stopped")
    )
    return (
        say("payment_failed.subject", product=product),
        say("payment_failed.heading", product=product),
        [
            text(failed),
            text(effect),
            text(say("payment_failed.todo")),
            link(say("action.payment"), told.manage_url),
        ],
    )


def _grace_ending(speech: Speech, told: NoticeLetter, product: str) -> _Words:
    say = speech.say
    return (
        _subject(speech, "grace_ending", told.stops_at, product),
        say("grace_ending.heading", product=product),
        [
            text(say("grace_ending.works", product=product, until=_until(speech, told.stops_at))),
            text(say("grace_ending.then")),
            link(say("action.payment"), told.manage_url),
        ],
    )


def _trial_ending(speech: Speech, told: NoticeLetter, product: str) -> _Words:
    say, until = speech.say, _until(speech, told.entitled_until)
    blocks = [
        text(say("trial_ending.paid", until=until)),
        text(say("trial_ending.todo")),
        link(say("action.subscription"), told.manage_url),
    ]
    if not told.becomes_paid:
        blocks = [
            text(say("trial_ending.free", until=until)),
            link(say("action.shop", product=product), told.shop_url),
        ]
    subject = _subject(speech, "trial_ending", told.entitled_until, product)
    return subject, say("trial_ending.heading", product=product), blocks


def _expired(speech: Speech, told: NoticeLetter, product: str) -> _Words:
    say = speech.say
    cause = told.cause if told.cause in ("trial", "canceled", "unpaid") else "over"
    happened = text(say(f"expired.{cause}", product=product))
    if cause == "unpaid":
        title = say("expired.stopped", product=product)
        blocks = [happened, text(say("expired.again")), link(say("action.payment"), told.manage_url)]
    else:
        title = say("expired.ended", product=product)
        shop = link(say("action.shop", product=product), told.shop_url)
        blocks = [happened, text(say("expired.welcome")), shop]
    return title, title, blocks


def _renewed(speech: Speech, told: NoticeLetter, product: str) -> _Words:
    say, paid = speech.say, _money(speech, told.detail)
    until = _until(speech, told.entitled_until)
    thanks = say("renewed.thanks_of", money=paid, until=until) if paid else say("renewed.thanks", until=until)
    title = say("renewed.subject", product=product)
    return title, title, [text(thanks), link(say("action.subscription"), told.manage_url)]


def _seats_changed(speech: Speech, told: NoticeLetter, product: str) -> _Words:
    say = speech.say
    before, seats = int(told.detail.get("before", told.seats)), int(told.detail.get("seats", told.seats))
    begins = told.detail.get("from")
    counted = speech.count("value.seats", seats)
    if begins is None:
        happened = say("seats_changed.now", product=product, seats=counted, before=before)
    else:
        day = speech.moment(datetime.fromtimestamp(int(begins), UTC))
        happened = speech.count("seats_changed.from", seats, day=day, product=product, before=before)
    after = say("seats_changed.fewer" if seats < before else "seats_changed.more")
    title = say("seats_changed.subject", product=product, seats=counted)
    return title, title, [text(happened), text(after), link(say("action.subscription"), told.manage_url)]


def _refunded(speech: Speech, told: NoticeLetter, product: str) -> _Words:
    say = speech.say
    before = int(told.detail.get("before", 0))
    back = int(told.detail.get("amount", 0)) - before
    currency = str(told.detail.get("currency", ""))
    money = speech.money(back, currency)
    happened = say("refunded.back", money=money, product=product)
    if before:
        total = speech.money(back + before, currency)
        happened = say("refunded.another", money=money, product=product, total=total)
    title = say("refunded.subject", product=product)
    effect = say("refunded.works" if told.works else "refunded.stopped")
    return title, title, [text(f"{happened} {say('refunded.arrives')}"), text(effect)]


_WORDS: Final[Mapping[NoticeKind, Callable[[Speech, NoticeLetter, str], _Words]]] = {
    "payment_failed": _payment_failed,
    "grace_ending": _grace_ending,
    "trial_ending": _trial_ending,
    "expired": _expired,
    "renewed": _renewed,
    "seats_changed": _seats_changed,
    "refunded": _refunded,
}


def _subject(speech: Speech, kind: str, end: datetime | None, product: str) -> str:
    if end is None or end == FOREVER:
        return speech.say(f"{kind}.subject_soon", product=product)
    return speech.say(f"{kind}.subject", product=product, day=speech.day(end))


def _until(speech: Speech, moment: datetime | None) -> str:
    if moment is None or moment == FOREVER:
        return speech.say("value.further_notice")
    return speech.moment(moment)


def _money(speech: Speech, detail: Mapping[str, str | int]) -> str:
    if "currency" not in detail or not int(detail.get("amount", 0)):
        return ""
    return speech.money(int(detail["amount"]), str(detail["currency"]))
