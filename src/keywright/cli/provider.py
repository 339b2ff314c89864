"""`provider`: go live at a payment provider, and try whether it works."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer

from keywright.cli.session import AsJson, TenantSlug, opened, print_json, tenant_of
from keywright.domain.errors import Invalid, KeywrightError, ProviderUnavailable
from keywright.flows.provider_checks import (
    Asked,
    Line,
    account_of,
    account_path,
    check_provider,
    check_secret,
    not_set_up,
    quiet_probes,
)

if TYPE_CHECKING:
    from keywright.flows.context import Context, Door
    from keywright.flows.credentials import Credentials
    from keywright.flows.provider_setup import Done
    from keywright.settings import Settings

app = typer.Typer(no_args_is_help=True, help="Payment providers: set up, and try out.")

_BUYER = "buyer@example.com"
_WEBHOOK_SECONDS = 20.0
_LONGEST_LINE = 1000
# Provider -> the sandbox's lever for paying a checkout, and the body that names it.
_LEVERS: dict[str, tuple[str, Callable[[str], dict[str, str]]]] = {
    "stripe": ("pay", lambda session: {"session": session, "email": _BUYER}),
    "paystack": ("pay", lambda session: {"reference": session}),
    "paypal": ("approve", lambda session: {"id": session, "email": _BUYER}),
}


class Provider(StrEnum):
    """Whom to set up."""

    stripe = "stripe"
    paystack = "paystack"
    paypal = "paypal"


@app.command("add", hidden=True)  # what one looks for when a tenant is to have a first account
@app.command("setup")
def set_up(
    provider: Annotated[Provider, typer.Argument(help="Which provider.")],
    url: Annotated[
        str | None, typer.Option(help="Where the world reaches this server. Default: APP_BASE_URL.")
    ] = None,
    store_key: Annotated[
        bool, typer.Option("--store-key", help="Keep the API key in the vault, so that no file need hold it.")
    ] = False,
    new_key: Annotated[
        bool, typer.Option("--new-key", help="Ask for the credentials, also where some are kept already.")
    ] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Make a new endpoint with a new secret, and remove the old.")
    ] = False,
    tenant: TenantSlug = None,
    json: AsJson = False,
) -> None:
    """Register our webhook endpoint, keep its secret in the vault, and compare the prices. Idempotent."""
    from keywright import bootstrap
    from keywright.flows import provider_setup
    from keywright.flows.provider_setup import Wish

    settings = bootstrap.read_settings()
    with opened() as everybody:
        context = everybody.of(tenant_of(everybody, tenant).id)
        quiet_probes()
        door = context.doors[provider.value]
        found, typed = _credentials(door, new=new_key, piped=tenant is not None)
        setup = door.open(found)
        account = account_of(context, found)
        wish = Wish(
            url=_address(url or settings.base_url, account_path(context, account)),
            kinds=door.kinds,
            given=door.given[1],
            replace=replace,
            keys=tuple(zip(door.kinds.keys, found.keys, strict=False)) if typed or store_key else (),
        )
        done = provider_setup.set_up(context, setup, account, wish)
    if json:
        print_json(done)
    else:
        _print(done, restart=context.tenant.id == context.master.id)
    if done.left:
        for left in done.left:
            print(f"keywright: {left}", file=sys.stderr)
        raise typer.Exit(1)


def _credentials(door: Door, *, new: bool, piped: bool) -> tuple[Credentials, bool]:
    """Those of the environment and the vault; else they are asked for, hidden, where somebody can answer.

    `new`: asked for in any case. `piped`: read from standard input, one a line, where nobody can answer: a
    tenant's credentials are in no environment.
    """
    from keywright.flows.provider_setup import setting_of

    if not new:
        found = door.find()
        if found.keys or not (_can_answer() or piped):
            return found, False
    names = [setting_of(kind) for kind in door.kinds.keys]
    if _can_answer():
        typed = tuple(typer.prompt(name, hide_input=True, err=True).strip() for name in names)
    else:
        typed = tuple(sys.stdin.readline(_LONGEST_LINE).strip() for _ in names)
    if not all(typed):
        raise Invalid(f"Put {' and '.join(names)} on standard input, one a line.")
    return door.typed(typed), True


def _can_answer() -> bool:
    return sys.stdin.isatty()


def _address(url: str, path: str) -> str:
    """The webhook address: below a plain base address, or as it was given with a path of its own."""
    return url if "/api/" in urlsplit(url).path else f"{url.rstrip('/')}{path}"


def _print(done: Done, *, restart: bool) -> None:
    print(f"{done.provider}: {done.account}, {'live' if done.live else 'test'} mode")
    for act in done.did:
        print(f"  {act}")
    if done.endpoint is not None and not done.did:
        print(f"  the endpoint {done.endpoint} is as it should be")
    for number, click in enumerate(done.by_hand, 1):
        print(f"  {number}. {click}")
    for note in done.notes:
        print(f"  note: {note}")
    for price in done.prices.mapped:
        differs = f"; {price.differs}" if price.differs else ""
        print(f"  {price.external_id} is {price.plan} {price.key}{differs}")
    for price in done.prices.unknown:
        print(f"  {price.external_id} ({price.plan} {price.key}) is not on sale there in this mode")
    if done.prices.lines:
        print("  not in the catalog; paste what you sell into the `prices` of a plan:")
        for line in done.prices.lines:
            print(f"    {line}")
    if restart and any("secret" in act or "credentials" in act for act in done.did):
        print("Restart the server, so that it takes what is new in the vault.")


@app.command("test")
def try_out(
    provider: Annotated[Provider | None, typer.Argument(help="Default: each that is set up.")] = None,
    tenant: TenantSlug = None,
    json: AsJson = False,
) -> None:
    """Try key, mode, webhook and secret; walk a checkout in test mode. Exits 1 when something is wrong."""
    from keywright import bootstrap

    settings = bootstrap.read_settings()
    lines = []
    with opened() as everybody:
        context = everybody.of(tenant_of(everybody, tenant).id)
        quiet_probes()
        for line in _lines(context, settings, provider):
            lines.append(line)
            if not json:
                print(f"{line.state:<5}  {line.check}: {line.says}", flush=True)
    if json:
        print_json(lines)
    if wrong := [line.check for line in lines if line.state == "wrong"]:
        print(f"keywright: not well: {', '.join(wrong)}", file=sys.stderr)
        raise typer.Exit(1)


def _lines(context: Context, settings: Settings, provider: Provider | None) -> Iterator[Line]:
    names = [provider.value] if provider is not None else list(context.channels)
    if not names:
        yield from (not_set_up(context, one.value, "note") for one in Provider)
        yield Line("providers", "wrong", "none is set up.")
    for name in names:
        asked = Asked(context, name, strict=True)
        fine = True
        for line in check_provider(asked, secret=False):
            fine = fine and line.state != "wrong"
            yield line
        channel = context.channels.get(name)
        if channel is not None and channel.api is not None and channel.secrets:
            yield _walk(asked, settings, fine=fine)
            yield check_secret(asked)  # last, because the walk may have proven it


def _walk(asked: Asked, settings: Settings, *, fine: bool) -> Line:
    """Open a checkout for the cheapest plan; pay it where the provider is our own sandbox."""
    from keywright import adapters
    from keywright.flows import provider_walk

    check = f"{asked.provider} checkout"
    if asked.context.channels[asked.provider].account.live:
        return Line(
            check, "note", "live mode, so none is opened. Buy your cheapest plan yourself and refund it."
        )
    if not fine:
        return Line(check, "note", "not tried before the rest is well.")
    try:
        walked = provider_walk.open_cheapest(asked.context, asked.provider, _BUYER)
    except KeywrightError as error:
        return Line(check, "wrong", f"it could not be opened: {error.detail}")
    if walked is None:
        return Line(check, "note", "no plan has a price there. Run: keywright catalog apply FILE")
    sandbox = adapters.sandbox_address(settings, asked.provider)
    if sandbox is None:
        return Line(check, "ok", f"{walked.reference} for {walked.plan} is open. Pay it with a test card at "
                    f"{walked.url} and then see: keywright event list")  # fmt: skip
    try:
        _pay(sandbox, asked.provider, walked.session)
    except KeywrightError as error:
        return Line(check, "wrong", f"{walked.reference} is open; it could not be paid: {error.detail}")
    return _settled(asked, walked.reference, check)


def _pay(sandbox: str, provider: str, session: str) -> None:
    """Pay at our own sandbox, as its pay page would. Raises ProviderUnavailable, Invalid."""
    import httpx

    lever, body_of = _LEVERS[provider]
    try:
        answer = httpx.post(f"{sandbox}/_sandbox/{provider}/{lever}", json=body_of(session), timeout=30)
    except httpx.HTTPError as error:
        raise ProviderUnavailable(
            f"the sandbox at {sandbox} does not answer ({type(error).__name__})"
        ) from None
    if answer.status_code != 200:
        raise Invalid(f"the sandbox answers {answer.status_code}")


def _settled(asked: Asked, reference: str, check: str) -> Line:
    """Wait for the webhook; without one, ask the provider, to tell a lost webhook from a lost payment."""
    from keywright.flows import checkout

    began = time.monotonic()
    while time.monotonic() - began < _WEBHOOK_SECONDS:
        if checkout.status(asked.context, reference).status == "paid":
            took = time.monotonic() - began
            return Line(check, "ok", f"{reference} was paid, and the webhook came after {took:.1f} s")
        time.sleep(0.1)
    try:
        standing = checkout.verify_now(asked.context, reference).status
    except KeywrightError as error:
        return Line(check, "wrong", f"no webhook came for {reference}, and asking failed: {error.detail}")
    if standing == "paid":
        return Line(check, "wrong", f"{reference} was paid, and no webhook came within "
                    f"{_WEBHOOK_SECONDS:.0f} s: see the lines on endpoint and secret.")  # fmt: skip
    return Line(check, "wrong", f"{reference} is {standing} {_WEBHOOK_SECONDS:.0f} s after it was paid.")
