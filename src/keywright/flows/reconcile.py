"""Reconciling: what the providers have had is listed, compared with what is here, and taken in.

A webhook that never arrived must not cost a buyer the license. What a provider lists goes the way of its
webhooks, in batches. Each batch is first taken in and rolled back: everything is really done, and looked at.
Then what matters of it is taken in for good, if that is wished. So a second run finds nothing.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import msgspec
import sqlalchemy as sa
import structlog

from keywright.domain.errors import Invalid, KeywrightError, Misconfigured, NotFound, ProviderUnavailable
from keywright.domain.facts import Refetch
from keywright.flows import findings
from keywright.flows.comparing import Came, Comparison, grouped
from keywright.flows.context import Channel, Context
from keywright.flows.findings import Finding
from keywright.flows.intake import arrive, name_of, take_in
from keywright.flows.own_changes import OwnChanges
from keywright.flows.reconciliation_views import AccountReport, Kept, shown
from keywright.ports import ChangePage, PaymentApi
from keywright.store import reconciliations, tenants
from keywright.store.reconciliations import Reconciliation

log = structlog.get_logger(__name__)

# A provider may list what happened a while after it did, and clocks differ.
_OVERLAP = timedelta(hours=1)
# Stripe and PayPal list events for 30 days; what is older shows in the objects.
_FIRST = timedelta(days=30)
_EVENTS_KEPT = timedelta(days=29)
_MOST_UNLISTED = 500
# Held in memory while the rest is listed: a purchase's events are looked at together.
_AT_ONCE = 2000
_SHOWN = 500
_TROUBLE = (ProviderUnavailable, Misconfigured, Invalid)
_running: dict[str, threading.Lock] = {}

Progress = Callable[[str, int, int | None], None]


class Wish(msgspec.Struct, frozen=True, omit_defaults=True):
    """What to compare: one provider or all, from when on (None: where the last run began), and whether to
    repair what differs. `only`: repair this one object alone, by the name that a finding has for it.
    `tenant`: whose accounts, by its id; None: those of whom the context serves."""

    provider: str | None = None
    since: datetime | None = None
    fix: bool = False
    only: str | None = None
    tenant: str | None = None


class Report(msgspec.Struct, frozen=True):
    accounts: list[AccountReport]


def reconcile(context: Context, wish: Wish, progress: Progress | None = None) -> Report:
    """Compare with every provider that the tenant has set up, one after the other.

    Trouble with one provider ends its run, is told in its report, and leaves the others alone. Raises
    NotFound for a provider that is not set up, Invalid for a time to come.
    """
    reports = []
    context = _whose(context, wish)
    for channel in _check(context, wish):
        lock = _running.setdefault(f"{id(context.database)}:{channel.account.id}", threading.Lock())
        with lock:
            reports.append(_Run(context, channel, wish, progress).run())
    return Report(reports)


def enqueue(context: Context, wish: Wish) -> str:
    """Have it done in the background. Returns the id of the work. Raises NotFound, Invalid as `reconcile`."""
    context = _whose(context, wish)
    _check(context, wish)
    wish = msgspec.structs.replace(wish, tenant=context.tenant.id)
    with context.database.write() as connection:
        told = msgspec.json.encode(wish).decode()
        return context.followups.reconcile(connection, context.new_id("bat"), told)


def run(context: Context, wish: str | None) -> None:
    """In the background: what `enqueue` was told, or None, the hourly run of every tenant, which repairs
    what it finds."""
    if wish is not None:
        reconcile(context, msgspec.json.decode(wish, type=Wish))
        return
    with context.database.read() as connection:
        sellers = tenants.with_accounts(connection)
    for tenant in sellers:
        try:
            own = context.of(tenant)
            if any(channel.api is not None for channel in own.channels.values()):
                reconcile(own, Wish(fix=True))
        except sa.exc.OperationalError:
            raise
        except Exception as trouble:  # noqa: BLE001  # the other tenants must have their turn
            log.warning("not_reconciled", tenant=tenant, error=name_of(trouble))


def _whose(context: Context, wish: Wish) -> Context:
    return context if wish.tenant is None else context.of(wish.tenant)


def _check(context: Context, wish: Wish) -> list[Channel]:
    """The accounts to compare with. Raises NotFound, Invalid."""
    if wish.since is not None and wish.since > context.clock.now():
        raise Invalid("`since` lies in the future.")
    chosen = [c for name, c in sorted(context.channels.items()) if wish.provider in (None, name)]
    if wish.provider is not None and not chosen:
        raise NotFound(f"The provider {wish.provider} is not set up here.", code="PROVIDER_UNKNOWN")
    # One that only listens has nothing to ask with. Asked for by name, it says so.
    able = [channel for channel in chosen if channel.api is not None or wish.provider is not None]
    if not able:
        raise NotFound("No provider is set up with a key to ask it with.", code="PROVIDER_UNKNOWN")
    return able


class _Run:
    """One run for one account. Use once."""

    def __init__(self, context: Context, channel: Channel, wish: Wish, progress: Progress | None) -> None:
        self.context = context
        self.channel = channel
        self.fix = wish.fix
        self.only = wish.only
        self.progress = progress
        self.missing = self.applied = self.looked_at = 0
        self.counts: Counter[str] = Counter()
        # Beside each other, so that hundreds of harmless events do not push out what matters.
        self.grave: deque[Finding] = deque(maxlen=_SHOWN)
        self.harmless: deque[Finding] = deque(maxlen=_SHOWN)
        self._met: set[str] = set()
        self._listed: set[str] = set()
        self._own = OwnChanges(context, channel)
        now = context.clock.now()
        with context.database.read() as connection:
            until = reconciliations.compared_until(connection, channel.account.id)
        usual = min(until, now) - _OVERLAP if until is not None else now - _FIRST
        since = wish.since or usual
        # A run that looked at less than there was to look at must not make the next one skip the rest.
        self.moves_on = wish.fix and wish.only is None and since <= usual
        self.row = Reconciliation(
            id=context.new_id("rec"),
            tenant_id=channel.account.tenant_id,
            provider_account_id=channel.account.id,
            since_at=since,
            started_at=now,
            fixed=wish.fix,
        )

    def run(self) -> AccountReport:
        """Compare, write down what was found, and move the cursor when nothing stood in the way."""
        with self.context.database.write() as connection:
            reconciliations.insert(connection, self.row)
        error = None
        try:
            self._compare_all()
        except sa.exc.OperationalError:
            raise  # the database is away: there is nothing to go on with
        except _TROUBLE as trouble:
            error = trouble.detail
        except Exception as trouble:  # noqa: BLE001  # the other providers must have their turn
            error = name_of(trouble)
        return self._finish(error)

    def _finish(self, error: str | None) -> AccountReport:
        account, items = self.channel.account, [*self.grave, *self.harmless][:_SHOWN]
        kept = Kept(self.missing, self.applied, dict(self.counts), items, self.only)
        self.row = msgspec.structs.replace(
            self.row,
            finished_at=self.context.clock.now(),
            looked_at=self.looked_at,
            found=self.counts.total(),
            findings=msgspec.json.encode(kept).decode(),
            error=error,
        )
        with self.context.database.write() as connection:
            reconciliations.update(connection, self.row)
            if error is None and self.moves_on:
                reconciliations.move_on(connection, account.id, self.row.started_at)
        tell = log.warning if error is not None else log.info
        tell(
            "reconciled",
            provider=account.provider,
            looked_at=self.looked_at,
            missing=self.missing,
            applied=self.applied,
            found=self.row.found,
            error=error,
        )
        return shown(self.context, {account.id: account.provider}, self.row)

    def _compare_all(self) -> None:
        """List page by page; compare each time enough has come together, and what came before trouble too."""
        if self.channel.api is None:
            raise Misconfigured("There is no API key to ask the provider with.")
        gathered: list[Came] = []
        page, trouble = self._page(self.channel.api, None)
        while True:
            gathered += self._sift(page)
            cursor = page.next
            if cursor is None or len(gathered) >= _AT_ONCE:
                self._compare(gathered)
                gathered = []
            if trouble is not None:
                raise trouble
            if cursor is None:
                break
            page, trouble = self._page(self.channel.api, cursor)
        if self.row.started_at - self.row.since_at >= _EVENTS_KEPT:
            self._look_at_unlisted(self.channel.api)

    def _look_at_unlisted(self, api: PaymentApi) -> None:
        """Ask for the subscriptions of running licenses that no list spoke of.

        Only when so much time has gone by that the provider may not tell of an end any more.
        """
        account = self.channel.account
        with self.context.database.read() as connection:
            running = reconciliations.running_on(
                connection, account.id, self.row.started_at, _MOST_UNLISTED + len(self._listed)
            )
        silent = [one for one in running if one.subscription not in self._listed][:_MOST_UNLISTED]
        gathered = []
        for one in silent:
            try:
                told = api.fetch(Refetch("subscription", one.subscription))
            except NotFound:
                self._note(findings.of_gone(one.subscription, one.license, one.purchase))
                continue
            except Invalid:
                return  # this provider is not asked for subscriptions
            now = self.context.clock.now()
            arrivals = [arrive(self.channel, raw, now, fetched=True) for raw in told]
            gathered += [Came(arrival, fetched=True) for arrival in arrivals if arrival.reading is not None]
        self.looked_at += len(silent)
        self._compare(gathered)

    def _page(self, api: PaymentApi, cursor: str | None) -> tuple[ChangePage, KeywrightError | None]:
        """The next page; an empty last one and the reason when there is none to be had."""
        try:
            page = api.list_changes(self.row.since_at, cursor)
        except _TROUBLE as trouble:
            return ChangePage(()), trouble
        if page.next is not None and page.next == cursor:
            return ChangePage(page.changes), ProviderUnavailable("The provider's list does not go on.")
        self.looked_at += len(page.changes)
        if self.progress is not None:
            self.progress(self.channel.account.provider, self.looked_at, page.total)
        return page, None

    def _sift(self, page: ChangePage) -> list[Came]:
        """What of a page is not here, or could not be taken in before."""
        now = self.context.clock.now()
        listed = [
            Came(arrive(self.channel, change.raw, now, fetched=change.fetched), change.fetched)
            for change in self._own.of(page).changes
        ]
        with self.context.database.read() as connection:
            known = reconciliations.known_events(
                connection, self.channel.account.id, [came.key for came in listed]
            )
        sifted = []
        for came in listed:
            self._listed |= {alias.external_id for alias in came.aliases if alias.kind == "subscription"}
            if came.key in self._met:
                continue
            self._met.add(came.key)
            here = known.get(came.key)
            if came.arrival.reading is None:
                if came.arrival.error is not None and here is None:
                    self._unreadable(came)
            elif here is None:
                sifted.append(came)
            elif here.status in ("failed", "dead"):
                sifted.append(msgspec.structs.replace(came, again=here.id))
            elif here.status == "parked" and here.reason in findings.PARKED:
                self._note(findings.of_parked(came.key, here.reason))
        return sifted

    def _unreadable(self, came: Came) -> None:
        self._note(findings.of_trouble("unreadable", came.key, came.arrival.error))
        if self.fix and not came.fetched:
            take_in(self.context, [came.arrival])  # kept once, like a webhook's: digest, size and time

    def _compare(self, gathered: Sequence[Came]) -> None:
        """Compare in batches. What belongs to one purchase is in one batch, so that a look sees all of it."""
        if not gathered:
            return
        if self.only is not None:
            self._repair_one(gathered, self.only)
            return
        comparison = Comparison(self.context, self.channel, fix=self.fix)
        for batch in grouped(self.context, self.channel.account, gathered):
            self._compare_batch(comparison, batch)

    def _repair_one(self, gathered: Sequence[Came], name: str) -> None:
        """Look at each purchase by itself, and take in that of this name alone."""
        one_each = replace(self.context, policy=replace(self.context.policy, batch=1))
        look = Comparison(self.context, self.channel, fix=False)
        for batch in grouped(one_each, self.channel.account, gathered):
            try:
                seen = look.compare(batch)
            except (sa.exc.OperationalError, *_TROUBLE):
                raise
            except Exception:  # noqa: BLE001, S112  # what is not asked for must not stand in the way
                continue
            if any(finding.object == name for finding in seen.findings):
                self._compare_batch(Comparison(self.context, self.channel, fix=self.fix), batch)

    def _compare_batch(self, comparison: Comparison, batch: Sequence[Came]) -> None:
        try:
            result = comparison.compare(batch)
        except (sa.exc.OperationalError, *_TROUBLE):
            raise
        except Exception as error:  # noqa: BLE001  # one bad event must not take its neighbors down
            if len(batch) == 1:
                self._failed(batch[0], error)
                return
            middle = len(batch) // 2
            self._compare_batch(comparison, batch[:middle])
            self._compare_batch(comparison, batch[middle:])
            return
        self.missing += result.missing
        self.applied += result.missing if self.fix else 0
        for finding in result.findings:
            self._note(finding)

    def _failed(self, came: Came, error: Exception) -> None:
        self._note(findings.of_trouble("failed-event", came.key, name_of(error)))
        if self.fix and came.again is None and not came.fetched:
            take_in(self.context, [came.arrival])  # kept with its error, and tried again by the sweep

    def _note(self, finding: Finding) -> None:
        self.counts[finding.kind] += 1
        (self.harmless if finding.kind == "missed-event" else self.grave).append(finding)
