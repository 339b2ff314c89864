"""What holds without the server: a pure function of the state, the machine and a clock.

The rules of the clock: the time is never before the highest time that was seen, less an hour. Behind that
the clock was set back, and one answer of the server heals it. More than a day before the license was issued
nothing heals but a right clock or the server's. A clock that runs ahead only ends the lease.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from . import tokens
from .result import REFUSALS, Baseline, Result, day, moment
from .state import State
from .trust import NOTHING_REVOKED, KeySet, Revocations, Trust

SET_BACK = 3600  # seconds before the mark that a clock may show
BEFORE_ISSUE = 86_400


@dataclass(frozen=True)
class Papers:
    """What the state holds, verified: only what the pinned keys signed for this product and machine is in
    here.

    Attributes:
        lease, file: their claims; empty for none.
        trouble: why a lease or a file that is there does not count: `other_machine`, `untrusted`.
        mark: the highest time in them.
        revoked: the newest revocation list.
    """

    lease: Mapping[str, Any] = field(default_factory=dict)
    file: Mapping[str, Any] = field(default_factory=dict)
    trouble: str = ""
    mark: int = 0
    key_set: KeySet | None = None
    revoked: Revocations = NOTHING_REVOKED


def papers_of(state: State, trust: Trust, product: str, mid: str, listed: Revocations) -> Papers:
    """Verify all that the state holds. Some hundred microseconds; the caller keeps the answer. Never raises.

    Args:
        state: the newest.
        trust: whom the program believes.
        product: the product's slug.
        mid: what a lease calls this machine.
        listed: the revocation list that counts.
    """
    key_set = known_key_set(state, trust)
    trouble = ""
    found: dict[str, Mapping[str, Any]] = {"lease": {}, "file": {}}
    for name, typ, text in (("lease", tokens.LEASE, state.lease), ("file", tokens.LICENSE, state.file)):
        if not text:
            continue
        keys = trust.keys_for(typ, key_set, listed.keys)
        try:
            claims = tokens.read(text, typ=typ, keys=keys, iss=trust.issuer, aud=product, require_exp=False)
        except tokens.TokenRefused:
            trouble = trouble or "untrusted"
            continue
        if claims.get("mid", mid) != mid:
            trouble = "other_machine"
            continue
        found[name] = claims
    times = [one.get(name, 0) for one in found.values() for name in ("iat", "srv")]
    return Papers(found["lease"], found["file"], trouble, max(times), key_set, listed)


def known_key_set(state: State, trust: Trust) -> KeySet | None:
    """The key set that was fetched; None when none was, or it does not verify, or is older than one that was
    seen."""
    if not state.key_set:
        return None
    try:
        found = trust.read_key_set(state.key_set)
    except tokens.TokenRefused:
        return None
    return found if found.seq >= state.key_set_seq else None


def true_time(now: int, state: State, papers: Papers) -> int | None:
    """The time that counts, from this machine's clock; None when the clock was set back.

    A clock that was wrong when the server was last asked is corrected by what the server said. When it has
    been put
    right since, the correction would be wrong: of both readings the earlier one that is possible counts.
    """
    mark = max(state.mark, papers.mark)
    possible = [time for time in (now, now + state.offset) if time >= mark - SET_BACK]
    return max(min(possible), 0) if possible else None


def judge(state: State, papers: Papers, now: int, baseline: Baseline, *, foreign: bool = False) -> Result:
    """What the program may do now, without asking anybody.

    Args:
        state: the newest.
        papers: `papers_of` that state.
        now: this machine's clock, unix seconds.
        baseline: what may be done without a license.
        foreign: the kept state is another machine's.
    """
    if state.refused:
        return refusal(state.refused, baseline)
    claims = _chosen(papers, now)
    if not claims:
        return _without(state, papers, baseline, foreign)
    if papers.revoked.names(claims):
        return refusal({"code": "REVOKED"}, baseline)
    time = true_time(now, state, papers)
    if time is None:
        before = max(now, now + state.offset) < claims["iat"] - BEFORE_ISSUE
        return _clock("before_issue" if before else "set_back", baseline)
    end = _end(claims)
    if end is not None and time >= end:
        if _is_over(claims, time):
            return _over(claims, baseline)
        return _too_long(state, claims, end, baseline)
    return _licensed(state, claims, time, end, papers)


def refusal(told: Mapping[str, Any], baseline: Baseline) -> Result:
    """The result of a verdict that says no."""
    code = str(told.get("code", ""))
    detail = str(told.get("detail") or "The seller's server refuses this license.")
    otherwise = ("refused", "refused", str(told.get("next_action") or "contact"), detail)
    state, reason, action, sentence = REFUSALS.get(code, otherwise)
    return _plain(state, reason, sentence, baseline, next_action=action, code=code or None, contact="refused")


def unlicensed(reason: str, sentence: str, baseline: Baseline, *, state: str = "unlicensed") -> Result:
    """A result that rests on the baseline."""
    action = {"no_license": "activate", "other_machine": "activate", "not_activated": "activate"}
    return _plain(state, reason, sentence, baseline, next_action=action.get(reason, "retry"))


def _chosen(papers: Papers, now: int) -> Mapping[str, Any]:
    """The lease, unless it is over and a file goes further."""
    if not papers.lease or not papers.file:
        return papers.lease or papers.file
    end = _end(papers.file)
    goes_further = end is None or end > papers.lease["lexp"]
    return papers.file if now >= papers.lease["lexp"] and goes_further else papers.lease


def _end(claims: Mapping[str, Any]) -> int | None:
    """The first moment at which these claims no longer hold without the server."""
    ends = [claims[name] for name in ("lexp", "exp") if name in claims]
    if "lexp" not in claims and type(claims.get("off")) is int:
        ends.append(claims["iat"] + claims["off"])
    return min(ends, default=None)


def _is_over(claims: Mapping[str, Any], time: int) -> bool:
    """Whether it was the license's own time that ended, as far as it was known, and not only the lease."""
    clocks = [claims.get(name) for name in ("entitled_until", "grace_until")]
    known = [clock for clock in clocks if type(clock) is int]
    return bool(known) and time >= max(known)


