"""What the sold software asks: may I run here? `activating.py` admits machines. The key is the credential."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Literal

import msgspec

from keywright.domain import activation as rules
from keywright.domain import fingerprint, hmac_key, license_key, license_token, machine, seat
from keywright.domain.activation import Activation
from keywright.domain.errors import Invalid
from keywright.domain.license import seats_at, status
from keywright.domain.plan import FOREVER
from keywright.domain.verdict import DETAIL, Code, Question, is_valid, judge, offline_until
from keywright.flows import firm_keys
from keywright.flows.context import Context
from keywright.flows.license_writes import can_record, is_as_written, record
from keywright.store import activations, licenses, machines
from keywright.store.licenses import Found
from keywright.store.machines import Known

Match = Literal["exact", "close"]


class Ask(msgspec.Struct, frozen=True):
    """A request of the sold software. Unknown members are ignored: shipped programs outlive servers."""

    key: str
    fingerprint: str | None = None
    signals: dict[str, str] | None = None
    name: str | None = None
    product: str | None = None
    entitlements: tuple[str, ...] = ()
    nonce: str | None = None
    version: str | None = None
    checkout_days: int | None = None


class LicenseShown(msgspec.Struct, frozen=True):
    id: str
    product: str
    plan: str
    status: str
    seats: int
    entitlements: tuple[str, ...]
    limits: dict[str, int]
    entitled_until: datetime | None
    grace_until: datetime | None
    offline_until: datetime | None
    trial: bool
    canceling: bool


class ActivationShown(msgspec.Struct, frozen=True):
    id: str
    name: str | None
    activated_at: datetime
    match: Match = "exact"


class Verdict(msgspec.Struct, frozen=True):
    """The answer. Never holds the key, the customer's name, e-mail or metadata."""

    valid: bool
    code: Code
    detail: str
    next_action: str
    cache_until: datetime | None
    server_time: datetime
    nonce: str | None
    license: LicenseShown | None
    activation: ActivationShown | None
    lease: str | None


_LONGEST_NONCE = 128
_LONGEST_NAME = 200
_LONGEST_CHECKOUT = 36_500  # days
_CACHE_FOR = timedelta(minutes=10)
_KEY_IS_OVER = "This HMAC key is over. If its license was renewed, a newer key was mailed: put that in."


class Asked(msgspec.Struct, frozen=True):
    """A request, checked, with the hashes that find its rows. `key_hash` None: no such key can exist.

    `also`: what else the key may be looked up by, if sellers' own keys can be read in several ways, or it is
    an HMAC key: `settle`. `altered`: what leads from that to its license was; `over`: the key has come to its
    end, whatever became of the license.
    """

    ask: Ask
    key_hash: str | None
    fingerprint_hash: str | None
    also: tuple[str, ...] = ()
    signals: machine.Signals | None = None
    hmac: hmac_key.Presented | None = None
    altered: bool = False
    over: bool = False


def check(context: Context, ask: Ask, *, fingerprint_needed: bool) -> Asked:
    """Refuse what cannot be meant. A key with a wrong check character never reaches the database."""
    if fingerprint_needed and ask.fingerprint is None:
        raise Invalid("`fingerprint` is needed here.", code="FINGERPRINT_NEEDED")
    if ask.fingerprint is not None and not fingerprint.check(ask.fingerprint):
        detail = "`fingerprint` must be 8 to 256 printable ASCII characters."
        raise Invalid(detail, code="FINGERPRINT_INVALID")
    if ask.nonce is not None and not 0 < len(ask.nonce) <= _LONGEST_NONCE:
        raise Invalid("`nonce` must be 1 to 128 characters.", code="NONCE_INVALID")
    if ask.name is not None and (len(ask.name) > _LONGEST_NAME or not ask.name.isprintable()):
        raise Invalid("`name` must be at most 200 printable characters.", code="NAME_INVALID")
    if ask.checkout_days is not None and not 0 < ask.checkout_days <= _LONGEST_CHECKOUT:
        raise Invalid("`checkout_days` must be 1 or more.", code="CHECKOUT_INVALID")
    canonical = license_key.canonical(ask.key)
    firm_key = hmac_key.read(ask.key) if canonical is None else None
    if firm_key is not None:
        return _check_firm_key(context, ask, firm_key)
    # A key of ours asks nobody else; and where no other keys are held, nothing else can be a key.
    forms = (canonical,) if canonical is not None else context.schemes.forms(ask.key)
    vault = context.vault
    hashes = tuple([vault.blind("license-key-lookup", form) for form in forms])
    return Asked(
        ask,
        hashes[0] if hashes else None,
        vault.blind("fingerprint", ask.fingerprint) if ask.fingerprint is not None else None,
        hashes[1:],
        machine.read(ask.signals) if ask.signals else None,
    )


