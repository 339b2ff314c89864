"""(e) and (f): Paystack's and PayPal's webhooks, which prove nothing until the provider has been asked.

Two figures each: how fast they are acknowledged, and how fast they become licenses. Each has a server of its
own, after all that is measured with Stripe, so that none of Stripe's figures knows of them.
"""

import itertools
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import msgspec

from benchmarks import measures, paypal, paystack, results
from benchmarks.confirmations import Confirmations
from benchmarks.load import LoadReport
from benchmarks.mails import Mails
from benchmarks.measures import Scale, Target
from benchmarks.results import Confirmed, Figure
from benchmarks.servers import SERVE, Server, run_once, serving
from keywright.sandbox.paypal_signing import Authority

ACCEPTED = '"outcome":"accepted"'

_PROVIDER = [sys.executable, "-m", "benchmarks.provider", "--port", "{port}"]
_LIMIT_S = "120"


class Foreign(msgspec.Struct, frozen=True):
    """A provider whose events have to be confirmed: its settings, and its deliveries in endless supply."""

    name: str
    figure: str
    env: dict[str, str]
    deliveries: Iterator[bytes]


def measure(
    echo: Server, env: dict[str, str], work: Path, scale: Scale, say: Callable[[str], None]
) -> tuple[list[Figure], list[Confirmed]]:
    """Both providers, one after the other, on the database that `env` names."""
    brief = msgspec.structs.replace(
        scale, seconds=scale.elsewhere_seconds, warmup=scale.elsewhere_seconds / 6
    )
    authority, now = Authority(work), int(time.time())
    certificate = work / "paypal-leaf.pem"
    certificate.write_bytes(authority.leaf)
    command = [*_PROVIDER, "--bought-at", str(now - 60), "--certificate", str(certificate)]
    figures, confirmed = [], []
    with serving(command, {}, work / "provider.log") as answering:
        base = f"http://127.0.0.1:{answering.port}"
        for foreign in (_paystack(base, now), _paypal(base, now, authority)):
            say(f"{foreign.name}: payments, and their licenses")
            with ExitStack() as stack:
                given = {**env, **foreign.env}
                server = stack.enter_context(serving(SERVE, given, work / f"{foreign.name}.log"))
                figure, told = _measure(foreign, Target(server, echo, work, brief), given)
            figures.append(figure)
            confirmed.append(told)
    return figures, confirmed


def _paystack(base: str, now: int) -> Foreign:
    return Foreign(
        "paystack",
        "(e) webhooks: Paystack's payments",
        {"PAYSTACK_SECRET_KEY": paystack.SECRET_KEY, "PAYSTACK_API_BASE": f"{base}/paystack"},
        paystack.deliveries(itertools.count(1), now=now),
    )


def _paypal(base: str, now: int, authority: Authority) -> Foreign:
    own = f"{base}/paypal"
    return Foreign(
        "paypal",
        "(f) webhooks: PayPal's payments",
        {
            # Only as a sandbox does Keywright take certificates of another authority than the public ones.
            "KEYWRIGHT_MODE": "sandbox",
            "PAYPAL_CA_FILE": str(authority.ca_file),
            "PAYPAL_API_BASE": own,
            "PAYPAL_CLIENT_ID": paypal.CLIENT_ID,
            "PAYPAL_CLIENT_SECRET": paypal.CLIENT_SECRET,
            "PAYPAL_WEBHOOK_ID": paypal.WEBHOOK_ID,
        },
        paypal.deliveries(itertools.count(1), authority=authority, base=own, now=now),
    )


def _measure(foreign: Foreign, target: Target, env: dict[str, str]) -> tuple[Figure, Confirmed]:
    scale, name = target.scale, foreign.name
    first = measures.write(target, f"{name}-first", itertools.islice(foreign.deliveries, 1))
    records = itertools.islice(foreign.deliveries, scale.deliveries_elsewhere)
    path = measures.write(target, name, records)
    # PayPal's certificate is fetched with the first event, and a token with its confirmation.
    measures.load(target.server, "--spool", str(first), "--connections", "1", "--match", ACCEPTED)
    found: list[tuple[float, float, Confirmations]] = []

    def drive() -> tuple[LoadReport, float]:
        cpu, began_at = target.server.cpu_s(), time.time()
        loaded = measures.weighed(target, path, ACCEPTED)
        ended_at = time.time()
        flags = ["--provider", name, "--limit", _LIMIT_S]
        output = run_once("benchmarks.confirmations", *flags, env=env, directory=target.work)
        told = msgspec.json.decode(output, type=Confirmations)
        last_at = told.last_license_at or ended_at
        found.append((target.server.cpu_s() - cpu, max(0.0, last_at - ended_at), told))
        took.append(max(last_at, ended_at) - began_at)
        return loaded

    took: list[float] = []
    measured = measures.beside_echo(target, path, drive)
    cpu_s, drain_s, told = found[0]
    output = run_once("benchmarks.mails", "--limit", _LIMIT_S, env=env, directory=target.work)
    mails = msgspec.json.decode(output, type=Mails)
    confirmed = Confirmed(
        provider=name,
        events=measured.report.sent,
        drain_s=round(drain_s, 2),
        per_second=round(measured.report.sent / took[0], 1),
        cpu_us=measures.each_us(cpu_s, measured.report.sent),
        found=told,
    )
    figure = results.against(foreign.figure, measured)
    return results.failed(figure, results.unconfirmed(told, measured.report.sent + 1, mails)), confirmed
