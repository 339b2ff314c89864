"""`/.well-known/*`: a seller's public keys, the key set under his offline root, and what he has revoked."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from typing import Any

from litestar import Response, get
from litestar.params import FromPath

from keywright.domain.errors import NotFound
from keywright.flows import key_sets, revocations
from keywright.flows.context import Context
from keywright.store import tenants
from keywright.store.engine import is_away
from keywright.web import wire

_SLUG = re.compile(r"[A-Za-z0-9_-]{1,80}")
_HOUR = "public, max-age=3600"
# Whoever asks for it wants to know what was revoked by now.
_MINUTE = "public, max-age=60"
_JWS = "application/jose"
_LIST_SECONDS = 5.0
# A long list is looked at more seldom: a thirtieth of the time is enough for it (measured: 1.2 s for 50,000).
_LIST_SHARE = 30.0
_LIST_SECONDS_MOST = 60.0


class RevocationLists:
    """The lists of this process, each looked at again no more often than every few seconds.

    Every program of a seller asks for the same list; what it says is read from all his licenses.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._lock = threading.Lock()
        self._known: dict[str, tuple[float, bytes]] = {}

    def get(self, tenant: str) -> bytes:
        """The signed list, as it was a few seconds ago at the earliest."""
        known = self._known.get(tenant)
        if known is not None and time.monotonic() < known[0]:
            return known[1]
        with self._lock:  # one looks, the others take what it found
            known = self._known.get(tenant)
            if known is None or time.monotonic() >= known[0]:
                known = self._known[tenant] = self._look(tenant, known)
            return known[1]

    def _look(self, tenant: str, known: tuple[float, bytes] | None) -> tuple[float, bytes]:
        """The list as it is now, and until when that is good enough."""
        began = time.monotonic()
        try:
            made = revocations.get_list(self._context, tenant).encode()
        except Exception as error:
            if known is None or not is_away(error):
                raise
            made = known[1]  # the database is away: what was revoked until then still is
        ended = time.monotonic()
        pause = min(max(_LIST_SECONDS, _LIST_SHARE * (ended - began)), _LIST_SECONDS_MOST)
        return ended + pause, made


def routes(context: Context) -> list[Any]:
    """Each document for the master tenant, and under `/t/{slug}` for every seller. Any page may read them."""
    lists = RevocationLists(context)

    def key_set(tenant: str) -> Response[bytes]:
        _take_up(context)
        return _public(wire.encode(context.signer.key_set(tenant)), "application/jwk-set+json", _HOUR)

    def signed_set(tenant: str) -> Response[bytes]:
        return _public(key_sets.get_document(context, tenant).encode(), _JWS, _HOUR)

    def revoked(tenant: str) -> Response[bytes]:
        return _public(lists.get(tenant), _JWS, _MINUTE)

    return [
        *_both(context, "jwks.json", "keys", key_set),
        *_both(context, "keywright-keys.jwt", "signed_keys", signed_set),
        *_both(context, "keywright-revoked.jwt", "revoked", revoked),
    ]


def _both(context: Context, file: str, name: str, answer: Callable[[str], Response[bytes]]) -> list[Any]:
    @get(f"/.well-known/{file}", sync_to_thread=True, operation_id=name)
    def of_master() -> Response[bytes]:
        return answer(context.tenant.id)

    @get(f"/t/{{slug:str}}/.well-known/{file}", sync_to_thread=True, operation_id=f"tenant_{name}")
    def of_tenant(slug: FromPath[str]) -> Response[bytes]:
        return answer(_tenant(context, slug))

    return [of_master, of_tenant]


def _take_up(context: Context) -> None:
    """Look whether keys changed: a program asks because it met a key that it does not know."""
    try:
        context.signer.refresh()
    except Exception as error:
        if not is_away(error):
            raise
        # The keys of a few seconds ago are better than none.


def _public(body: bytes, kind: str, keep: str) -> Response[bytes]:
    headers = {"cache-control": keep, "access-control-allow-origin": "*"}
    return Response(body, media_type=kind, headers=headers)


def _tenant(context: Context, slug: str) -> str:
    """Raises NotFound."""
    found = None
    if _SLUG.fullmatch(slug):
        with context.database.read() as connection:
            found = tenants.find(connection, slug)
    if found is None:
        raise NotFound("There is no such seller here.")
    return found.id