def _check_firm_key(context: Context, ask: Ask, firm_key: hmac_key.Presented) -> Asked:
    hashed = firm_keys.hash_of(context, firm_key)
    return Asked(
        ask,
        hashed,
        context.vault.blind("fingerprint", ask.fingerprint) if ask.fingerprint is not None else None,
        (hashed,),
        machine.read(ask.signals) if ask.signals else None,
        firm_key,
    )


def settle(context: Context, asked: Asked) -> Asked:
    """The request with the hash that is known, where a text may be a key of several schemes. One read."""
    if asked.hmac is not None:
        with context.database.read() as connection:
            told = firm_keys.look_up(context, connection, asked.hmac)
        return msgspec.structs.replace(
            asked, key_hash=told.license_key_hash, also=(), altered=told.altered, over=told.over
        )
    hashes = [asked.key_hash, *asked.also] if asked.key_hash is not None else []
    with context.database.read() as connection:
        known = licenses.first_known(connection, hashes)
    return msgspec.structs.replace(asked, key_hash=known or asked.key_hash, also=())


def only_of(context: Context, asked: Asked) -> Asked:
    """The request, where the key is one of this context's tenant; else the request with no key. One read."""
    if asked.key_hash is None:
        return asked
    with context.database.read() as connection:
        is_his = licenses.is_key_of(connection, context.tenant.id, asked.key_hash)
    return asked if is_his else msgspec.structs.replace(asked, key_hash=None, also=())


class Bookkeeping:
    """What is gathered here and written later: last-seen times, renewed leases, changed signals.

    None of it decides an answer.
    """

    def __init__(self) -> None:
        self._seen: dict[str, datetime] = {}
        self._known: dict[str, Known] = {}
        self._leases: dict[str, activations.Lease] = {}

    def saw(self, activation: str, now: datetime) -> None:
        self._seen[activation] = now

    def noticed(self, known: Known) -> None:
        self._known[known.activation_id] = known

    def renewed(self, lease: activations.Lease) -> None:
        self._leases[lease.activation_id] = lease

    def write(self, context: Context) -> int:
        """Write what was gathered, in one transaction. Returns how many rows."""
        seen, self._seen = self._seen, {}
        leases, self._leases = self._leases, {}
        known, self._known = self._known, {}
        if not seen and not leases:
            return 0
        with context.database.write() as connection:
            activations.seen(connection, list(seen.items()))
            activations.renew_leases(connection, list(leases.values()))
            machines.keep(connection, list(known.values()))
        return len(seen) + len(leases)


def validate(context: Context, books: Bookkeeping, asked: Asked) -> Verdict:
    """May it run here? One query, no write."""
    if asked.key_hash is None:
        return not_found(context, asked)
    found = licenses.look_up(context.database, asked.key_hash, asked.fingerprint_hash)
    return answer(context, books, asked, found)


def validate_many(
    context: Context, books: Bookkeeping, several: Sequence[Asked]
) -> list[Verdict | Exception]:
    """The same for many questions in one round trip."""
    questions = {(a.key_hash, a.fingerprint_hash) for a in several if a.key_hash is not None}
    with context.database.read() as connection:
        found = licenses.find_many_for_verdict(connection, sorted(questions, key=str))
    return [answer(context, books, a, found.get((a.key_hash or "", a.fingerprint_hash))) for a in several]


def answer(context: Context, books: Bookkeeping, asked: Asked, found: Found | None) -> Verdict:
    """The verdict on what was found, with a lease when it is valid on an activated machine.

    Without a lease, all the same, when that would outlive the seat as it is written: see `wants_writer`.
    """
    if found is None:
        return not_found(context, asked)
    now, due = context.clock.now(), False
    if found.activation is not None and found.plan.terms.floating:
        found = present(found, now)
        due = found.activation is not None and seat.is_due(found.license, found.plan, found.activation, now)
    code = judge_asked(context, asked, found, now)
    lease = None
    if found.activation is not None and is_valid(code):
        if not due:
            lease = _usable_lease(context, asked, found, code, now)
        if lease is None and not due:
            lease, kept = new_lease(context, asked, found, found.activation, code, now)
            if kept is not None:
                books.renewed(kept)
        seen = found.activation.last_seen_at
        # Nobody asks for the minute a machine was last seen in, and each write costs as much as the answer.
        if seen is None or now - seen >= seat.SEEN_AGAIN_AFTER:
            books.saw(found.activation.id, now)
            if asked.signals is not None:
                shown = blinded(context, found, asked.signals)
                books.noticed(known_as(found.activation, shown))
    return verdict_of(asked, found, code, found.activation, lease, now)