def _licensed(state: State, claims: Mapping[str, Any], time: int, end: int | None, papers: Papers) -> Result:
    entitled, grace = claims.get("entitled_until"), claims.get("grace_until")
    late = type(entitled) is int and type(grace) is int and entitled <= time < grace
    in_grace = late or "GRACE" in (claims.get("code"), str(claims.get("status", "")).upper())
    sentence = "Your license is valid."
    if in_grace:
        until = f" until {day(grace)}" if type(grace) is int else ""
        sentence = f"Your license has run out and keeps working{until}. Please renew it."
    return Result(
        state="grace" if in_grace else "valid",
        reason="grace" if in_grace else "licensed",
        message=sentence,
        code="GRACE" if in_grace else "VALID",
        next_action="renew" if in_grace else "continue",
        source="lease" if claims is papers.lease else "file",
        license_id=claims["sub"],
        plan=claims.get("plan"),
        seats=claims.get("seats"),
        firm=claims.get("firm"),
        entitlements=frozenset(claims.get("entitlements", ())),
        limits=dict(claims.get("limits", {})),
        entitled_until=moment(entitled),
        grace_until=moment(grace),
        offline_until=moment(end),
        trial=state.told.get("trial") is True,
        canceling=state.told.get("canceling") is True,
    )


def _without(state: State, papers: Papers, baseline: Baseline, foreign: bool) -> Result:
    if foreign or papers.trouble == "other_machine":
        sentence = "This license was activated on another computer. Activate it on this one to go on."
        return unlicensed("other_machine", sentence, baseline)
    if papers.trouble:
        sentence = (
            "The license on this computer cannot be verified. Connect to the internet once, or enter the key"
            " again."
        )
        return unlicensed("untrusted", sentence, baseline)
    if state.claim:
        return unlicensed("waiting_for_payment", "Waiting for the payment.", baseline, state="pending")
    if state.key:
        return unlicensed("not_activated", REFUSALS["NOT_ACTIVATED"][3], baseline)
    return unlicensed("no_license", "There is no license on this computer.", baseline)


def _clock(reason: str, baseline: Baseline) -> Result:
    sentence = (
        "This computer's clock shows an earlier time than it did before. Set the clock, or connect to the"
        " internet once."
    )
    if reason == "before_issue":
        sentence = "This computer's clock shows a time before the license was issued. Please set the clock."
    return _plain("clock", reason, sentence, baseline, next_action="connect")


def _over(claims: Mapping[str, Any], baseline: Baseline) -> Result:
    clocks = [claims.get(name) for name in ("entitled_until", "grace_until")]
    when = day(max(clock for clock in clocks if type(clock) is int))
    sentence = f"Your license ended on {when}. If it was renewed, connect to the internet once."
    return _plain("expired", "expired", sentence, baseline, next_action="renew")


def _too_long(state: State, claims: Mapping[str, Any], end: int, baseline: Baseline) -> Result:
    if "lexp" not in claims:
        sentence = f"The license file on this computer was good until {day(end)}. Please load a new one."
        return _plain("offline", "file_ended", sentence, baseline, next_action="contact")
    if state.away_since:
        sentence = (
            f"The license server has not been reached since {day(state.answered_at or claims['srv'])},"
            f" and your license allows to work without it until {day(end)}. Connect to the internet to go on."
        )
    else:
        sentence = (
            f"Your license allows to work offline until {day(end)}. Connect to the internet once to go on."
        )
    return _plain("offline", "offline_too_long", sentence, baseline, next_action="connect")


def _plain(
    state: str, reason: str, sentence: str, baseline: Baseline, *, next_action: str, **more: Any
) -> Result:
    return Result(
        state,
        reason,
        sentence,
        next_action=next_action,
        entitlements=baseline.entitlements,
        limits=dict(baseline.limits),
        **more,
    )
