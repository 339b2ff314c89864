"""Our mails: words from the catalogs, dressed as the seller chose. Nothing here reads or writes a row."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined

from keywright.delivery import notice_words
from keywright.delivery.sheet import Block, Sheet, code, facts, link, plain, quiet, strong, text
from keywright.delivery.speech import Speech, speech
from keywright.delivery.wording import line
from keywright.domain.look import NIGHT, PAPER, PLAIN, Look, paint
from keywright.domain.plan import FOREVER
from keywright.ports import Letter, LicenseLetter, NoticeLetter, PortalLetter

ADVICE: Final[Mapping[str, tuple[str, ...]]] = {
    "dead_letter": ("keywright event show {subject}", "keywright event replay {subject}"),
    "bad_signatures": ("keywright doctor",),
    "connect_off": ("keywright tenant connect TENANT --look",),
    "webhook_disabled": ("keywright webhook list {subject}", "keywright webhook test {subject}"),
    "hmac_key_missing": ("keywright doctor", "keywright license firm LICENSE --firm FIRM"),
    "repurchase_unproven": ("keywright license explain {subject}", "keywright license revoke OLDER"),
    "renewal_refused": (
        *("keywright integrity", "keywright license extend LICENSE"),
        "keywright event list",
    ),
    "mail_undeliverable": ("keywright doctor", "keywright license resend LICENSE"),
}
"""What an operator may type on an alarm of this kind."""

_OF_ACCOUNT: Final = "staff_"
_CLOSE: Final = ("keywright staff close {subject}",)
_DOCTOR: Final = ("keywright doctor",)


class Stationery:
    """Implements the port Letters: one layout for every mail, as text and as HTML."""

    def __init__(self, base_url: str) -> None:
        """`base_url`: where this server is found; named at the foot of an alarm."""
        self._base_url = base_url
        templates = Environment(
            loader=PackageLoader("keywright.delivery"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
        )
        self._layout = templates.get_template("mail.html")

    def license_issued(self, told: LicenseLetter, look: Look = PLAIN) -> Letter:
        """Product, plan, key, seats, machines, validity, how to activate, and who sells."""
        spoken, product = speech(look.language), line(told.product)
        say = spoken.say
        blocks = [
            text(say("license.thanks", product=product)),
            Block("key", told.key),
            *_activation(spoken, told, product),
        ]
        if told.hmac_key is not None:
            blocks += [text(say("license.hmac")), code(told.hmac_key)]
            blocks.append(text(say("license.hmac_until", until=_last_day(spoken, told))))
        blocks += [facts(_facts(spoken, told)), quiet(say("license.keep"))]
        subject, heading = say("license.subject", product=product), say("license.heading", product=product)
        return self._letter(Sheet(subject, heading, tuple(blocks)), told.seller, spoken, look)

    def notice(self, told: NoticeLetter, look: Look = PLAIN) -> Letter:
        """What happened to a license, what follows, what to do, and which license it is."""
        spoken = speech(look.language)
        return self._letter(notice_words.sheet_of(spoken, told), told.seller, spoken, look)

    def portal_link(self, told: PortalLetter, look: Look = PLAIN) -> Letter:
        """The way in, for how long and where it works, and what to do for somebody who did not ask."""
        return self._link_letter("portal_link", told, look)

    def address_link(self, told: PortalLetter, look: Look = PLAIN) -> Letter:
        """How to confirm the address, and what to do for somebody who knows nothing of it."""
        return self._link_letter("address_link", told, look)

    def _link_letter(self, kind: str, told: PortalLetter, look: Look) -> Letter:
        spoken, seller = speech(look.language), line(told.seller)
        say = spoken.say
        blocks = (
            text(say(f"{kind}.asked", seller=seller)),
            link(say(f"{kind}.action"), told.url),
            text(spoken.count("link.lives", told.minutes)),
            quiet(say(f"{kind}.stranger")),
        )
        sheet = Sheet(say(f"{kind}.subject", seller=seller), say(f"{kind}.heading"), blocks)
        return self._letter(sheet, seller, spoken, look)

    def address_moved(self, told: PortalLetter, look: Look = PLAIN) -> Letter:
        """What happened, and what to do for who did not ask for it. The new address is not named."""
        spoken, seller = speech(look.language), line(told.seller)
        say = spoken.say
        blocks = (
            text(say("address_moved.happened", seller=seller)),
            text(say("address_moved.fine")),
            strong(say("address_moved.stranger", seller=seller)),
            link(say("address_moved.action"), told.url),
        )
        sheet = Sheet(say("address_moved.subject", seller=seller), say("address_moved.heading"), blocks)
        return self._letter(sheet, seller, spoken, look)

    def staff_invited(self, told: PortalLetter, look: Look = PLAIN) -> Letter:
        """What was made for whom, the way in, for how long, and what to do for somebody who did not ask."""
        spoken, firm = speech(look.language), line(told.seller)
        say = spoken.say
        blocks = (
            text(say("staff_invited.asked", firm=firm)),
            link(say("staff_invited.action"), told.url),
            text(say("staff_invited.lives")),
            quiet(say("staff_invited.stranger")),
        )
        sheet = Sheet(say("staff_invited.subject", firm=firm), say("staff_invited.heading"), blocks)
        return self._letter(sheet, firm, spoken, look)

    def alarm(
        self,
        kind: str,
        subject: str,
        detail: Mapping[str, Any],
        seller: str = "",
        look: Look = PLAIN,
        *,
        door: str = "",
    ) -> Letter:
        """What happened, what it means, what to type. An unknown kind is told with its details alone."""
        spoken, about = speech(look.language), line(subject)
        say, of_account = spoken.say, kind.startswith(_OF_ACCOUNT)
        known = kind if f"alarm.{kind}.title" in spoken else "unnamed"
        title = say(f"alarm.{known}.title")
        rows = [(say("fact.kind"), line(kind)), (say("fact.subject"), about)]
        rows += [(_name(spoken, name), _value(spoken, value)) for name, value in detail.items()]
        blocks = [text(say(f"alarm.{known}.meaning"))]
        if of_account:
            blocks.append(strong(say("alarm.not_you")))
        if door:
            blocks.append(link(say("alarm.door"), door))
        blocks += [facts(rows), text(say("alarm.todo"))]
        advice = _CLOSE if of_account else ADVICE.get(kind, _DOCTOR)
        blocks += [code(command.format(subject=about)) for command in advice]
        blocks.append(quiet(say("alarm.sent", url=self._base_url)))
        sheet = Sheet(f"Keywright: {title}", title, tuple(blocks), urgent=True)
        return self._letter(sheet, seller, spoken, look)

    def _letter(self, sheet: Sheet, seller: str, spoken: Speech, look: Look) -> Letter:
        name = line(seller)
        html = self._layout.render(
            sheet=sheet,
            seller=name,
            language=spoken.tag,
            paint=paint(look.color),
            logo=look.logo,
            paper=PAPER,
            night=NIGHT,
        )
        return Letter(sheet.subject, plain(sheet, name), html, look.logo)


def _activation(spoken: Speech, told: LicenseLetter, product: str) -> list[Block]:
    say = spoken.say
    if told.device is None:
        return [text(say("license.activate", product=product))]
    return [
        text(say("license.from_inside", product=product)),
        strong(line(told.device) or say("license.nameless")),
        text(say("license.stranger")),
        link(say("license.free"), told.manage_url),
        text(say("license.elsewhere", product=product)),
    ]


def _last_day(spoken: Speech, told: LicenseLetter) -> str:
    if told.hmac_last_day is None:
        return spoken.say("value.for_ever")
    return spoken.say("value.through", day=spoken.day(told.hmac_last_day))


def _facts(spoken: Speech, told: LicenseLetter) -> list[tuple[str, str]]:
    say = spoken.say
    machines = (
        say("value.any_number") if told.machines is None else say("value.machines", count=told.machines)
    )
    return [
        (say("fact.product"), line(told.product)),
        (say("fact.plan"), line(told.plan)),
        (say("fact.seats"), str(told.seats)),
        (say("fact.machines"), machines),
        (say("fact.valid"), _validity(spoken, told)),
    ]


def _validity(spoken: Speech, told: LicenseLetter) -> str:
    if told.valid_until is None:
        return spoken.say("value.not_valid")
    if told.valid_until == FOREVER:
        return spoken.say("value.unlimited")
    kind = "trial" if told.trial else "renews" if told.renews else "until"
    return spoken.say(f"value.{kind}", day=spoken.moment(told.valid_until))


def _name(spoken: Speech, name: str) -> str:
    return spoken.say(f"fact.{name}") if f"fact.{name}" in spoken else line(name)


def _value(spoken: Speech, value: Any) -> str:
    return spoken.moment(value) if isinstance(value, datetime) else line(str(value))