def wants_writer(asked: Asked, verdict: Verdict) -> bool:
    """Whether a validation that ended in this verdict, without a lease, is for `activating.keep_many`.

    A floating seat must be held longer before a longer lease is given out; and a machine that is not known
    by its fingerprint may be known by its signals.
    """
    return verdict.activation is not None if verdict.valid else _is_stranger(asked, verdict)


def _is_stranger(asked: Asked, verdict: Verdict) -> bool:
    return verdict.code == "NOT_ACTIVATED" and asked.signals is not None


def present(found: Found, now: datetime) -> Found:
    """What was found, without a machine whose floating seat has returned by itself."""
    if found.activation is None or not seat.is_lapsed(found.activation, found.plan, now):
        return found
    return msgspec.structs.replace(found, activation=None)


def blinded(context: Context, found: Found, signals: machine.Signals) -> machine.Signals:
    """Signals as they are stored: under a keyed hash for this tenant and product, the kind in plain words."""
    place = f"{found.license.tenant_id}\n{found.license.product_id}\n"
    return {
        name: value if name == machine.KIND else context.vault.blind("signal", f"{place}{name}\n{value}")
        for name, value in signals.items()
    }


def known_as(bound: Activation, shown: machine.Signals) -> Known:
    return Known(bound.id, bound.tenant_id, bound.license_id, shown)


def judge_asked(context: Context, asked: Asked, found: Found, now: datetime) -> Code:
    """The verdict code on what was found, for this question."""
    held = found.license
    question = Question(
        fingerprinted=asked.fingerprint_hash is not None,
        product=asked.ask.product,
        entitlements=asked.ask.entitlements,
        over=asked.over,
    )
    intact = is_as_written(context, held) and not asked.altered
    code, _ = judge(held, found.plan, found.product, found.activation, question, now, intact=intact)
    return code


def deactivate(context: Context, asked: Asked) -> tuple[Verdict, str | None]:
    """Free the machine, in every status. Returns the verdict, and a code when it was refused."""
    if asked.key_hash is None:
        return not_found(context, asked), "NOT_FOUND"
    with context.database.write() as connection:
        found = licenses.lock(connection, asked.key_hash, asked.fingerprint_hash)
        if found is None:
            return not_found(context, asked), "NOT_FOUND"
        now = context.clock.now()
        found = present(found, now)
        if found.activation is None:
            return verdict_of(asked, found, "NOT_ACTIVATED", None, None, now), "NOT_ACTIVATED"
        is_move = seat.is_move(found.activation, found.plan, now)
        since = now - timedelta(seconds=found.plan.terms.moves_period)
        released = activations.count_released(connection, found.license.id, since) if is_move else 0
        if is_move and not rules.may_release(found.plan, released=released):
            refused = verdict_of(asked, found, "MOVES_EXHAUSTED", found.activation, None, now)
            return refused, "MOVES_EXHAUSTED"
        ending: activations.Ending | None = None if is_move else "returned"
        activations.release_many(connection, [found.activation.id], now, by=ending)
        held, detail = found.license, {"activation": found.activation.id}
        if can_record(context, held):
            record(context, connection, held, held, "activation.released", detail=detail, now=now)
        freed = msgspec.structs.replace(found, activation=None)
        code = judge_asked(context, asked, freed, now)
        return verdict_of(asked, freed, code, None, None, now), None


def not_found(context: Context, asked: Asked) -> Verdict:
    action, detail = DETAIL["NOT_FOUND"]
    now = context.clock.now()
    return Verdict(False, "NOT_FOUND", detail, action, None, now, asked.ask.nonce, None, None, None)


def _usable_lease(context: Context, asked: Asked, found: Found, code: Code, now: datetime) -> str | None:
    """The stored lease, while half its life is left and it says what is true now; None for a fresh one."""
    held = found.activation
    if asked.ask.nonce is not None or held is None or held.lease is None or held.lease_until is None:
        return None
    mark = lease_mark(context, found, code, held.lease)
    if mark != held.lease_mark or now >= held.lease_until:
        return None
    # Keys may have been rotated, and one revoked, between the signature and the mark.
    active = context.signer.active_key(held.tenant_id, "lease+jwt")
    return held.lease if license_token.key_id(held.lease) == active else None


def lease_mark(context: Context, found: Found, code: Code, lease: str) -> str:
    """What a stored lease rests on, under the tenant's row key: the signing key, the license as sealed, the
    plan's version, the machine, its check-out, the verdict, and the lease as we wrote it. HMAC-SHA256 cut to
    128 bits, hex."""
    tenant, bound = found.license.tenant_id, found.activation
    kid = context.signer.active_key(tenant, "lease+jwt")
    on = f"{bound.fingerprint_hash}:{bound.out_until or ''}" if bound is not None else ":"
    text = f"lease-mark/2:{kid}:{found.license.mac}:{found.plan.version}:{on}:{code}:{lease}"
    return hmac.digest(context.vault.row_key(tenant), text.encode(), "sha256")[:16].hex()


