"""`sandbox`: the provider stand-in on its own, and its levers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer

from keywright.domain.errors import Invalid, ProviderUnavailable

app = typer.Typer(help="The provider stand-in on its own.", no_args_is_help=True)
clock_app = typer.Typer(help="Turn the sandbox clock.", no_args_is_help=True)
app.add_typer(clock_app, name="clock")

_DEFAULT_URL = "http://127.0.0.1:8900"
_SECONDS = {"m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}

Url = Annotated[str, typer.Option(envvar="STRIPE_API_BASE", help="Where the sandbox listens.")]


@app.command("serve")
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.", min=0, max=65535)] = 8900,
    data_dir: Annotated[Path, typer.Option(envvar="DATA_DIR", help="Folder of the shared clock.")] = Path(
        "data"
    ),
    webhook_url: Annotated[
        str | None, typer.Option(help="Where events go, e.g. http://127.0.0.1:8000/api/webhooks/stripe.")
    ] = None,
    webhook_secret: Annotated[
        str, typer.Option(envvar="STRIPE_WEBHOOK_SECRET", help="The secret that signs them.")
    ] = "",
) -> None:
    """Run the sandbox until it is stopped. What it knows is in memory; only the clock is kept."""
    from keywright.sandbox.app import serve as run  # the web stack is not needed for the other commands

    data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    run(host, port, data_dir=data_dir, webhook_url=webhook_url, webhook_secret=webhook_secret)


@app.command("trigger")
def trigger(
    event: Annotated[str, typer.Argument(help="An event name, e.g. checkout.session.completed.")],
    order: Annotated[str, typer.Option(help="as_created or shuffle.")] = "as_created",
    duplicate: Annotated[int, typer.Option(help="Send each event this many times more.", min=0)] = 0,
    delay: Annotated[float, typer.Option(help="Seconds before sending.", min=0)] = 0.0,
    url: Url = _DEFAULT_URL,
) -> None:
    """Make the sandbox do what makes this event happen."""
    _ask(url, "switches", {"order": order, "duplicates": duplicate, "delay": delay})
    _ask(url, "trigger", {"event": event})
    print(f"triggered {event}")


@clock_app.command("advance")
def advance(
    span: Annotated[str, typer.Argument(help="How far: 30d, 12h, 45m, 2w.")], url: Url = _DEFAULT_URL
) -> None:
    """Turn the clock forward; what becomes due at the provider happens, in order."""
    found = re.fullmatch(r"(\d{1,5})([mhdw])", span)
    if found is None:
        raise Invalid(f"{span!r} is not a span of time. Write 30d, 12h, 45m or 2w.")
    _ask(url, "clock/advance", {"seconds": int(found[1]) * _SECONDS[found[2]]})
    print(f"the clock is {span} further")


def _ask(url: str, path: str, body: dict[str, Any]) -> None:
    try:
        answer = httpx.post(f"{url.rstrip('/')}/_sandbox/{path}", json=body, timeout=60)
    except httpx.TransportError:
        raise ProviderUnavailable(
            f"No sandbox answers at {url}. Start one with: keywright sandbox serve"
        ) from None
    if answer.status_code >= 400:
        raise Invalid(f"The sandbox refused: {answer.text[:300]}")
