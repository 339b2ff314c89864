"""`key`: the signing keys, the offline root above them, and the master key of the vault."""

from __future__ import annotations

import os
import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from keywright.cli import key_master
from keywright.cli.session import (
    AsJson,
    TenantSlug,
    actor,
    opened,
    print_json,
    print_members,
    print_table,
    tenant_of,
)
from keywright.domain.errors import Misconfigured
from keywright.flows.provider_checks import Line

if TYPE_CHECKING:
    from keywright.flows.context import Context
    from keywright.flows.signing_keys import Changed, KeyRow

app = typer.Typer(no_args_is_help=True, help="Signing keys, and the master key.")
root_app = typer.Typer(no_args_is_help=True, help="The offline root that signs the key set.")
app.add_typer(root_app, name="root")
app.command("master")(key_master.show)
app.command("rotate-master")(key_master.rotate)

Reason = Annotated[str | None, typer.Option("--reason", help="Why. It stays with the key.")]
OutFile = Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Default: stdout.")]

_NEAR = timedelta(days=30)


@app.callback()
def group() -> None:
    """Signing keys, and the master key."""


@root_app.callback()
def root_group() -> None:
    """The offline root that signs the key set."""


@app.command("list")
def list_(tenant: TenantSlug = None, json: AsJson = False) -> None:
    """The tenant's signing keys. Their private halves are never shown."""
    from keywright.flows import signing_keys

    with opened() as context:
        shown = signing_keys.show(context, tenant_of(context, tenant).id)
    if json:
        print_json(shown.items)
        return
    _print_keys(shown.items)
    if shown.signed_set is not None:
        print()
        print_members(
            [
                ("root", shown.signed_set.root),
                ("signed set", shown.signed_set.seq),
                ("signed", shown.signed_set.signed_at),
                ("ends", shown.signed_set.signed_until),
            ]
        )


def _print_keys(keys: list[KeyRow]) -> None:
    heads = ("key id", "type", "state", "published", "signed from", "until", "revoked", "by", "in signed set")
    told = {True: "yes", False: "no", None: None}
    rows = [
        (
            *(k.kid, k.type, k.state, k.created_at, k.activated_at, k.retired_at, k.revoked_at),
            *(k.changed_by, told[k.in_signed_set]),
        )
        for k in keys
    ]
    print_table(heads, rows)


