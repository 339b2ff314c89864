"""A passkey as a browser's authenticator would make and use it, and as somebody would who cheats."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import struct
from collections.abc import Mapping
from typing import Any

import cbor2
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

PRESENT, VERIFIED, MAKES = 0x01, 0x04, 0x40


class Authenticator:
    """One passkey for one site. `count`: of the signatures it has made."""

    def __init__(self, site: str, origin: str) -> None:
        self.site = site
        self.origin = origin
        self.count = 1
        self.id = os.urandom(32)
        self._key = ec.generate_private_key(ec.SECP256R1())

    def make(self, question: Mapping[str, Any]) -> str:
        """The answer that tells the passkey's public half."""
        point = self._key.public_key().public_numbers()
        told = {1: 2, 3: -7, -1: 1, -2: point.x.to_bytes(32, "big"), -3: point.y.to_bytes(32, "big")}
        data = self._data(self.site, PRESENT | VERIFIED | MAKES, self.count)
        data += bytes(16) + struct.pack(">H", len(self.id)) + self.id + cbor2.dumps(told)
        statement = cbor2.dumps({"fmt": "none", "attStmt": {}, "authData": data})
        client = self._client("webauthn.create", str(question["challenge"]), self.origin)
        return self._answer({"clientDataJSON": b64(client), "attestationObject": b64(statement)})

    def answer(
        self,
        question: Mapping[str, Any],
        *,
        origin: str | None = None,
        challenge: str | None = None,
        site: str | None = None,
        kind: str = "webauthn.get",
        flags: int = PRESENT | VERIFIED,
        count: int | None = None,
    ) -> str:
        """The answer to a question, right but for what is told here."""
        if count is None:
            self.count += 1
            count = self.count
        data = self._data(site or self.site, flags, count)
        client = self._client(kind, challenge or str(question["challenge"]), origin or self.origin)
        signed = self._key.sign(data + hashlib.sha256(client).digest(), ec.ECDSA(hashes.SHA256()))
        return self._answer(
            {"clientDataJSON": b64(client), "authenticatorData": b64(data), "signature": b64(signed)}
        )

    def _data(self, site: str, flags: int, count: int) -> bytes:
        return hashlib.sha256(site.encode()).digest() + bytes([flags]) + struct.pack(">I", count)

    def _client(self, kind: str, challenge: str, origin: str) -> bytes:
        told = {"type": kind, "challenge": challenge, "origin": origin, "crossOrigin": False}
        return json.dumps(told).encode()

    def _answer(self, response: Mapping[str, str]) -> str:
        named = b64(self.id)
        return json.dumps(
            {
                "id": named,
                "rawId": named,
                "type": "public-key",
                "response": response,
                "clientExtensionResults": {},
            }
        )


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
