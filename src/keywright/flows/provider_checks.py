"""What `doctor`, `provider test` and the console find out of a provider: key, mode, webhook, secret, prices.

Commands that have nothing to do with it import this module, too: what is heavy is imported where it is used.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal

import msgspec

from keywright.domain.errors import Forbidden, KeywrightError, Misconfigured, Unsupported

if TYPE_CHECKING:
    from keywright.flows.context import Context
    from keywright.flows.credentials import Credentials
    from keywright.ports import Delivery, Endpoint, ProviderSetup
    from keywright.store.tenants import ProviderAccount

_LOOKED_AT = 50
_RECENT = timedelta(days=1)
State = Literal["ok", "note", "wrong"]


class Line(msgspec.Struct, frozen=True):
    """`note`: works, but know this. `wrong`: does not work; `says` tells what to do."""

    check: str
    state: State
    says: str


class Asked(msgspec.Struct, frozen=True):
    """What is looked at. `strict`: a server must be running, and credentials must be there."""

    context: Context
    provider: str
    strict: bool

    @property
    def url(self) -> str:
        return address_of(self.context, self.provider)

    @property
    def command(self) -> str:
        """What sets this provider up for this tenant."""
        of = self.context.tenant
        return f"keywright provider setup {self.provider}{'' if of.is_master else f' --tenant {of.slug}'}"

    @property
    def less(self) -> State:
        """How bad it is when nothing is set up yet, or no server runs."""
        return "wrong" if self.strict else "note"


def quiet_probes() -> None:
    """Keep the lines about our own requests out of the log."""
    for talkative in ("httpcore", "httpx", "stripe", "urllib3"):
        logging.getLogger(talkative).setLevel(logging.WARNING)


def webhook_url(base: str, provider: str) -> str:
    """Where a provider delivers to the master tenant."""
    return f"{base.rstrip('/')}/api/webhooks/{provider}"


def address_of(context: Context, provider: str) -> str:
    """Where a provider delivers to the tenant of this context; empty for one without an account there yet."""
    from keywright.flows.connecting import CONNECT_PATHS
    from keywright.store import tenants

    base = webhook_url(context.policy.base_url, provider)
    if context.tenant.id == context.master.id:
        return base
    door = context.doors[provider]
    with context.database.read() as connection:
        accounts = tenants.accounts_of(connection, [context.tenant.id]).get(context.tenant.id, [])
    live = door.started_with.live
    fitting = [one for one in accounts if one.provider == provider and live in (None, one.mode == "live")]
    if fitting and fitting[-1].connected:
        # What happens there comes to the platform, for all accounts alike.
        path = CONNECT_PATHS.get(provider)
        return f"{context.policy.base_url.rstrip('/')}{path}" if path else base
    return f"{base}/{fitting[-1].id}" if fitting else ""


def account_address(context: Context, account: ProviderAccount) -> str:
    """Where a provider delivers to this account."""
    return f"{context.policy.base_url.rstrip('/')}{account_path(context, account)}"


def account_path(context: Context, account: ProviderAccount) -> str:
    """The path of that address."""
    base = webhook_url("", account.provider)
    return base if account.tenant_id == context.master.id else f"{base}/{account.id}"


def check_provider(asked: Asked, *, secret: bool = True) -> Iterator[Line]:
    """All there is to say about one provider, the key first. Later lines are left out where they would only
    repeat an earlier one. `secret` False: leave that line to `check_secret`, after something was sold."""
    found = _found(asked)
    if isinstance(found, Line):
        yield found
        return
    account = account_of(asked.context, found)
    setup, who = _open(asked, found)
    yield who
    reachable = who.state != "wrong"
    if found != asked.context.doors[asked.provider].started_with:
        yield Line(f"{asked.provider} server", "wrong", "the credentials were changed since this server "
                   "started: restart it, so that it takes the present ones.")  # fmt: skip
    if not found.secrets:
        first = _or_set(asked, _names(asked)[1])
        yield Line(_hook(asked), "wrong", f"no webhook is believed: {first}run: {asked.command}")
    elif setup is None:
        yield Line(_hook(asked), "ok", f"point {asked.provider.capitalize()} at {asked.url}")
    else:
        yield knock(asked, setup.greeting(found.secrets[0], asked.context.clock.now()))
    if setup is not None and reachable:
        endpoint, line = _endpoint(asked, setup)
        yield line
        if secret:
            yield _secret(asked, setup, found, account, endpoint)
        yield _prices(asked, setup, account)


def check_secret(asked: Asked) -> Line:
    """Whether what the provider signs with is what we check with, as far as can be known from here."""
    found = _found(asked)
    setup, who = (None, found) if isinstance(found, Line) else _open(asked, found)
    if setup is None or who.state == "wrong" or isinstance(found, Line):
        return Line(f"{asked.provider} secret", "note", "not known without the provider.")
    endpoint, _ = _endpoint(asked, setup)
    return _secret(asked, setup, found, account_of(asked.context, found), endpoint)


def not_set_up(context: Context, provider: str, state: State) -> Line:
    asked = Asked(context, provider, strict=True)
    names = ", ".join(_names(asked)[0])
    first = f"set {names}, and " if context.tenant.is_master else ""
    return Line(provider, state, f"not set up: {first}run: {asked.command}")


def _or_set(asked: Asked, name: str) -> str:
    """The environment's setting is a way for the master tenant alone."""
    return f"set {name}, or " if asked.context.tenant.is_master else ""


