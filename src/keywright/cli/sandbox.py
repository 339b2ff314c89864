"""`sandbox`: the provider stand-in on its own, and its levers."""

from __future__ import annotations

import re
import socket
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer

from keywright.cli.session import AsJson, print_json
from keywright.domain.errors import Invalid, Misconfigured, ProviderUnavailable

app = typer.Typer(help="The provider stand-in on its own.", no_args_is_help=True)
clock_app = typer.Typer(help="Turn the sandbox clock.", no_args_is_help=True)
app.add_typer(clock_app, name="clock")

_DEFAULT_URL = "http://127.0.0.1:8900"
_SECONDS = {"m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


class Order(StrEnum):
    """In which order the events of one trigger are sent."""

    as_created = "as_created"
    shuffle = "shuffle"


class Provider(StrEnum):
    """Whose stand-in."""

    stripe = "stripe"
    paystack = "paystack"
    paypal = "paypal"


Url = Annotated[str, typer.Option(envvar="STRIPE_API_BASE", help="Where the sandbox listens.")]


@app.command("serve")
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.", min=0, max=65535)] = 8900,
    data_dir: Annotated[Path, typer.Option(envvar="DATA_DIR", help="Folder of the shared clock.")] = Path(
        "data"
    ),
    app_url: Annotated[
        str | None,
        typer.Option(help="The server, e.g. http://127.0.0.1:8000: events of all providers go there."),
    ] = None,
    webhook_url: Annotated[
        str | None, typer.Option(help="Where Stripe's events go, when it is somewhere else.")
    ] = None,
    webhook_secret: Annotated[
        str, typer.Option(envvar="STRIPE_WEBHOOK_SECRET", help="The secret that signs them.")
    ] = "",
) -> None:
    """Run the sandbox until it is stopped. What it knows is in memory; only the clock is kept."""
    from keywright.sandbox.app import DEFAULT_API_KEY  # the web stack is not needed for the other commands
    from keywright.sandbox.app import serve as run

    if (webhook_url or app_url) and not webhook_secret:
        asked = "--app-url" if app_url else "--webhook-url"
        raise Misconfigured(f"{asked} needs --webhook-secret, or STRIPE_WEBHOOK_SECRET, to sign with.")
    data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    free = _free_port(host, port)
    shown = "127.0.0.1" if host in ("0.0.0.0", "::") else host  # noqa: S104  # compared with, not bound to
    url = f"http://{f'[{shown}]' if ':' in shown else shown}:{free}"
    print(_told(url, DEFAULT_API_KEY, data_dir.absolute(), app_url or webhook_url), flush=True)
    run(
        host,
        free,
        data_dir=data_dir,
        webhook_url=webhook_url,
        webhook_secret=webhook_secret,
        app_url=app_url,
    )


def _told(url: str, key: str, data_dir: Path, webhook_url: str | None) -> str:
    """Where the sandbox is, and what the server's environment must say to use it."""
    from keywright.sandbox import paypal, paypal_api, paystack

    events = f"Events go to {webhook_url}, signed as each provider signs."
    if webhook_url is None:
        events = "Events go nowhere: give --app-url and --webhook-secret."
    return f"""The sandbox listens at {url}. Nothing here is real money.

  Index page      {url}/
  API key         {key}
  {events}

Start the server with:

  KEYWRIGHT_MODE=sandbox
  DATA_DIR={data_dir}
  STRIPE_API_BASE={url}
  STRIPE_SECRET_KEY={key}
  STRIPE_WEBHOOK_SECRET=<the same as here>
  PAYSTACK_API_BASE={url}/paystack
  PAYSTACK_SECRET_KEY={paystack.SECRET_KEY}
  PAYPAL_API_BASE={url}
  PAYPAL_CLIENT_ID={paypal_api.CLIENT_ID}
  PAYPAL_CLIENT_SECRET={paypal_api.CLIENT_SECRET}
  PAYPAL_WEBHOOK_ID={paypal.WEBHOOK_ID}
  PAYPAL_CA_FILE={data_dir / "paypal-ca.pem"}

Stop with Ctrl-C."""


