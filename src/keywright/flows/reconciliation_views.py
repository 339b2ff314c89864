"""Comparisons as they are told: what one run found, and the runs so far."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

import msgspec

from keywright.domain.errors import NotFound
from keywright.flows.context import Channel, Context
from keywright.flows.findings import Finding
from keywright.flows.license_views import check_limit
from keywright.store import license_views, reconciliations
from keywright.store.reconciliations import Reconciliation

# Runs of one account that are looked through for the newest whole one: those for one object are few.
_RECENT = 25
_LONGEST_RUN = timedelta(hours=1)


class AccountReport(msgspec.Struct, frozen=True):
    """What one run found at one account. `missing`: how many events the inbox did not have, or could not take
    in before; `applied`: how many of them it has now. `findings` are the newest, `counts` are of all.

    `error`: why the run ended early; the next one starts where this one started.
    """

    id: str
    provider: str
    live: bool
    fixed: bool
    since: datetime
    started_at: datetime
    finished_at: datetime | None
    looked_at: int
    missing: int
    applied: int
    found: int
    counts: dict[str, int]
    findings: list[Finding]
    error: str | None = None
    only: str | None = None


class ReconciliationPage(msgspec.Struct, frozen=True):
    items: list[AccountReport]
    next_cursor: str | None


class Kept(msgspec.Struct, frozen=True):
    """What a stored run's document holds beside the columns."""

    missing: int = 0
    applied: int = 0
    counts: dict[str, int] = {}
    items: list[Finding] = []
    only: str | None = None


def list_runs(
    context: Context, tenant: str, *, provider: str | None, cursor: str | None = None, limit: int = 50
) -> ReconciliationPage:
    """The runs so far, newest first. Raises Invalid."""
    check_limit(limit)
    with context.database.read() as connection:
        accounts = license_views.list_accounts(connection, tenant)
        account = next((id_ for id_, name in accounts.items() if name == provider), None)
        if provider is not None and account is None:
            return ReconciliationPage([], None)
        found = reconciliations.list_page(connection, tenant, account=account, after=cursor, limit=limit + 1)
    items = [shown(context, accounts, one) for one in found[:limit]]
    return ReconciliationPage(items, found[limit - 1].id if len(found) > limit else None)


def show(context: Context, tenant: str, id_: str) -> AccountReport:
    """One run. Raises NotFound."""
    with context.database.read() as connection:
        accounts = license_views.list_accounts(connection, tenant)
        found = reconciliations.find(connection, tenant, id_)
    if found is None:
        raise NotFound("There is no such reconciliation.")
    return shown(context, accounts, found)


class Standing(msgspec.Struct, frozen=True):
    """Where one account stands. `report`: of the newest run that looked at everything and has ended.
    `running`: when one began that has not ended. `repaired`: objects of it that were repaired since."""

    provider: str
    live: bool
    able: bool
    report: AccountReport | None
    running: datetime | None
    repaired: frozenset[str]


def standings(context: Context, tenant: str) -> list[Standing]:
    """Each account that is set up, by name of its provider. None for a tenant without accounts here."""
    channels = [one for _, one in sorted(context.of(tenant).channels.items())]
    with context.database.read() as connection:
        accounts = license_views.list_accounts(connection, tenant)
        found = [
            reconciliations.list_page(connection, tenant, account=one.account.id, after=None, limit=_RECENT)
            for one in channels
        ]
    return [
        _standing(context, channel, accounts, runs) for channel, runs in zip(channels, found, strict=True)
    ]


def _standing(
    context: Context, channel: Channel, accounts: Mapping[str, str], runs: list[Reconciliation]
) -> Standing:
    whole, repaired, running = None, set(), None
    for run in runs:
        report = shown(context, accounts, run)
        if run.finished_at is None:
            # One that was killed never ends: it is not waited for.
            fresh = context.clock.now() - run.started_at < _LONGEST_RUN
            running = run.started_at if fresh and running is None else running
        elif report.only is None:
            whole = report
            break
        elif report.applied:
            repaired.add(report.only)
    return Standing(
        provider=channel.account.provider,
        live=channel.account.live,
        able=channel.api is not None,
        report=whole,
        running=running,
        repaired=frozenset(repaired),
    )


def shown(context: Context, accounts: Mapping[str, str], run: Reconciliation) -> AccountReport:
    """A stored run as it is told."""
    channel = context.find_channel(run.provider_account_id)
    kept = msgspec.json.decode(run.findings, type=Kept) if run.findings.startswith("{") else Kept()
    return AccountReport(
        id=run.id,
        provider=accounts.get(run.provider_account_id, ""),
        live=channel is not None and channel.account.live,
        fixed=run.fixed,
        since=run.since_at,
        started_at=run.started_at,
        finished_at=run.finished_at,
        looked_at=run.looked_at,
        missing=kept.missing,
        applied=kept.applied,
        found=run.found,
        counts=kept.counts,
        findings=kept.items,
        error=run.error,
        only=kept.only,
    )