def account_of(context: Context, found: Credentials) -> ProviderAccount:
    """The account, of the tenant of this context, that these credentials open; made when it is new."""
    from keywright.store import tenants

    with context.database.write() as connection:
        return tenants.get_account(
            connection,
            context.tenant.id,
            found.provider,
            live=bool(found.live),
            new_id=context.new_id("pac"),
            now=context.clock.now(),
        )


def _found(asked: Asked) -> Credentials | Line:
    """What there is of credentials, or what is to be said instead."""
    try:
        found = asked.context.doors[asked.provider].find()
    except Misconfigured as error:
        return Line(asked.provider, "wrong", error.detail)
    if not found.keys and not found.secrets:
        return not_set_up(asked.context, asked.provider, asked.less)
    return found


def _names(asked: Asked) -> tuple[list[str], str]:
    """The settings of a provider's keys, and that of its webhook secret."""
    from keywright.flows.provider_setup import setting_of

    kinds = asked.context.doors[asked.provider].kinds
    return [setting_of(kind) for kind in kinds.keys], setting_of(kinds.secret)


def _hook(asked: Asked) -> str:
    return f"{asked.provider} webhook"


def _open(asked: Asked, found: Credentials) -> tuple[ProviderSetup | None, Line]:
    """The way to the provider, and what its key is worth."""
    context, provider = asked.context, asked.provider
    names = " and ".join(_names(asked)[0])
    if not found.keys:
        return None, Line(provider, "note", f"webhooks only: set {names} to sell from here.")
    setup = None
    try:
        setup = context.doors[provider].open(found)
        who = setup.whose()
    except Forbidden as error:
        return setup, Line(provider, "note", f"the key works, and may not say whose it is: {error.detail}")
    except KeywrightError as error:
        says = error.detail if error.detail.endswith(".") else f"{error.detail}."
        return setup, Line(provider, "wrong", f"{says} See {names}.")
    if not found.live and not context.policy.sandbox:
        return setup, Line(provider, "ok", f"test mode, {who}: no real money moves")
    return setup, Line(provider, "ok", f"{'live' if found.live else 'test'} mode, {who}")


def knock(asked: Asked, greeting: Delivery) -> Line:
    """Deliver something harmless to ourselves, the way the provider would, and judge the answer."""
    check, url = _hook(asked), asked.url
    answer = asked.context.knock(url, greeting)
    if answer.status is None:
        says = f"{url} cannot be reached ({answer.problem}): start the server, or set APP_BASE_URL."
        return Line(check, asked.less, says)
    if answer.status == 200 and answer.told.get("received") is True:
        if answer.told.get("reason") == "WRONG_MODE":
            return Line(check, "wrong", f"the server at {url} runs with a key of the other mode: restart it.")
        return Line(check, "ok", f"{url} answers, and believes what our secret signed")
    if answer.told.get("code") == "BAD_SIGNATURE":
        if greeting.genuine:
            return Line(check, "wrong", f"the server at {url} checks with another secret: restart it, so "
                        "that it takes the present one.")  # fmt: skip
        return Line(check, "ok", f"{url} answers, and refuses what is not signed")
    if 300 <= answer.status < 400:
        return Line(check, "wrong", f"{url} leads elsewhere, and providers do not follow: set APP_BASE_URL.")
    return Line(check, "wrong", f"{url} answers {answer.status}: something else is there, or a proxy "
                "keeps webhooks away.")  # fmt: skip


