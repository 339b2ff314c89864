"""Recorded deliveries of PayPal, and certificates that answer without a network."""

from __future__ import annotations

import json
import warnings
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
from cryptography import x509

from keywright.providers.paypal.certificates import Certificates

FIXTURES = Path(__file__).parents[2] / "fixtures" / "paypal"
SIGNED = sorted(path.name for path in FIXTURES.glob("signed_*.json"))
_CERTIFICATES = json.loads((FIXTURES / "certs.json").read_text())
LEAVES: dict[str, str] = _CERTIFICATES["leaf_by_cert_url"]


class Recorded:
    """One delivery as it went over the wire."""

    def __init__(self, name: str) -> None:
        told = json.loads((FIXTURES / name).read_text())
        self.headers: dict[str, str] = told["headers"]
        self.raw: bytes = told["body"].encode()
        self.webhook_id: str = told["webhook_id"]
        self.at = datetime.fromisoformat(self.headers["paypal-transmission-time"])
        self.is_live = "sandbox" not in self.headers["paypal-cert-url"]


def chain() -> tuple[x509.Certificate, x509.Certificate]:
    """The root and the intermediate that issued the recorded leaves."""
    root, intermediate = (_CERTIFICATES["chain"][name].encode() for name in ("root", "intermediate"))
    return x509.load_pem_x509_certificate(root), x509.load_pem_x509_certificate(intermediate)


class CertificateHost(httpx.BaseTransport):
    """Answers with the recorded leaves, and counts who asked for what."""

    def __init__(self, answers: dict[str, httpx.Response] | None = None) -> None:
        self.asked: list[str] = []
        self._answers = answers or {}

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        url = str(request.url)
        self.asked.append(url)
        if url in self._answers:
            return self._answers[url]
        return httpx.Response(200, text=LEAVES[url]) if url in LEAVES else httpx.Response(404)


def certificates(
    *, host: httpx.BaseTransport | None = None, chained: bool = True, **more: Any
) -> Certificates:
    """Certificates that trust the recorded chain, or nobody."""
    root, intermediate = chain()
    return Certificates(
        roots=[root] if chained else [other_root()],
        intermediates=[intermediate] if chained else [],
        transport=host or CertificateHost(),
        **more,
    )


def other_root() -> x509.Certificate:
    """A root that issued none of them."""
    from tests.providers.paypal import authority

    with warnings.catch_warnings():
        return authority.Authority().root
