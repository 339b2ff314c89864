"""The webhook's way in for connected accounts: one address for all of them, one secret.

Whose an event is stands on its envelope, in the provider's own word, and nowhere else: what a buyer or a
seller can write into it (metadata, a reference) decides nothing here.
"""

from __future__ import annotations

from collections.abc import Mapping

from keywright.domain.errors import BadSignature, TooLarge, Unreadable
from keywright.domain.facts import Projected
from keywright.flows.context import Channel
from keywright.flows.fulfillment import Outcome
from keywright.flows.intake import LARGEST_BODY, Intake, arrive, nobodys


async def receive_connected(intake: Intake, provider: str, raw: bytes, headers: Mapping[str, str]) -> Outcome:
    """Take one event of a connected account in, for the tenant whose account it names.

    Of an account that is not connected here it is noted without its body, and changes nothing
    (WRONG_ACCOUNT). So do test events of a live account, which providers send to the live endpoint, too
    (WRONG_MODE).

    Raises as `Intake.receive`.
    """
    if len(raw) > LARGEST_BODY:
        raise TooLarge("The body is larger than 1 MiB.")
    context = intake.context
    platform = context.shops.master.channels.get(provider)
    # One may have been made a moment ago, by whoever connected the first account.
    secrets = await intake.look_up(platform.connect_secrets) if platform is not None else ()
    if platform is None or not secrets:
        raise BadSignature("No webhook secret is configured for this address.")
    now = context.clock.now()
    platform.events.authenticate(raw, headers, secrets, now)
    projected = _projected(platform, raw)
    channel = await _channel_of(intake, platform, projected)
    if projected is None or channel is not None:
        arrival = arrive(channel or platform, raw, now)
    else:
        arrival = nobodys(platform.account, projected)
    outcome = await intake.gatherer.ask(arrival)
    if arrival.error is not None:
        raise Unreadable(arrival.error)
    return outcome


def _projected(platform: Channel, raw: bytes) -> Projected | None:
    try:
        return platform.events.project(raw)
    except Unreadable:
        return None  # kept as every unreadable event, by `arrive`


async def _channel_of(intake: Intake, platform: Channel, projected: Projected | None) -> Channel | None:
    named = projected.account if projected is not None else None
    if named is None:
        return None
    shops, account = intake.context.shops, platform.account.id
    return await intake.look_up(lambda: shops.connected(account, named))
