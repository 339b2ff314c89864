"""`keywright`: the commands, and how a refusal leaves them: exit 1 and one line on stderr."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from keywright import __version__
from keywright.cli import (
    backup,
    catalog,
    checks,
    collector,
    demo,
    doctor,
    event,
    importing,
    key,
    license,  # noqa: A004  # as its command
    look,
    provider,
    reconcile,
    sandbox,
    serve,
    staff,
    tenant,
    token,
    webhook,
)
from keywright.domain.errors import KeywrightError

app = typer.Typer(
    name="keywright",
    help="Payment in, license out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("demo")(demo.demo)
app.command("serve")(serve.serve)
app.command("worker")(serve.worker)
app.command("migrate")(serve.migrate)
app.command("backup")(backup.backup)
app.command("restore")(backup.restore)
app.command("doctor")(doctor.doctor)
app.command("verify")(checks.verify)
app.command("integrity")(checks.integrity)
app.command("reconcile")(reconcile.reconcile)
app.command("import")(importing.import_all)
app.add_typer(tenant.app, name="tenant")
app.add_typer(catalog.app, name="catalog")
app.add_typer(provider.app, name="provider")
app.add_typer(license.app, name="license")
app.add_typer(event.app, name="event")
app.add_typer(key.app, name="key")
app.add_typer(token.app, name="token")
app.add_typer(look.app, name="look")
app.add_typer(webhook.app, name="webhook")
app.add_typer(staff.app, name="staff")
app.add_typer(sandbox.app, name="sandbox")


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"keywright {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Payment in, license out."""


def main() -> None:
    """Run a command. Exits 0, 1 for a refusal, 2 for wrong usage."""
    collector.look_seldom()
    try:
        app()
    except KeywrightError as error:
        _refuse(f"{error.detail} [{error.code}]" if error.code != "MISCONFIGURED" else error.detail)
    except BrokenPipeError:
        # The reader of our output went away, as `head` does. Not an error of ours; stdout is gone.
        sys.stderr.close()
        sys.exit(1)
    except Exception as error:  # noqa: BLE001  # a traceback may show what must not be shown
        _refuse(_reason(error))


def _refuse(line: str) -> None:
    print(f"keywright: {line}", file=sys.stderr)
    sys.exit(1)


def _reason(error: Exception) -> str:
    """What may be told of an error that is not ours. Messages may quote addresses and secrets."""
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if kinds & {"OperationalError", "InterfaceError"}:
        return "The database cannot be reached or is busy. Run: keywright doctor"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return f"Something went wrong on our side: {type(error).__module__}.{type(error).__qualname__}"


if __name__ == "__main__":
    main()
