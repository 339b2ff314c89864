"""The certificates PayPal signs its webhooks with: where they may come from, and whether they are good.

A request names the certificate that signed it, so strangers decide what is fetched. Therefore: only PayPal's
own addresses, no redirects, little at a time, few a minute, one at a time for each address, and an address
that gave nothing good is left alone for a while.
"""

from __future__ import annotations

import hashlib
import os
import re
import threading
from collections import OrderedDict, deque
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import httpx
import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from keywright.domain.errors import BadSignature, Misconfigured, Unavailable

if TYPE_CHECKING:
    from cryptography import x509

CERTIFICATE_PATH: Final = "/v1/notifications/certs/"

_LIVE_HOSTS: Final = frozenset({"api.paypal.com", "api-m.paypal.com"})
_SANDBOX_HOSTS: Final = frozenset({"api.sandbox.paypal.com", "api-m.sandbox.paypal.com"})
_LIVE_NAME: Final = "messageverificationcerts.paypal.com"
_SANDBOX_NAME: Final = "messageverificationcerts.sandbox.paypal.com"
# One strict form instead of a parser and a list of what must not be in it: no user, no query, no fragment, no
# percent signs, no dot segments, no port but the usual one.
_ADDRESS: Final = re.compile(
    r"https://(?P<host>[A-Za-z0-9.-]{1,100})(?::443)?/v1/notifications/certs/(?P<name>[A-Za-z0-9_-]{1,128})"
)
_OWN_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,128}")

_TIMEOUTS: Final = httpx.Timeout(10.0, connect=5.0)
_LARGEST = 64 * 1024
_KEPT = 16
_REFUSED_FOR = timedelta(minutes=10)
_VOUCHED_FOR = timedelta(days=1)
_FETCHES_A_MINUTE = 10
_T = TypeVar("_T")


class Certificate(msgspec.Struct, frozen=True):
    """A certificate that may sign. `is_proven`: its issuers lead to a root that is trusted here, or PayPal
    vouched for it."""

    key: rsa.RSAPublicKey
    is_live: bool
    is_proven: bool
    good_from: datetime
    good_until: datetime

    def verify(self, signature: bytes, message: bytes) -> bool:
        """RSA with PKCS #1 v1.5 and SHA-256, as `SHA256withRSA` says."""
        try:
            self.key.verify(signature, message, padding.PKCS1v15(), hashes.SHA256())
        except InvalidSignature:
            return False
        return True


class _Place(msgspec.Struct, frozen=True):
    """An address on the list, and the environment it belongs to."""

    url: str
    is_live: bool


