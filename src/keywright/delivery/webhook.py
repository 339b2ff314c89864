"""Webhooks of ours, signed as Standard Webhooks has it: https://www.standardwebhooks.com."""

from __future__ import annotations

import hashlib
import hmac
import time
from base64 import b64decode, b64encode
from collections.abc import Callable, Sequence

from keywright import __version__
from keywright.delivery.safe_http import SafeHttp
from keywright.domain.webhook import SECRET_PREFIX, Outgoing, Received


def sign(secrets: Sequence[str], id_: str, timestamp: int, body: bytes) -> str:
    """The header `webhook-signature`: one signature for each secret, with a blank between.

    HMAC-SHA256 over `id.timestamp.body`, under the bytes that a secret's base64 stands for.
    """
    signed = f"{id_}.{timestamp}.".encode() + body
    return " ".join(
        "v1," + b64encode(hmac.digest(_key(secret), signed, hashlib.sha256)).decode() for secret in secrets
    )


class HttpWebhooks:
    """Implements the port WebhookSender.

    By real time: receivers refuse what is older than five minutes, and their clocks cannot be turned.
    """

    def __init__(self, http: SafeHttp, *, now: Callable[[], float] = time.time) -> None:
        self._http = http
        self._now = now

    def check(self, url: str) -> None:
        self._http.check(url)

    def send(self, outgoing: Outgoing) -> Received:
        body, timestamp = outgoing.body.encode(), int(self._now())
        headers = {
            "Content-Type": "application/json",
            "User-Agent": f"Keywright/{__version__}",
            "webhook-id": outgoing.id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": sign(outgoing.secrets, outgoing.id, timestamp, body),
        }
        answer = self._http.post(outgoing.url, headers, body)
        return Received(answer.status, answer.error, answer.retry_after)


def _key(secret: str) -> bytes:
    return b64decode(secret.removeprefix(SECRET_PREFIX))