@app.command()
def rotate(
    type_: Annotated[
        str | None,
        typer.Option("--type", metavar="TYPE", help="lic+jwt, lease+jwt or crl+jwt. Default: all."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Even if the offline root has not signed for the next key.")
    ] = False,
    reason: Reason = None,
    tenant: TenantSlug = None,
    json: AsJson = False,
) -> None:
    """Let the next key sign; keep the old one for checking; publish another next. No restart is needed."""
    from keywright.flows import signing_keys
    from keywright.flows.signing_keys import KeyAct

    with opened() as context:
        seller = tenant_of(context, tenant).id
        act = KeyAct(actor(), reason)
        done = signing_keys.rotate(context, seller, act, token_type=type_, force=force)
    _tell(done, as_json=json)


# One key id of 64 begins with a dash, and is no option.
@app.command(context_settings={"ignore_unknown_options": True})
def revoke(
    kid: Annotated[str, typer.Argument(metavar="KID", help="The key's id, from `key list`.")],
    reason: Reason = None,
    tenant: TenantSlug = None,
    json: AsJson = False,
) -> None:
    """Let no token of a key count any longer. If it was active, the next key signs at once."""
    from keywright.flows import signing_keys
    from keywright.flows.signing_keys import KeyAct

    with opened() as context:
        done = signing_keys.revoke(context, tenant_of(context, tenant).id, kid, KeyAct(actor(), reason))
    _tell(done, as_json=json)


def _tell(done: Changed, *, as_json: bool) -> None:
    if as_json:
        print_json(done)
        return
    _print_keys(done.items)
    for note in done.notes:
        print(f"keywright: {note}", file=sys.stderr)


@app.command()
def export(
    root: Annotated[
        Path | None,
        typer.Option("--root", metavar="FILE", help="The file of the offline root: signs with it."),
    ] = None,
    days: Annotated[int, typer.Option(help="For how many days the signed set counts.")] = 400,
    out: OutFile = None,
    tenant: TenantSlug = None,
) -> None:
    """The public keys: as a JWKS, or with --root signed, and served from then on."""
    import msgspec

    from keywright.flows import key_sets
    from keywright.signing import root_key

    with opened() as context:
        seller = tenant_of(context, tenant).id
        if root is None:
            _write(out, msgspec.json.format(msgspec.json.encode(context.signer.key_set(seller))).decode())
            return
        signed = key_sets.sign_key_set(context, seller, root_key.read(root), by=actor(), days=days)
        document = key_sets.get_document(context, seller)
    _write(out, document)
    print(f"Signed as number {signed.seq}, until {signed.signed_until:%Y-%m-%d}.", file=sys.stderr)


def _write(out: Path | None, text: str) -> None:
    if out is None:
        print(text)
        return
    try:
        out.write_text(f"{text}\n", encoding="ascii")
    except OSError as error:
        raise Misconfigured(f"{out} cannot be written: {error.strerror}.") from None


@root_app.command("create")
def create_root(
    out: Annotated[
        Path, typer.Option("--out", metavar="FILE", help="Where the private half goes: off the server.")
    ],
    replace: Annotated[
        bool,
        typer.Option("--replace", help="Begin anew: programs that pin the old root believe nothing more."),
    ] = False,
    tenant: TenantSlug = None,
    json: AsJson = False,
) -> None:
    """Make the root that programs pin. Its private half goes into FILE alone, its public half is printed."""
    from keywright.flows import key_sets
    from keywright.signing import root_key

    with opened() as context:
        seller = tenant_of(context, tenant).id
        made = root_key.create(out)
        try:
            key_sets.pin_root(context, seller, made, by=actor(), replace=replace)
        except BaseException:
            os.unlink(out)  # a root that is pinned nowhere would only be taken for the one that is
            raise
        told = {"root": key_sets.public_of(made), "kid": made.kid, "file": str(out)}
    if json:
        print_json(told)
        return
    print_members(list(told.items()))
    print(
        f"keywright: next: keywright key export --root {out}. Then take the file off this machine, and keep "
        "two copies of it.",
        file=sys.stderr,
    )


@root_app.command("show")
def show_root(tenant: TenantSlug = None, json: AsJson = False) -> None:
    """The public half of the root, for programs to pin, and the set that it has signed."""
    from keywright.flows import signing_keys

    with opened() as context:
        signed = signing_keys.show(context, tenant_of(context, tenant).id).signed_set
    if signed is None:
        raise Misconfigured("There is no root. To make one: keywright key root create --out FILE")
    if json:
        print_json(signed)
    else:
        ends = [("signed", signed.signed_at), ("ends", signed.signed_until)]
        print_members([("root", signed.root), ("signed set", signed.seq), *ends])


def signed_set_line(context: Context) -> Line:
    """What `doctor` says of the key set under the offline root of the master tenant."""
    from keywright.flows import signing_keys

    shown = signing_keys.show(context, context.master.id)
    again = "Run: keywright key export --root FILE"
    signed = shown.signed_set
    if signed is None:
        return Line("signed keys", "note", "no offline root: programs that pin keys must carry each new one.")
    if signed.signed_until is None:
        return Line("signed keys", "wrong", f"the offline root has signed none yet. {again}")
    left = signed.signed_until - context.clock.now()
    if left <= timedelta(0):
        return Line(
            "signed keys", "wrong", f"the signed set ended on {signed.signed_until:%Y-%m-%d}. {again}"
        )
    if any(k.state == "active" and not k.in_signed_set for k in shown.items):
        return Line("signed keys", "wrong", f"a key signs that the offline root has not signed for. {again}")
    if any(k.state == "revoked" and k.in_signed_set for k in shown.items):
        return Line("signed keys", "wrong", f"the signed set still tells of a revoked key. {again}")
    if any(k.state == "next" and not k.in_signed_set for k in shown.items):
        return Line("signed keys", "note", f"the signed set lacks the next key, so none can rotate. {again}")
    if left < _NEAR:
        return Line("signed keys", "note", f"the signed set ends in {left.days} days. {again}")
    return Line("signed keys", "ok", f"number {signed.seq}, until {signed.signed_until:%Y-%m-%d}")
