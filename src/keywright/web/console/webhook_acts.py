"""What staff do to endpoints of webhooks and to deliveries: shown before it is done, and audited."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Final

from keywright.domain import webhook
from keywright.domain.errors import Conflict, Invalid
from keywright.flows import webhook_deliveries, webhooks
from keywright.flows.context import Context
from keywright.flows.webhooks import Change, EndpointMade
from keywright.web.console.asking import REASON, Asked, Deal, Effect, Field, Once, Steps

Outside = Callable[[], AbstractContextManager[None]]

LIST: Final = "/console/webhooks"
ENDPOINT: Final = f"{LIST}/{{endpoint_id:str}}"
DELIVERY: Final = f"{LIST}/deliveries/{{delivery_id:str}}"
_HOURS: Final = (
    ("24", "24 hours"),
    ("1", "1 hour"),
    ("72", "3 days"),
    ("168", "7 days"),
    ("0", "Not at all"),
)
_ONCE: Final = "A new one, shown once"
_LONGEST_URL: Final = 2000


def acts(outside: Outside) -> Iterator[tuple[str, Steps, bool]]:
    """Path, steps, and whether one must have proved to be oneself: for secrets, and for where things go."""
    yield f"{LIST}/new", _Making(outside).steps(), True
    yield f"{ENDPOINT}/change", _Changing(outside).steps(), True
    yield f"{ENDPOINT}/rotate-secret", Steps(_rotate_deal, _rotate_preview, _rotate), True
    yield f"{ENDPOINT}/pause", _switching(on=False), False
    yield f"{ENDPOINT}/resume", _switching(on=True), False
    yield f"{ENDPOINT}/delete", Steps(_delete_deal, _delete_preview, _delete), False
    yield f"{ENDPOINT}/test", _Testing(outside).steps(), False
    yield f"{DELIVERY}/redeliver", Steps(_again_deal, _again_preview, _again), False


def told_of(types: Sequence[str]) -> str:
    """Which events, in words."""
    return "Everything" if webhook.EVERYTHING in types else ", ".join(types)


def _page_of(asked: Asked) -> str:
    return f"{LIST}/{asked.named['endpoint_id']}"


def _deal(context: Context, asked: Asked, title: str, meaning: str, *fields: Field) -> Deal:
    """An act on an endpoint. Raises NotFound."""
    webhooks.show(context, asked.tenant, asked.named["endpoint_id"])
    return Deal(title, meaning, _page_of(asked), "The endpoint", (*fields, REASON))


# -- make, change ---------------------------------------------------------------------------------------


def _fields(url: str = "", note: str = "", types: Sequence[str] = ()) -> tuple[Field, ...]:
    return (
        Field("url", "Address", "url", "https://… on port 443", usual=url, most=_LONGEST_URL, required=True),
        Field("note", "What it is for", usual=note),
        *(Field(one, one, "tick", usual="yes" if one in types else "") for one in webhook.TYPES),
        REASON,
    )


def _types(asked: Asked) -> tuple[str, ...]:
    """What was ticked; nothing means everything."""
    return tuple(one for one in webhook.TYPES if asked.told.get(one)) or (webhook.EVERYTHING,)


_TICKS: Final = "Tick what it is told of; nothing ticked means everything."


class _Making:
    def __init__(self, outside: Outside) -> None:
        self._outside = outside

    def steps(self) -> Steps:
        return Steps(self._deal, self._preview, self._do)

    def _deal(self, _context: Context, _asked: Asked) -> Deal:
        meaning = f"One of your systems is told what becomes of licenses from then on, signed. {_TICKS}"
        return Deal("Add an endpoint", meaning, LIST, "Webhooks", _fields())

    def _preview(self, context: Context, asked: Asked) -> Effect:
        url, note = asked.told.get("url", "").strip(), asked.told.get("note", "").strip()
        with self._outside():
            wanted = webhooks.check(context, url, _types(asked), note)
        return Effect(
            [("Address", "None", url), ("Told of", "Nothing", told_of(wanted)), ("Secret", "None", _ONCE)],
            ["The address was looked at: it may be sent to. Nothing was sent."],
        )

    def _do(self, context: Context, asked: Asked) -> Once:
        url, note = asked.told.get("url", "").strip(), asked.told.get("note", "").strip()
        with self._outside():
            made = webhooks.create(context, asked.tenant, url, _types(asked), note, act=asked.act)
        return _shown_once("The endpoint is there", made)


class _Changing:
    def __init__(self, outside: Outside) -> None:
        self._outside = outside

    def steps(self) -> Steps:
        return Steps(self._deal, self._preview, self._do)

    def _deal(self, context: Context, asked: Asked) -> Deal:
        held = webhooks.show(context, asked.tenant, asked.named["endpoint_id"])
        fields = _fields(held.url, held.note, held.types)
        meaning = f"What is owed to it already goes to the new address. {_TICKS}"
        return Deal("Change the endpoint", meaning, _page_of(asked), "The endpoint", fields)

    def _change(self, context: Context, asked: Asked) -> Change:
        """Only what differs: an address that stays is not looked at again."""
        held = webhooks.show(context, asked.tenant, asked.named["endpoint_id"])
        url, note, types = (
            asked.told.get("url", "").strip(),
            asked.told.get("note", "").strip(),
            _types(asked),
        )
        return Change(
            url=url if url != held.url else None,
            note=note if note != held.note else None,
            types=types if set(types) != set(held.types) else None,
        )

    def _preview(self, context: Context, asked: Asked) -> Effect:
        held = webhooks.show(context, asked.tenant, asked.named["endpoint_id"])
        wanted = self._change(context, asked)
        with self._outside():
            webhooks.check_change(context, wanted)
        changes = []
        if wanted.url is not None:
            changes.append(("Address", held.url, wanted.url))
        if wanted.types is not None:
            changes.append(("Told of", told_of(held.types), told_of(wanted.types)))
        if wanted.note is not None:
            changes.append(("What it is for", held.note or "None", wanted.note or "None"))
        return Effect(changes)

    def _do(self, context: Context, asked: Asked) -> str:
        with self._outside():
            webhooks.change(
                context,
                asked.tenant,
                asked.named["endpoint_id"],
                self._change(context, asked),
                act=asked.act,
            )
        return f"{_page_of(asked)}?done=changed"


def _shown_once(title: str, made: EndpointMade) -> Once:
    meaning = "The receiver checks with this secret that a webhook is ours and as it was sent."
    return Once(title, meaning, "The endpoint's secret", made.secret)


# -- secret ---------------------------------------------------------------------------------------------


def _rotate_deal(context: Context, asked: Asked) -> Deal:
    meaning = (
        "A new secret signs from now on. The one before signs as well for as long as you say: take the new "
        "one to the receiver meanwhile."
    )
    field = Field("hours", "The secret before signs for", "choice", choices=_HOURS, usual="24")
    return _deal(context, asked, "Change the secret", meaning, field)


def _hours(asked: Asked) -> int:
    told = asked.told.get("hours", "24")
    if told not in dict(_HOURS):
        raise Invalid("Choose how long the secret before signs.")
    return int(told)


def _rotate_preview(context: Context, asked: Asked) -> Effect:
    held = webhooks.show(context, asked.tenant, asked.named["endpoint_id"])
    hours = _hours(asked)
    changes = [("Secret", "The present one", _ONCE)]
    if hours:
        changes.append(("The present secret", "Signs alone", f"Signs as well for {dict(_HOURS)[str(hours)]}"))
    notes = [] if hours else ["The receiver refuses what is sent until it knows the new secret."]
    if held.former_secret_until is not None:
        notes.append("The secret before the present one is forgotten at once.")
    return Effect(changes, notes)


def _rotate(context: Context, asked: Asked) -> Once:
    made = webhooks.rotate_secret(
        context, asked.tenant, asked.named["endpoint_id"], overlap_hours=_hours(asked), act=asked.act
    )
    return _shown_once("The secret was changed", made)


# -- on, off, away --------------------------------------------------------------------------------------


def _switching(*, on: bool) -> Steps:
    title = "Turn it on" if on else "Turn it off"
    meaning = (
        "What waits for it goes out, and it is told again of what happens from now on."
        if on
        else "Nothing is sent to it. What happens meanwhile is not sent later; what is owed waits 30 days."
    )

    def preview(context: Context, asked: Asked) -> Effect:
        held = webhooks.show(context, asked.tenant, asked.named["endpoint_id"])
        now, then = "On" if held.enabled else "Off", "On" if on else "Off"
        return Effect([("State", now, then)] if now != then else [])

    def do(context: Context, asked: Asked) -> str:
        told = Change(enabled=on)
        webhooks.change(context, asked.tenant, asked.named["endpoint_id"], told, act=asked.act)
        return f"{_page_of(asked)}?done={'resumed' if on else 'paused'}"

    return Steps(lambda context, asked: _deal(context, asked, title, meaning), preview, do)


def _delete_deal(context: Context, asked: Asked) -> Deal:
    meaning = "The endpoint ends, with everything that is owed to it and the list of what was sent."
    return _deal(context, asked, "Delete the endpoint", meaning)


def _delete_preview(context: Context, asked: Asked) -> Effect:
    held = webhooks.show(context, asked.tenant, asked.named["endpoint_id"])
    return Effect([("Address", held.url, "None"), ("Told of", told_of(held.types), "Nothing")])


def _delete(context: Context, asked: Asked) -> str:
    webhooks.delete(context, asked.tenant, asked.named["endpoint_id"], act=asked.act)
    return f"{LIST}?done=deleted"


# -- send -----------------------------------------------------------------------------------------------


class _Testing:
    def __init__(self, outside: Outside) -> None:
        self._outside = outside

    def steps(self) -> Steps:
        return Steps(self._deal, self._preview, self._do)

    def _deal(self, context: Context, asked: Asked) -> Deal:
        meaning = "Sends webhook.test at once, whether the endpoint is on or off, and shows what comes back."
        return _deal(context, asked, "Send a test", meaning)

    def _preview(self, context: Context, asked: Asked) -> Effect:
        held = webhooks.show(context, asked.tenant, asked.named["endpoint_id"])
        return Effect([], [f"{webhook.TEST} goes to {held.url}. It is answered in 15 seconds at the latest."])

    def _do(self, context: Context, asked: Asked) -> str:
        with self._outside():
            tried = webhooks.try_out(context, asked.tenant, asked.named["endpoint_id"], act=asked.act)
        return f"{LIST}/deliveries/{tried.delivery}?done=tested"


def _delivery_page(asked: Asked) -> str:
    return f"{LIST}/deliveries/{asked.named['delivery_id']}"


def _again_deal(context: Context, asked: Asked) -> Deal:
    webhook_deliveries.show(context, asked.tenant, asked.named["delivery_id"])
    meaning = (
        "The same body goes out again under the same webhook-id, with all its attempts. A receiver that "
        "keeps the ids it has seen takes no notice of a second one."
    )
    return Deal("Send it again", meaning, _delivery_page(asked), "The delivery")


def _again_preview(context: Context, asked: Asked) -> Effect:
    found = webhook_deliveries.show(context, asked.tenant, asked.named["delivery_id"])
    if not webhooks.show(context, asked.tenant, found.endpoint).enabled:
        raise Conflict("Its endpoint is off: turn it on first.", code="WEBHOOK_ENDPOINT_OFF")
    changes = [
        ("Status", found.status.capitalize(), "Pending"),
        ("Attempts", f"{found.attempts:,}", "0"),
    ]
    return Effect([one for one in changes if one[1] != one[2]])


def _again(context: Context, asked: Asked) -> str:
    webhook_deliveries.redeliver(context, asked.tenant, asked.named["delivery_id"], act=asked.act)
    return f"{_delivery_page(asked)}?done=redelivered"
