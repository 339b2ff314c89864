"""One of every letter, as customers and staff would get it today: for whoever chooses how they look.

Nothing in them is of a customer: seller and product are real, key, machine and dates are made up.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Final

import msgspec

from keywright.domain.errors import NotFound
from keywright.domain.look import Look
from keywright.domain.plan import NOTICE_KINDS, NoticeKind
from keywright.flows.context import Context
from keywright.flows.staff_sessions import door_of
from keywright.ports import Letter, LicenseLetter, NoticeLetter, PortalLetter
from keywright.store import catalog, tenants

_KEY: Final = "0A1B2-C3D4E-5F6G7-H8J9K-M0N1P"
_HMAC_KEY: Final = "AAAAA-BBBBB-CCCCC-DDDDD-EEEEE-FFFFF"
_MADE_UP: Final = "made-up-for-this-page"
_SOON: Final = timedelta(days=30)
_ALARMS: Final = (
    *("dead_letter", "bad_signatures", "hmac_key_missing", "repurchase_unproven", "renewal_refused"),
    *("connect_off", "mail_undeliverable", "staff_set_up", "staff_password_changed", "staff_factor_added"),
    *("staff_factor_removed", "staff_codes_made", "staff_code_used"),
)
_CAUSES: Final = {"expired": "unpaid", "expired-canceled": "canceled", "expired-trial": "trial"}


class _Scene(msgspec.Struct, frozen=True):
    """What the samples are about."""

    context: Context
    look: Look
    seller: str
    product: str
    plan: str
    prefix: str


_Write = Callable[[_Scene], Letter]


def names() -> tuple[str, ...]:
    """What the samples are called: as the announcements, with hyphens."""
    return tuple(_SAMPLES)


def write(context: Context, tenant: str, name: str, look: Look) -> Letter:
    """A sample in this look and its language. Raises NotFound."""
    made = _SAMPLES.get(name)
    if made is None:
        raise NotFound("There is no such letter.")
    with context.database.read() as connection:
        offers = catalog.list_offers(connection, tenant)
        seller = tenants.find(connection, tenant)
    product, plan, prefix = ("DashCaddy", "Pro", "DC")
    if offers:
        product, plan = offers[0].product.name, offers[0].plan.name
        prefix = offers[0].product.key_prefix
    return made(
        _Scene(context.of(tenant), look, seller.name if seller is not None else "", product, plan, prefix)
    )


def _license(*, device: bool = False, firm: bool = False) -> _Write:
    def made(scene: _Scene) -> Letter:
        until = scene.context.clock.now() + _SOON
        told = LicenseLetter(
            seller=scene.seller,
            product=scene.product,
            plan=scene.plan,
            key=f"{scene.prefix}-{_KEY}",
            seats=5,
            machines=5,
            valid_until=until,
            renews=True,
            trial=False,
            device="Office laptop" if device else None,
            manage_url=f"{scene.context.base_url}/portal",
            hmac_key=_HMAC_KEY if firm else None,
            hmac_last_day=until.date() if firm else None,
        )
        return scene.context.letters.license_issued(told, scene.look)

    return made


def _notice(kind: NoticeKind, cause: str) -> _Write:
    def made(scene: _Scene) -> Letter:
        now, pages = scene.context.clock.now(), scene.context.base_url
        told = NoticeLetter(
            kind=kind,
            seller=scene.seller,
            product=scene.product,
            plan=scene.plan,
            key_last5=_KEY[-5:],
            seats=5,
            works=kind not in ("expired", "refunded"),
            entitled_until=now + _SOON,
            stops_at=now + _SOON / 2,
            cause=cause,
            detail=_DETAILS.get(kind, {}),
            manage_url=f"{pages}/portal",
            shop_url=pages,
        )
        return scene.context.letters.notice(told, scene.look)

    return made


_DETAILS: Final[dict[str, dict[str, str | int]]] = {
    "payment_failed": {"amount": 123450, "currency": "EUR"},
    "renewed": {"amount": 123450, "currency": "EUR"},
    "seats_changed": {"before": 3, "seats": 5},
    "refunded": {"amount": 123450, "before": 0, "currency": "EUR"},
}


def _portal(kind: str) -> _Write:
    def made(scene: _Scene) -> Letter:
        letters, base = scene.context.letters, scene.context.base_url
        if kind == "moved":
            return letters.address_moved(PortalLetter(scene.seller, f"{base}/portal", 0), scene.look)
        told = PortalLetter(scene.seller, f"{base}/portal/{kind}/{_MADE_UP}", 10)
        return (letters.portal_link if kind == "link" else letters.address_link)(told, scene.look)

    return made


def _invited(scene: _Scene) -> Letter:
    url = f"{scene.context.policy.base_url}/console/setup/{_MADE_UP}"
    return scene.context.letters.staff_invited(PortalLetter(scene.seller, url, 0), scene.look)


def _alarm(kind: str) -> _Write:
    def made(scene: _Scene) -> Letter:
        told = {"when": scene.context.clock.now()}
        base, of_account = scene.context.policy.base_url, kind.startswith("staff_")
        door = f"{base}{door_of(scene.context.tenant)}" if of_account else ""
        return scene.context.letters.alarm(kind, _MADE_UP, told, scene.seller, scene.look, door=door)

    return made


_SAMPLES: Final[dict[str, _Write]] = {
    "license": _license(),
    "license-device": _license(device=True),
    "license-firm": _license(firm=True),
    **{kind.replace("_", "-"): _notice(kind, _CAUSES.get(kind, "over")) for kind in NOTICE_KINDS},
    **{name: _notice("expired", cause) for name, cause in _CAUSES.items()},
    "portal-link": _portal("link"),
    "address-link": _portal("address"),
    "address-moved": _portal("moved"),
    "staff-invited": _invited,
    **{kind.replace("_", "-"): _alarm(kind) for kind in _ALARMS},
}