def _reuse_until(found: Found, bound: Activation, now: datetime) -> datetime:
    """Until when a stored lease is handed out again: half its life."""
    until = _lease_end(found, bound, now) or now
    half, step = now + (until - now) / 2, found.license.seats_after_at
    # Never across a step: a lease says how many seats there are.
    return min(half, step) if step is not None and step > now else half


def _lease_end(found: Found, bound: Activation | None, now: datetime) -> datetime | None:
    """When a lease for this machine that begins now ends; None when it may not run now."""
    held, plan = found.license, found.plan
    if bound is None or not (plan.terms.floating or bound.out_until is not None):
        return offline_until(held, plan, now)
    until = seat.lease_end(held, plan, bound, now)
    return until if until > now else None


def new_lease(
    context: Context, asked: Asked, found: Found, bound: Activation, code: Code, now: datetime
) -> tuple[str, activations.Lease | None]:
    """A fresh lease, and what to keep of it.

    A lease that answers a nonce is for whoever asked, once: neither it nor the nonce is kept.
    """
    lease = _fresh_lease(context, asked, found, bound, code, now)
    if asked.ask.nonce is not None:
        return lease, None
    mark = lease_mark(context, found, code, lease)
    kept = activations.Lease(bound.id, lease, _reuse_until(found, bound, now), mark)
    return lease, kept


def _fresh_lease(
    context: Context, asked: Asked, found: Found, bound: Activation, code: Code, now: datetime
) -> str:
    held, plan = found.license, found.plan
    second = int(now.timestamp())
    until = _lease_end(found, bound, now) or now
    claims = license_token.lease_claims(
        iss=context.issuer(held.tenant_id),
        sub=held.id,
        aud=found.product,
        iat=second,
        nbf=second,
        exp=int(until.timestamp()),
        jti=context.new_id("lse"),
        plan=plan.slug,
        seats=seats_at(held, now),
        entitlements=plan.terms.entitlements,
        limits=plan.terms.limits,
        status="grace" if code == "GRACE" else "active",
        firm=held.firm,
        mid=fingerprint.mid(found.product, asked.ask.fingerprint or ""),
        lexp=int(until.timestamp()),
        srv=second,
        # Rises with time for one activation, whichever server signs.
        seq=int(now.timestamp() * 1000),
        nonce=asked.ask.nonce,
        code=code,
        entitled_until=_second(held.entitled_until),
        grace_until=_second(held.grace_until),
        out=True if seat.is_out(bound, now) else None,
    )
    return context.signer.sign(bound.tenant_id, "lease+jwt", claims)


def _second(clock: datetime | None) -> int | None:
    return None if clock is None or clock == FOREVER else int(clock.timestamp())


def verdict_of(
    asked: Asked,
    found: Found,
    code: Code,
    bound: Activation | None,
    lease: str | None,
    now: datetime,
    match: Match = "exact",
) -> Verdict:
    """The answer that carries this code."""
    held = found.license
    action, detail = DETAIL[code]
    if asked.over and code == "EXPIRED":
        detail = _KEY_IS_OVER
    valid = is_valid(code)
    until = _lease_end(found, bound, now) if valid else None
    return Verdict(
        valid=valid,
        code=code,
        detail=detail,
        next_action=action,
        cache_until=min(now + _CACHE_FOR, until) if until is not None else None,
        server_time=now,
        nonce=asked.ask.nonce,
        license=_license_shown(found, until, now) if licenses.is_legible(held) else None,
        activation=_activation_shown(bound, match) if bound is not None else None,
        lease=lease,
    )


def _activation_shown(bound: Activation, match: Match) -> ActivationShown:
    return ActivationShown(bound.id, bound.name, bound.activated_at, match)


def _license_shown(found: Found, until: datetime | None, now: datetime) -> LicenseShown:
    held, plan = found.license, found.plan
    return LicenseShown(
        id=held.id,
        product=found.product,
        plan=plan.slug,
        status=status(held, now),
        seats=seats_at(held, now),
        entitlements=plan.terms.entitlements,
        limits=plan.terms.limits,
        entitled_until=shown(held.entitled_until),
        grace_until=shown(held.grace_until),
        offline_until=until,
        trial=held.trial,
        canceling=held.canceling,
    )


def shown(clock: datetime | None) -> datetime | None:
    """A clock as the API shows it: FOREVER is null."""
    return None if clock == FOREVER else clock
