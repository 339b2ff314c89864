"""`license secret` and `license firm`: firms and what they check their keys with; `verify --hmac`."""

from __future__ import annotations

import base64
import binascii
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from keywright.cli.chosen import Reason, Which, act, found
from keywright.cli.session import (
    AsJson,
    TenantSlug,
    opened,
    print_json,
    print_members,
    tell_if_unattended,
    tenant_of,
)
from keywright.domain.errors import Invalid, KeywrightError

app = typer.Typer()

Firm = Annotated[str, typer.Option("--firm", metavar="F", help="The firm, exactly as its licenses name it.")]


class HmacKeyRefused(KeywrightError):
    """The key is not good at this firm, now."""

    code = "HMAC_KEY_INVALID"


@app.command()
def secret(
    firm: Firm,
    product: Annotated[
        str | None, typer.Option(metavar="SLUG", help="Needed where several products have codes.")
    ] = None,
    rotate: Annotated[
        bool, typer.Option("--rotate", help="Make a new one first, and new keys for the firm's licenses.")
    ] = False,
    reason: Reason = None,
    tenant: TenantSlug = None,
    json: AsJson = False,
) -> None:
    """Print what a firm's installation checks its keys with: whoever has it can make keys for that firm."""
    from keywright.flows import firms

    with opened() as context:
        seller = tenant_of(context, tenant).id
        made = firms.secrets_of(context, seller, firm, act(reason), product=product, rotate=rotate)
        if rotate:
            tell_if_unattended(context)
    if json:
        print_json(made)
    else:
        print(made.secret)


@app.command("firm")
def name_firm(
    which: Which,
    firm: Firm,
    reason: Reason = None,
    tenant: TenantSlug = None,
) -> None:
    """Name the firm of a license whose plan is for firms, and make its HMAC key."""
    from keywright.flows import firms

    with found(which, tenant) as (context, seller, license_id):
        held = firms.name_firm(context, seller, license_id, firm, act(reason))
        tell_if_unattended(context)
    print(f"{held.id} is for {held.firm} now")


def verify_hmac(text: str, firm: str, secret_file: Path, now: datetime, *, json: bool) -> None:
    """Check an HMAC key as an installation does: with firm, secret and metadata, and nothing else.

    Raises Invalid for a file that holds no secret, HmacKeyRefused.
    """
    from keywright.domain import hmac_key

    named = hmac_key.checked_firm(firm)
    secrets = _secrets_in(secret_file)
    presented = hmac_key.read(text)
    if presented is None:
        raise HmacKeyRefused("This is no HMAC key.")
    known = secrets.get(presented.body.epoch)
    if known is None:
        raise HmacKeyRefused(f"The key is of epoch {presented.body.epoch}, and there is no secret of that.")
    if not hmac_key.is_proven(presented, named, known):
        raise HmacKeyRefused("The key was altered, or is of another firm or product.")
    body = presented.body
    if body.ends_at <= now:
        raise HmacKeyRefused(f"The key ended with {body.last_date} (UTC).")
    told = {
        "firm": named,
        "product": body.product,
        "tier": body.tier,
        "seats": body.seats,
        "last_day": None if body.last_date is None else body.last_date.isoformat(),
        "epoch": body.epoch,
        "trial": body.trial,
    }
    if json:
        print_json(told)
    else:
        print_members(list(told.items()))


def _secrets_in(file: Path) -> dict[int, bytes]:
    """By epoch: the secrets in a file, one a line."""
    from keywright.domain.hmac_key import SECRET_BYTES

    refused = Invalid("The file must hold what `keywright license secret` printed, one a line.")
    try:
        lines = file.read_text("ascii").split()
    except UnicodeDecodeError:
        raise refused from None
    found = {}
    for line in lines:
        epoch, _, text = line.partition(".")
        try:
            key = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        except binascii.Error:
            raise refused from None
        if not epoch.isdigit() or len(epoch) > 3 or len(key) != SECRET_BYTES:
            raise refused
        found[int(epoch)] = key
    if not found:
        raise refused
    return found
