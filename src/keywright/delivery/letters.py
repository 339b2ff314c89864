"""The words of our mails: templates filled from plain values. Nothing here reads or writes anything else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from keywright.delivery import notice_words
from keywright.delivery.wording import day, line
from keywright.domain.plan import FOREVER
from keywright.ports import Letter, LicenseLetter, NoticeLetter, PortalLetter


class _Alarm(msgspec.Struct, frozen=True):
    """What an alarm says. `{subject}` becomes the id of what it is about."""

    title: str
    meaning: str
    advice: tuple[str, ...]


def _of_account(title: str, meaning: str) -> _Alarm:
    """A mail to staff about their own account."""
    unless = "If it was not you, tell an owner at once. Whoever runs the server can close the account:"
    return _Alarm(title, f"{meaning} {unless}", ("keywright staff close {subject}",))


_ALARMS: Final[Mapping[str, _Alarm]] = {
    "dead_letter": _Alarm(
        "An event could not be applied",
        "A payment event was tried until its last attempt and is now kept aside. A customer may be waiting "
        "for a license, or may hold one that should have changed.",
        ("keywright event show {subject}", "keywright event replay {subject}"),
    ),
    "bad_signatures": _Alarm(
        "Many webhooks with a wrong signature",
        "Webhooks arrive whose signature does not match. Either the webhook secret was changed at the "
        "provider and not here, or somebody sends forged events. Forged events were refused; nothing of "
        "them was stored.",
        ("keywright doctor",),
    ),
    "hmac_key_missing": _Alarm(
        "A license has no HMAC key",
        "A license was sold whose plan comes with an HMAC key, and the key could not be made. The customer "
        "has the ordinary license key, and cannot use it where no network is.",
        ("keywright doctor", "keywright license firm LICENSE --firm FIRM"),
    ),
    "repurchase_unproven": _Alarm(
        "A purchase may have been meant for an older license",
        "The same customer or firm holds an older license of this product, and the plan would have extended "
        "or ended it. Nobody proved to own it, so the purchase made a new license and left the old alone.",
        ("keywright license explain {subject}", "keywright license revoke OLDER"),
    ),
    "renewal_refused": _Alarm(
        "A renewal was paid and could not be done",
        "A purchase was made for an older license, and that license is not as it should be. The buyer has "
        "paid and has nothing new.",
        ("keywright integrity", "keywright license extend LICENSE", "keywright event list"),
    ),
    "mail_undeliverable": _Alarm(
        "A mail could not be delivered",
        "A mail was refused, or could not be handed over until its last attempt. If it carried a license "
        "key, the customer does not have it yet.",
        ("keywright doctor", "keywright license resend LICENSE"),
    ),
    "staff_set_up": _of_account(
        "Your account for the console is set up",
        "You can sign in now, with your password and the second factor that you chose.",
    ),
    "staff_password_changed": _of_account(
        "Your password was changed",
        "The password of your account for the console was changed. All other sessions have ended.",
    ),
    "staff_factor_added": _of_account(
        "A second factor was added",
        "One can now sign in to your account for the console with another second factor.",
    ),
    "staff_factor_removed": _of_account(
        "A second factor was removed",
        "A second factor of your account for the console is good for nothing any more.",
    ),
    "staff_codes_made": _of_account(
        "New recovery codes were made",
        "The recovery codes of your account for the console were made again. The old ones are over.",
    ),
    "staff_code_used": _of_account(
        "A recovery code was used",
        "Somebody proved to be you with a recovery code. That code is over.",
    ),
}
_UNNAMED: Final = _Alarm("Something needs attention", "Details follow.", ("keywright doctor",))


class Stationery:
    """Implements the port Letters with the templates beside this module."""

    def __init__(self, base_url: str) -> None:
        """`base_url`: where this server is found; named at the foot of an alarm."""
        self._base_url = base_url
        self._templates = Environment(
            loader=PackageLoader("keywright.delivery"),
            autoescape=select_autoescape(["html"], default=False),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
        )

    def license_issued(self, told: LicenseLetter) -> Letter:
        """Product, plan, key, seats, machines, validity, how to activate, and who sells."""
        product, seller = line(told.product), line(told.seller)
        return self._letter(
            "license_issued",
            f"Your {product} license key",
            product=product,
            seller=seller,
            key=told.key,
            hmac_key=told.hmac_key,
            hmac_until=told.hmac_until,
            facts=_facts(told),
            device=None if told.device is None else line(told.device) or "a machine that gave no name",
            manage_url=told.manage_url,
        )

    def notice(self, told: NoticeLetter) -> Letter:
        """What happened to a license, what follows, what to do, and which license it is."""
        words = notice_words.words_of(told)
        return self._letter(
            "notice",
            words.subject,
            heading=words.heading,
            paragraphs=words.paragraphs,
            action=words.action,
            url=words.url,
            facts=notice_words.facts_of(told),
            seller=line(told.seller),
        )

    def portal_link(self, told: PortalLetter) -> Letter:
        """The way in, for how long and where it works, and what to do for somebody who did not ask."""
        seller = line(told.seller)
        return self._letter(
            "portal_link", f"Sign in at {seller}", seller=seller, url=told.url, minutes=told.minutes
        )

    def address_link(self, told: PortalLetter) -> Letter:
        """How to confirm the address, and what to do for somebody who knows nothing of it."""
        seller = line(told.seller)
        subject = f"Confirm your address at {seller}"
        return self._letter("address_link", subject, seller=seller, url=told.url, minutes=told.minutes)

    def address_moved(self, told: PortalLetter) -> Letter:
        """What happened, and what to do for who did not ask for it. The new address is not named."""
        seller = line(told.seller)
        return self._letter(
            "address_moved", f"Your address at {seller} was changed", seller=seller, url=told.url
        )

    def alarm(self, kind: str, subject: str, detail: Mapping[str, Any]) -> Letter:
        """What happened, what it means, what to type. An unknown kind is told with its details alone."""
        known = _ALARMS.get(kind, _UNNAMED)
        facts = [("What", line(kind)), ("Which", line(subject))]
        facts += [(line(name), line(str(value))) for name, value in detail.items()]
        return self._letter(
            "alarm",
            f"Keywright: {known.title}",
            title=known.title,
            meaning=known.meaning,
            advice=[command.format(subject=line(subject)) for command in known.advice],
            facts=facts,
            base_url=self._base_url,
        )

    def _letter(self, template: str, subject: str, **values: Any) -> Letter:
        text = self._templates.get_template(f"{template}.txt").render(values)
        html = self._templates.get_template(f"{template}.html").render(values, subject=subject)
        return Letter(subject, text, html)


def _facts(told: LicenseLetter) -> list[tuple[str, str]]:
    facts = [("Product", line(told.product)), ("Plan", line(told.plan))]
    facts.append(("Seats", str(told.seats)))
    facts.append(("Machines", "any number" if told.machines is None else f"{told.machines} at a time"))
    facts.append(("Valid", _validity(told)))
    return facts


def _validity(told: LicenseLetter) -> str:
    if told.valid_until is None:
        return "not at present"
    if told.valid_until == FOREVER:
        return "does not expire"
    until = f"until {day(told.valid_until)}"
    if told.trial:
        return f"{until} (trial)"
    return f"{until}, extended with each payment" if told.renews else until
