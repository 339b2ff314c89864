"""The papers of the state, verified, and the signed lists that say which of them still count."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from . import judging, license_file, tokens
from .asking import object_in
from .judging import Papers
from .result import Baseline
from .state import State, Store
from .trust import NOTHING_REVOKED, KeySet, Revocations, Trust
from .wire import LARGEST, LARGEST_LIST, Away, Wire

KEY_SET = "/.well-known/keywright-keys.jwt"
REVOKED = "/.well-known/keywright-revoked.jwt"
PLANS = "/api/public/plans"


class Lists:
    """Reads papers with what is known of keys and revocations, and fetches that anew."""

    def __init__(
        self,
        wire: Wire | None,
        store: Store,
        trust: Trust,
        product: str,
        mid: str,
        *,
        baseline: bool,
    ) -> None:
        """`baseline`: whether the server is asked what runs without a license."""
        self._wire, self._store, self._trust, self._product = wire, store, trust, product
        self._mid = mid
        self._asks_baseline = baseline
        self._revocations = NOTHING_REVOKED
        self._read: tuple[tuple[object, ...], Papers] | None = None

    # -- reading ----------------------------------------------------------------------------------------

    def papers(self, state: State) -> Papers:
        """What the state holds, verified. Only what changed is looked at again."""
        known = (state.lease, state.file, state.key_set, state.key_set_seq, state.revoked_seq)
        if self._read is None or self._read[0] != known:
            listed = self._listed(state)
            self._read = known, judging.papers_of(state, self._trust, self._product, self._mid, listed)
        return self._read[1]

    def read_lease(self, text: str, state: State) -> dict[str, Any]:
        """The claims of a lease that just came. Raises TokenRefused."""
        keys = self._keys(tokens.LEASE, state)
        return tokens.read(text, typ=tokens.LEASE, keys=keys, iss=self._trust.issuer, aud=self._product)

    def read_file(self, text: str, state: State) -> tuple[str, dict[str, Any]]:
        """The token in a license file, and its claims. Raises TokenRefused."""
        token = license_file.token_in(text)
        if token is None:
            raise tokens.TokenRefused("shape")
        keys = self._keys(tokens.LICENSE, state)
        claims = tokens.read(
            token, typ=tokens.LICENSE, keys=keys, iss=self._trust.issuer, aud=self._product, require_exp=False
        )
        return token, claims

    def _keys(self, typ: str, state: State) -> tokens.Keys:
        return self._trust.keys_for(typ, self._key_set(state), self._listed(state).keys)

    def _key_set(self, state: State) -> KeySet | None:
        return judging.known_key_set(state, self._trust)

    def _listed(self, state: State) -> Revocations:
        """The newest revocation list; none when the one that was seen is no longer there."""
        if self._revocations.seq < state.revoked_seq:
            for text in self._store.lists():
                self._take_revocations(text, state, keep=False)
        return self._revocations

    # -- taking -----------------------------------------------------------------------------------------

    def take(self, text: str) -> bool:
        """Take a key set or a revocation list from anywhere: it is signed. False when it is neither, or
        old."""
        state = self._store.read().state
        return self._take_key_set(text) or self._take_revocations(text, state, keep=True)

    def fetch(self, now: int) -> bool:
        """Ask the server for both lists, and for the baseline where the program has none. False when it is
        away."""
        if self._wire is None:
            return False
        try:
            if self._trust.has_root:
                self._take_key_set(self._get(self._wire, KEY_SET, LARGEST))
            revoked = self._get(self._wire, REVOKED, LARGEST_LIST)
            self._take_revocations(revoked, self._store.read().state, keep=True)
            if self._asks_baseline:
                self._take_baseline(self._get(self._wire, PLANS, LARGEST_LIST))
        except Away:
            return False
        self._store.change(lambda old: replace(old, lists_at=now), durable=False)
        return True

    def wants_baseline(self, state: State) -> bool:
        """Whether it is still to be learned what runs without a license."""
        return self._asks_baseline and not state.baseline

    def _get(self, wire: Wire, path: str, largest: int) -> str:
        """What stands at this address; empty where there is nothing of the kind."""
        # A cache on the way may hold what is an hour old, and it is asked for because something is new.
        answer = wire.get(wire.site + path, {"Cache-Control": "no-cache"}, largest=largest)
        return answer.body.decode("utf-8", "replace").strip() if answer.status == 200 else ""

    def _take_key_set(self, text: str) -> bool:
        try:
            found = self._trust.read_key_set(text)
        except tokens.TokenRefused:
            return False
        if found.seq < self._store.read().state.key_set_seq:
            return False  # older than one that was seen
        self._store.change(
            lambda old: (
                replace(old, key_set=text, key_set_seq=found.seq) if found.seq > old.key_set_seq else old
            )
        )
        return True

    def _take_revocations(self, text: str, state: State, *, keep: bool) -> bool:
        try:
            found = self._trust.read_revocations(text, self._key_set(state))
        except tokens.TokenRefused:
            return False
        if found.seq < max(state.revoked_seq, self._revocations.seq):
            return False
        self._revocations = found
        if keep and found.seq > state.revoked_seq:
            self._store.keep_list(text)
            self._store.change(lambda old: self._with_list(old, found))
        return True

    def _with_list(self, state: State, found: Revocations) -> State:
        """The state after a new list. What it says of this license is kept apart: a file can be deleted."""
        state = replace(state, revoked_seq=max(state.revoked_seq, found.seq))
        papers = judging.papers_of(state, self._trust, self._product, self._mid, NOTHING_REVOKED)
        for claims in (papers.lease, papers.file):
            if claims and found.names(claims):
                told = {"code": "REVOKED", "at": found.iat, "license": claims["sub"]}
                return replace(state, refused=told)
        return state

    def _take_baseline(self, text: str) -> None:
        products = object_in(text.encode()).get("products")
        for product in products if isinstance(products, list) else ():
            if isinstance(product, dict) and product.get("slug") == self._product:
                found = Baseline.of(product.get("baseline"))
                self._keep_baseline(
                    {"entitlements": sorted(found.entitlements), "limits": dict(found.limits)}
                )

    def _keep_baseline(self, told: Mapping[str, Any]) -> None:
        self._store.change(lambda old: replace(old, baseline=told))