def _endpoint(asked: Asked, setup: ProviderSetup) -> tuple[Endpoint | None, Line]:
    """Our endpoint at the provider, and whether it is sent what we read."""
    check = f"{asked.provider} endpoint"
    again = f"Run: {asked.command}"
    try:
        found = setup.list_endpoints(asked.url)
    except Unsupported as error:
        return None, Line(check, "note", error.detail)
    except KeywrightError as error:
        return None, Line(check, "note", f"it cannot be looked at: {error.detail}")
    if not found:
        says = f"{asked.provider.capitalize()} has no endpoint for {asked.url} in this mode. {again}"
        return None, Line(check, asked.less, says)
    first = found[0]
    if lacks := [lack for one in found for lack in one.lacks]:
        return first, Line(check, "wrong", f"{first.id}: {', '.join(lacks)}. {again}")
    if len(found) > 1:
        others = ", ".join(one.id for one in found[1:])
        return first, Line(check, "note", f"events come {len(found)} times: remove {others} at the provider.")
    if first.differs:
        return first, Line(check, "note", f"{first.id}: {', '.join(first.differs)}.")
    return first, Line(check, "ok", f"{first.id} is sent exactly what is read")


def _secret(
    asked: Asked,
    setup: ProviderSetup,
    held: Credentials,
    account: ProviderAccount,
    endpoint: Endpoint | None,
) -> Line:
    from keywright.flows import provider_evidence

    check, name = f"{asked.provider} secret", _names(asked)[1]
    now = asked.context.clock.now()
    found = provider_evidence.gather(asked.context, account, _LOOKED_AT)
    if endpoint is not None and endpoint.secret is not None and endpoint.secret not in held.secrets:
        return Line(check, "wrong", f"{name} is not that of {endpoint.id}: every event is refused. "
                    f"Run: {asked.command}")  # fmt: skip
    if found.wrong_mode:
        return Line(check, "wrong", "events of the other mode arrive: the endpoint was made in one mode, and "
                    f"the key is of the other. See {_names(asked)[0][0]}.")  # fmt: skip
    known = [at for at in (found.believed_at, found.kept_at) if at is not None]
    since = max([now - _RECENT, *known])
    failed = _undelivered(setup, since)
    if (failed and found.believed_at is None) or (found.refused_at is not None and found.refused_at > since):
        return Line(check, "wrong", f"events are sent and not taken: {name} is likely not that of the "
                    f"endpoint. Copy it from the provider, or run: {asked.command} --replace")  # fmt: skip
    if failed:
        return Line(check, "note", f"since an event was last believed, {failed} could not be delivered, to "
                    f"us or to another endpoint of this account. If to us: see {name}.")  # fmt: skip
    if found.believed_at is not None:
        return Line(check, "ok", f"proven: an event of {found.believed_at:%Y-%m-%d %H:%M:%SZ} was believed")
    if endpoint is not None and (endpoint.secret is not None or found.endpoint == endpoint.id):
        return Line(check, "ok", f"as the provider told it for {endpoint.id}")
    return Line(check, "note", "not proven yet: no event has come. One purchase in test mode proves it.")


def _undelivered(setup: ProviderSetup, since: datetime) -> int:
    try:
        return setup.count_undelivered(since) or 0
    except KeywrightError:
        return 0


def _prices(asked: Asked, setup: ProviderSetup, account: ProviderAccount) -> Line:
    from keywright.flows import provider_setup

    check = f"{asked.provider} prices"
    try:
        found = provider_setup.compare_prices(asked.context, account, setup.list_prices())
    except KeywrightError as error:
        return Line(check, "note", f"they cannot be looked at: {error.detail}")
    mode = "live" if account.live else "test"
    if found.unknown:
        names = ", ".join(price.external_id for price in found.unknown)
        return Line(check, "wrong", f"{names}: not on sale there in {mode} mode; of the other mode, "
                    "archived, or mistyped. Correct the catalog.")  # fmt: skip
    if differing := [price for price in found.mapped if price.differs]:
        said = "; ".join(f"{price.external_id}: {price.differs}" for price in differing)
        return Line(check, "note", f"{said}.")
    if found.lines:
        says = f"{len(found.mapped)} mapped, {len(found.lines)} not: {asked.command}"
        return Line(check, "note", f"{says} shows them as lines for the catalog.")
    return Line(check, "ok", f"{len(found.mapped)} mapped")
