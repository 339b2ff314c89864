"""`verify` and `integrity`: is this what we wrote?"""

from __future__ import annotations

import sys
from base64 import urlsafe_b64decode
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from keywright.cli.session import (
    AsJson,
    TenantSlug,
    opened,
    print_json,
    print_members,
    print_table,
    tenant_of,
)
from keywright.domain.errors import Refused

if TYPE_CHECKING:
    from keywright.flows.context import Context
    from keywright.store.tenants import Tenant

_LARGEST_FILE = 64 * 1024
_TIMES = ("iat", "nbf", "exp", "lexp", "srv", "entitled_until", "grace_until")


class TokenNotValid(Refused):
    code = "TOKEN_REFUSED"


def verify(
    file_or_token: Annotated[str, typer.Argument(help="A license file, a file with a token, or a token.")],
    tenant: TenantSlug = None,
    json: AsJson = False,
) -> None:
    """Check a lease or a license token against the tenant's keys, without any network."""
    with opened() as context:
        claims = _verified(context, tenant_of(context, tenant), _token_in(file_or_token))
    if json:
        print_json(claims)
    else:
        print_members([(name, _readable(name, value)) for name, value in claims.items()])


def _readable(name: str, value: object) -> object:
    """Times as dates, lists and tables without their Python. `--json` gives the claims as they are."""
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int) and name in _TIMES:
        return datetime.fromtimestamp(value, UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, list):
        return ", ".join(map(str, value)) or None
    if isinstance(value, dict):
        return ", ".join(f"{key}: {held}" for key, held in value.items()) or None
    return value


def _token_in(given: str) -> str:
    """The JWS in what was given. A license file wraps it between two lines of dashes."""
    text = given
    if _is_file(given):
        with Path(given).open("rb") as file:
            text = file.read(_LARGEST_FILE).decode("utf-8", "replace")
    return "".join(line.strip() for line in text.splitlines() if not line.startswith("-----"))


def _is_file(given: str) -> bool:
    try:
        return Path(given).is_file()
    except (OSError, ValueError):
        # A token is longer than a file's name may be.
        return False


def _verified(context: Context, tenant: Tenant, token: str) -> dict[str, Any]:
    """Raises TokenNotValid with the reason."""
    from keywright.domain import license_token
    from keywright.store import catalog

    kind, product = _claimed(token)
    with context.database.read() as connection:
        known = {offer.product.slug for offer in catalog.list_offers(connection, tenant.id, retired=True)}
    if kind not in (license_token.LICENSE, license_token.LEASE):
        raise TokenNotValid("This is neither a license token nor a lease.")
    if product not in known:
        raise TokenNotValid("This token is for no product of this tenant.")
    try:
        return license_token.verify(
            token,
            typ=kind,
            keys=context.signer.verifiers(tenant.id, "lic+jwt" if kind == "lic+jwt" else "lease+jwt"),
            iss=context.issuer(tenant.id),
            aud=product,
            now=int(context.clock.now().timestamp()),
            require_exp=kind == license_token.LEASE,
        )
    except license_token.TokenRefused as error:
        raise TokenNotValid(f"Refused: {error}.") from None


def _claimed(token: str) -> tuple[Any, Any]:
    """Type and product as the token says them. Believed only to choose what it is checked against."""
    from keywright.domain import strict_json

    parts = token.split(".")
    if len(parts) != 3 or not token.isascii():
        raise TokenNotValid("This is no token: it has not three parts.")
    found = []
    for part, member in zip(parts, ("typ", "aud"), strict=False):
        try:
            value = strict_json.loads(urlsafe_b64decode(part + "=" * (-len(part) % 4)))
        except ValueError:
            raise TokenNotValid("This is no token: its parts are not JSON.") from None
        found.append(value.get(member) if isinstance(value, dict) else None)
    return found[0], found[1]


def integrity(tenant: TenantSlug = None, json: AsJson = False) -> None:
    """Check every license row and timeline. Exits 1 when one was altered outside the server."""
    from keywright.flows import license_views

    found: list[license_views.Damage] = []
    checked, cursor, more = 0, None, True
    with opened() as context:
        seller = tenant_of(context, tenant).id
        while more:
            page = license_views.check_integrity(context, seller, cursor=cursor)
            found += page.damaged
            checked += page.checked
            cursor, more = page.next_cursor, page.next_cursor is not None
    if json:
        print_json({"checked": checked, "damaged": found})
    else:
        if found:
            rows = [(d.license, "altered" if d.row_altered else "ok", d.entry) for d in found]
            print_table(("license", "row", "first broken entry"), rows)
        print(f"{checked} licenses checked, {len(found)} altered outside the server")
    if found:
        print("keywright: rows were altered; compare them with a backup.", file=sys.stderr)
        raise typer.Exit(1)
