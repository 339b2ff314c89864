"""`verify` and `integrity`: is this what we wrote?"""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from keywright.cli.license_firm import verify_hmac
from keywright.cli.offline_check import (
    OwnKeys,
    TokenNotValid,
    Wanted,
    check,
    claimed_by,
    read_keys,
    read_text,
)
from keywright.cli.session import (
    AsJson,
    TenantSlug,
    opened,
    print_json,
    print_members,
    print_table,
    tenant_of,
)

if TYPE_CHECKING:
    from keywright.flows.context import Context
    from keywright.store.tenants import Tenant

_TIMES = ("iat", "nbf", "exp", "lexp", "srv", "entitled_until", "grace_until")


def verify(
    file_or_token: Annotated[str, typer.Argument(help="A license file, a file with a token, or a token.")],
    keys: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Check against the keys in FILE (a JWKS or a signed set). No database."
        ),
    ] = None,
    root: Annotated[
        str | None, typer.Option(metavar="X", help="The public root key that signed the set in --keys.")
    ] = None,
    revoked: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Refuse what this revocation list names.")
    ] = None,
    product: Annotated[str | None, typer.Option(metavar="SLUG", help="The product it must be for.")] = None,
    issuer: Annotated[str | None, typer.Option(metavar="ISS", help="Who must have issued it.")] = None,
    fingerprint: Annotated[str | None, typer.Option(metavar="F", help="The machine it must be for.")] = None,
    hmac: Annotated[
        bool, typer.Option("--hmac", help="It is an HMAC key; needs --firm and --secret-file. No database.")
    ] = False,
    firm: Annotated[str | None, typer.Option(metavar="F", help="The firm that an HMAC key is for.")] = None,
    secret_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="What `license secret` printed, one a line.")
    ] = None,
    tenant: TenantSlug = None,
    json: AsJson = False,
) -> None:
    """Check a license file, a license token or a lease, without any network.

    Without --keys against the tenant's own keys in the database.
    """
    if hmac:
        if firm is None or secret_file is None:
            raise typer.BadParameter("--hmac needs --firm and --secret-file.")
        text = read_text(Path(file_or_token)) if _is_file(file_or_token) else file_or_token
        verify_hmac(text, firm, secret_file, datetime.now(UTC), json=json)
        return
    token = _token_in(file_or_token)
    wanted = Wanted(product, issuer, fingerprint, revoked)
    if keys is not None:
        now = int(time.time())
        claims = check(token, read_keys(keys, root, now), wanted, now)
    elif root is not None:
        raise typer.BadParameter("--root needs the signed key set, with --keys.")
    else:
        with opened() as context:
            seller = tenant_of(context, tenant)
            _demand_product(context, seller, token)
            claims = check(token, OwnKeys(context, seller), wanted, int(context.clock.now().timestamp()))
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
    from keywright.domain import license_file
    from keywright.domain.license_token import TokenRefused

    text = read_text(Path(given)) if _is_file(given) else given.strip()
    if not license_file.is_file(text):
        return text
    try:
        return license_file.unwrap(text)
    except TokenRefused as error:
        raise TokenNotValid(f"This is no license file: {error}.") from None


def _is_file(given: str) -> bool:
    try:
        return Path(given).is_file()
    except (OSError, ValueError):
        # A token is longer than a file's name may be.
        return False


def _demand_product(context: Context, tenant: Tenant, token: str) -> None:
    """Raises TokenNotValid for a token of a product that the tenant never sold."""
    from keywright.store import catalog

    _, claimed = claimed_by(token)
    with context.database.read() as connection:
        known = {offer.product.slug for offer in catalog.list_offers(connection, tenant.id, retired=True)}
    if claimed.get("aud") not in known:
        raise TokenNotValid("This token is for no product of this tenant.")


def integrity(tenant: TenantSlug = None, json: AsJson = False) -> None:
    """Check license rows, timelines, stored keys and the audit. Exits 1 when one was altered outside."""
    from keywright.flows import admin_views, license_views

    found: list[license_views.Damage] = []
    checked, cursor, more = 0, None, True
    with opened() as context:
        seller = tenant_of(context, tenant).id
        while more:
            page = license_views.check_integrity(context, seller, cursor=cursor)
            found += page.damaged
            checked += page.checked
            cursor, more = page.next_cursor, page.next_cursor is not None
        broken = admin_views.find_audit_break(context, seller)
    if json:
        print_json({"checked": checked, "damaged": found, "audit_entry": broken})
    else:
        if found:
            rows = [(d.license, "altered" if d.row_altered else "ok", d.entry, d.key) for d in found]
            print_table(("license", "row", "first broken entry", "broken key"), rows)
        print(f"{checked} licenses checked, {len(found)} altered outside the server")
        if broken is not None:
            print(f"The audit was altered: entry {broken} does not follow, or is missing.")
    if found or broken is not None:
        print("keywright: rows were altered; compare them with a backup.", file=sys.stderr)
        raise typer.Exit(1)