def _free_port(host: str, port: int) -> int:
    """The port, or any when it is 0. A taken one is refused before an address is printed."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise Misconfigured(f"Cannot listen on {host} port {port}: {error.strerror}.") from None
        return int(probe.getsockname()[1])


@app.command("trigger")
def trigger(
    event: Annotated[str, typer.Argument(help="An event name, e.g. checkout.session.completed.")],
    order: Annotated[Order, typer.Option(help="How its events are ordered.")] = Order.as_created,
    duplicate: Annotated[int, typer.Option(help="Send each event this many times more.", min=0)] = 0,
    delay: Annotated[float, typer.Option(help="Seconds before sending.", min=0)] = 0.0,
    url: Url = _DEFAULT_URL,
    json: AsJson = False,
) -> None:
    """Make the sandbox do what makes this event happen."""
    _ask(url, "switches", {"order": order.value, "duplicates": duplicate, "delay": delay})
    done = _ask(url, "trigger", {"event": event})
    if json:
        print_json({"event": event, **done})
    else:
        print(f"triggered {event}")


@app.command("fill")
def fill(
    provider: Annotated[Provider, typer.Option(help="At which provider.")] = Provider.stripe,
    subscriptions: Annotated[int, typer.Option(help="How many.", min=1, max=20_000)] = 100,
    seed: Annotated[int | None, typer.Option(help="The same number makes the same shop.")] = None,
    rate_limit: Annotated[
        float | None, typer.Option(help="Requests a second that it takes from now on; others get 429.")
    ] = None,
    url: Url = _DEFAULT_URL,
    json: AsJson = False,
) -> None:
    """Put a shop there that existed before: subscriptions of every status and age. Nothing is sent."""
    if rate_limit is not None:
        _ask(url, "limits", {"provider": provider.value, "a_second": rate_limit})
    wish = {"provider": provider.value, "subscriptions": subscriptions, "seed": seed}
    done = _ask(url, "fill", wish)
    if json:
        print_json(done)
        return
    print(f"{subscriptions} subscriptions are at {provider.value}; seed {done['seed']}. Its prices:")
    for name, id_ in done["prices"].items():
        print(f"  {name.ljust(14)} {id_}")


@clock_app.command("advance")
def advance(
    span: Annotated[str, typer.Argument(help="How far: 30d, 12h, 45m, 2w.")],
    url: Url = _DEFAULT_URL,
    json: AsJson = False,
) -> None:
    """Turn the clock forward; what becomes due at the provider happens, in order."""
    found = re.fullmatch(r"(\d{1,5})([mhdw])", span)
    if found is None:
        raise Invalid(f"{span!r} is not a span of time. Write 30d, 12h, 45m or 2w.")
    done = _ask(url, "clock/advance", {"seconds": int(found[1]) * _SECONDS[found[2]]})
    if json:
        print_json(done)
    else:
        print(f"the clock is {span} further")


def _ask(url: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
    try:
        answer = httpx.post(f"{url.rstrip('/')}/_sandbox/{path}", json=body, timeout=300)
    except httpx.TransportError:
        raise ProviderUnavailable(
            f"No sandbox answers at {url}. Start one with: keywright sandbox serve"
        ) from None
    if answer.status_code >= 400:
        raise Invalid(f"The sandbox refused: {_reason_in(answer)}")
    told = answer.json()
    return told if isinstance(told, dict) else {}


def _reason_in(answer: httpx.Response) -> str:
    """The sandbox's own words, or what another server at this address said."""
    try:
        told = answer.json()
    except ValueError:
        return answer.text[:300]
    for name in ("error", "detail"):
        said = told.get(name) if isinstance(told, dict) else None
        said = said.get("message") if isinstance(said, dict) else said
        if isinstance(said, str):
            return said
    return answer.text[:300]