class Certificates:
    """Fetches, checks and remembers. Safe to use from several threads."""

    def __init__(
        self,
        *,
        live: bool,
        simulator: bool = False,
        own_base: str | None = None,
        roots: Sequence[x509.Certificate] | None = None,
        roots_file: Path | None = None,
        intermediates: Sequence[x509.Certificate] = (),
        transport: httpx.BaseTransport | None = None,
        folder: Path | None = None,
    ) -> None:
        """Make it; nothing is fetched yet.

        Args:
            live: which of PayPal's two environments certificates may come from.
            simulator: PayPal's public simulator, which signs with live certificates, may be heard in a test.
            own_base: the sandbox of ours, whose certificates may be fetched over plain HTTP.
            roots: what to trust; by default the public roots that certifi lists.
            roots_file: what to trust, read when it is needed: the sandbox of ours may not have begun yet.
            intermediates: issuers that PayPal's addresses do not deliver themselves.
            transport: for tests.
            folder: where good certificates are kept over a restart. Strangers can use up the fetches of a
                minute; what is here needs none.
        """
        self._environments = {live, True} if simulator and not live else {live}
        self._own = None if own_base is None else own_base.rstrip("/") + CERTIFICATE_PATH
        self._roots = roots
        self._roots_file = roots_file
        self._intermediates = tuple(intermediates)
        self._transport = transport
        self._folder = folder
        self._lock = threading.Lock()
        self._known: OrderedDict[str, Certificate] = OrderedDict()
        self._refused: OrderedDict[str, datetime] = OrderedDict()
        self._vouched: OrderedDict[str, datetime] = OrderedDict()
        self._fetching: dict[str, threading.Lock] = {}
        self._fetched_at: deque[datetime] = deque(maxlen=_FETCHES_A_MINUTE)

    def find(self, url: str, now: datetime) -> Certificate | None:
        """The certificate of an address, when it is known and good now.

        Raises BadSignature for an address that is not PayPal's, a certificate out of its time, or an address
        that gave nothing good a moment ago.
        """
        place = self._place(url)
        with self._lock:
            known, refused_at = self._known.get(place.url), self._refused.get(place.url)
            vouched_at = self._vouched.get(place.url)
        if known is not None:
            if not known.good_from <= now <= known.good_until:
                raise BadSignature("the certificate is not valid at this time")
            if vouched_at is not None and abs(now - vouched_at) < _VOUCHED_FOR:
                return msgspec.structs.replace(known, is_proven=True)
            return known
        if refused_at is not None and abs(now - refused_at) < _REFUSED_FOR:
            raise BadSignature("the certificate is not good")
        return None

    def obtain(self, url: str, now: datetime) -> Certificate:
        """The certificate of an address, fetched when it is not known.

        Raises BadSignature as `find`, and for a certificate that is not good; Unavailable when it cannot be
        had now.
        """
        place = self._place(url)
        with self._lock:
            turn = self._fetching.setdefault(place.url, threading.Lock())
        try:
            with turn:
                known = self.find(url, now)  # another thread may have been faster
                return known if known is not None else self._fetch(place, now)
        finally:
            with self._lock:
                self._fetching.pop(place.url, None)

    def vouch(self, url: str, now: datetime) -> None:
        """PayPal said that a signature made with this certificate is its own: for a day, no more is asked."""
        self._keep(self._vouched, self._place(url).url, now)

    def _place(self, url: str) -> _Place:
        if self._own is not None and url.startswith(self._own):
            if _OWN_NAME.fullmatch(url.removeprefix(self._own)):
                return _Place(url, is_live=False)
        elif found := _ADDRESS.fullmatch(url):
            host = found["host"].lower()
            for is_live, hosts in ((True, _LIVE_HOSTS), (False, _SANDBOX_HOSTS)):
                if host in hosts and is_live in self._environments:
                    return _Place(f"https://{host}{CERTIFICATE_PATH}{found['name']}", is_live)
        raise BadSignature("the certificate's address is not PayPal's, or of the other environment")

    def _fetch(self, place: _Place, now: datetime) -> Certificate:
        made = self._read_kept(place, now)
        if made is None:
            self._take_turn(now)
            try:
                pem = self._load(place)
                made = self._checked(place, pem, now)
            except BadSignature:
                self._keep(self._refused, place.url, now)
                raise
            self._write_kept(place, pem)
        self._keep(self._known, place.url, made)
        return made

    def _file_of(self, place: _Place) -> Path | None:
        name = hashlib.sha256(place.url.encode()).hexdigest()
        return None if self._folder is None else self._folder / f"{name}.pem"

    def _read_kept(self, place: _Place, now: datetime) -> Certificate | None:
        """What was good before, if it still is. It is checked like one that was fetched."""
        file = self._file_of(place)
        try:
            return None if file is None else self._checked(place, file.read_bytes(), now)
        except (OSError, BadSignature):
            return None

    def _write_kept(self, place: _Place, pem: bytes) -> None:
        file = self._file_of(place)
        if file is None:
            return
        # A full disk or a folder that is not ours costs one more fetch after a restart, and no event.
        with suppress(OSError):
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            fresh = file.with_suffix(f".{os.getpid()}-{threading.get_ident()}")
            fresh.write_bytes(pem)
            fresh.replace(file)

    def _take_turn(self, now: datetime) -> None:
        with self._lock:
            oldest = self._fetched_at[0] if len(self._fetched_at) == _FETCHES_A_MINUTE else None
            if oldest is not None and timedelta(0) <= now - oldest < timedelta(minutes=1):
                raise Unavailable("Too many certificates were asked for. Please try again.", retry_after=60)
            self._fetched_at.append(now)

    def _keep(self, register: OrderedDict[str, _T], url: str, value: _T) -> None:
        with self._lock:
            register.pop(url, None)
            register[url] = value
            while len(register) > _KEPT:
                register.popitem(last=False)

    def _load(self, place: _Place) -> bytes:
        pieces, size = [], 0
        try:
            with (
                httpx.Client(
                    timeout=_TIMEOUTS, follow_redirects=False, trust_env=False, transport=self._transport
                ) as client,
                client.stream("GET", place.url, headers={"Accept-Encoding": "identity"}) as answer,
            ):
                if 300 <= answer.status_code < 500 and answer.status_code != httpx.codes.TOO_MANY_REQUESTS:
                    raise BadSignature("there is no such certificate")
                if answer.status_code != httpx.codes.OK:
                    raise Unavailable("PayPal's certificate cannot be fetched now. Please try again.")
                for piece in answer.iter_bytes(4096):
                    pieces.append(piece)
                    size += len(piece)
                    if size > _LARGEST:
                        raise BadSignature("that is no certificate: it is too large")
        except httpx.HTTPError:
            raise Unavailable("PayPal's certificate cannot be fetched now. Please try again.") from None
        return b"".join(pieces)

    def _checked(self, place: _Place, pem: bytes, now: datetime) -> Certificate:
        from keywright.providers.paypal import chains  # slow to import: see there

        chain = chains.read(pem, _LIVE_NAME if place.is_live else _SANDBOX_NAME, now)
        if self._roots_file is not None:
            try:
                roots: Sequence[x509.Certificate] = chains.roots_in(self._roots_file)
            except Misconfigured as error:
                raise Unavailable(error.detail) from None
        else:
            roots = self._roots = chains.public_roots() if self._roots is None else self._roots
        return Certificate(
            key=chain.key,
            is_live=place.is_live,
            is_proven=chain.leads_to(roots, self._intermediates, now),
            good_from=chain.leaf.not_valid_before_utc,
            good_until=chain.leaf.not_valid_after_utc,
        )
