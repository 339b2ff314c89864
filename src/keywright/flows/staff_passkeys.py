"""Passkeys: the questions that a browser's authenticator answers, and whether it answered well.

User verification is required: whoever finds an unlocked laptop is not let in by a touch. The library is
imported where it is used: it takes a tenth of the time in which a server starts, and many never need it.
"""

from __future__ import annotations

import base64
import ipaddress
import secrets
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import msgspec

if TYPE_CHECKING:
    from webauthn.helpers.structs import PublicKeyCredentialDescriptor

_LONGEST_ANSWER: Final = 6000


class Passkey(msgspec.Struct, frozen=True):
    """What is kept of one, sealed. Both in base64url."""

    credential: str
    public_key: str


class Site(msgspec.Struct, frozen=True):
    """Where passkeys are for: a domain, and the one origin whose pages may ask."""

    domain: str
    origin: str


def site_of(base_url: str) -> Site | None:
    """None where browsers know no passkeys: at an address that is a number, or without https elsewhere than
    on this machine (W3C Web Authentication, 5.1.3 step 7)."""
    parts = urlsplit(base_url)
    host = parts.hostname or ""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        if host and (parts.scheme == "https" or host == "localhost" or host.endswith(".localhost")):
            return Site(host, f"{parts.scheme}://{parts.netloc}")
    return None


def new_challenge() -> str:
    return _b64(secrets.token_bytes(32))


def make_question(
    site: Site, challenge: str, *, staff_id: str, email: str, seller: str, known: Sequence[Passkey]
) -> dict[str, Any]:
    """What the browser is asked in order to make a passkey, as JSON for the page's script."""
    import webauthn
    from webauthn.helpers import structs

    options = webauthn.generate_registration_options(
        rp_id=site.domain,
        rp_name=seller,
        user_id=staff_id.encode(),
        user_name=email,
        challenge=_raw(challenge),
        authenticator_selection=structs.AuthenticatorSelectionCriteria(
            user_verification=structs.UserVerificationRequirement.REQUIRED,
            resident_key=structs.ResidentKeyRequirement.PREFERRED,
        ),
        exclude_credentials=_descriptors(known),
    )
    return _json(webauthn.options_to_json(options))


def ask_question(site: Site, challenge: str, known: Sequence[Passkey]) -> dict[str, Any]:
    """What the browser is asked in order to sign in with one of these."""
    import webauthn
    from webauthn.helpers import structs

    options = webauthn.generate_authentication_options(
        rp_id=site.domain,
        challenge=_raw(challenge),
        allow_credentials=_descriptors(known),
        user_verification=structs.UserVerificationRequirement.REQUIRED,
    )
    return _json(webauthn.options_to_json(options))


def made(site: Site, challenge: str, answer: str) -> tuple[Passkey, int] | None:
    """The passkey that was made, and its count of signatures; None when the answer is no good."""
    import webauthn
    from webauthn.helpers import exceptions

    if not 0 < len(answer) <= _LONGEST_ANSWER:
        return None
    try:
        told = webauthn.verify_registration_response(
            credential=answer,
            expected_challenge=_raw(challenge),
            expected_rp_id=site.domain,
            expected_origin=site.origin,
            require_user_verification=True,
        )
    except (exceptions.WebAuthnException, ValueError, TypeError, KeyError):
        return None
    return Passkey(_b64(told.credential_id), _b64(told.credential_public_key)), told.sign_count


def credential_of(answer: str) -> str | None:
    """Which passkey an answer says it comes from; nothing is proven by that."""
    try:
        told = msgspec.json.decode(answer) if len(answer) <= _LONGEST_ANSWER else None
    except (msgspec.DecodeError, UnicodeEncodeError):
        return None
    named = told.get("id") if isinstance(told, dict) else None
    return named if isinstance(named, str) else None


def proven(site: Site, challenge: str, answer: str, passkey: Passkey, count: int) -> int | None:
    """The new count of signatures; None when the answer is no good, or the count went back: a copy."""
    import webauthn
    from webauthn.helpers import exceptions

    if not 0 < len(answer) <= _LONGEST_ANSWER:
        return None
    try:
        told = webauthn.verify_authentication_response(
            credential=answer,
            expected_challenge=_raw(challenge),
            expected_rp_id=site.domain,
            expected_origin=site.origin,
            credential_public_key=_raw(passkey.public_key),
            credential_current_sign_count=count,
            require_user_verification=True,
        )
    except (exceptions.WebAuthnException, ValueError, TypeError, KeyError):
        return None
    return told.new_sign_count


def _descriptors(known: Sequence[Passkey]) -> list[PublicKeyCredentialDescriptor]:
    from webauthn.helpers.structs import PublicKeyCredentialDescriptor

    return [PublicKeyCredentialDescriptor(id=_raw(one.credential)) for one in known]


def _json(text: str) -> dict[str, Any]:
    decoded: dict[str, Any] = msgspec.json.decode(text)
    return decoded


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _raw(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
