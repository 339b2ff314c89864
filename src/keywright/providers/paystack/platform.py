"""The platform's side of Paystack's subaccounts, the nearest it has to connected accounts.

A subaccount is made in the platform's dashboard, with the bank account that is paid out to: bank details are
nothing for us to pass on. Payments are the platform's own, and Paystack splits each between the two.
https://paystack.com/docs/payments/split-payments/
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import httpx

from keywright.connect_ports import AccountStanding, ConnectEndpoint
from keywright.domain.errors import NotFound, Unsupported
from keywright.domain.strict_json import StrictJSONError, loads
from keywright.ports import Clock
from keywright.providers.paystack.http import API_BASE, PaystackHttp
from keywright.providers.paystack.reduce import code, within

_CODE: Final = re.compile(r"ACCT_[A-Za-z0-9]{4,60}")
_DASHBOARD: Final = "Make the subaccount in Paystack's dashboard, and name it here."


class PaystackPlatform:
    """Implements ConnectApi for the platform's account. Safe to use from several threads."""

    def __init__(
        self,
        secret_key: str,
        clock: Clock,
        *,
        base: str = API_BASE,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """Make a client; nothing is sent yet. Arguments as those of `PaystackApi`."""
        self._http = PaystackHttp(secret_key, clock, base=base, transport=transport)

    def create(self, email: str | None, tenant: str, key: str) -> str:
        """Raises Unsupported: it would take bank details."""
        del email, tenant, key
        raise Unsupported(_DASHBOARD)

    def link(self, account: str, *, refresh_url: str, return_url: str) -> str:
        """Raises Unsupported: Paystack has no page for a subaccount's owner."""
        del account, refresh_url, return_url
        raise Unsupported(_DASHBOARD)

    def look(self, account: str) -> AccountStanding:
        """How the subaccount stands. Raises NotFound for a name that is none, or unknown."""
        if not _CODE.fullmatch(account):
            raise NotFound("The name of a subaccount begins with ACCT_")
        answer = self._http.get(f"/subaccount/{account}")
        told = within({"data": answer.data}, "data")
        active = told.get("active") is not False
        return AccountStanding(
            account=code(told, "subaccount_code") or account,
            charges=active,
            payouts=active,
            submitted=True,
            due=(),
            disabled_reason=None if active else "inactive",
            seen_at=answer.at,
        )

    def take_part(self, account: str, basis_points: int) -> None:
        """Have Paystack keep so much for the platform where no sale says otherwise: at renewals."""
        self._http.send("PUT", f"/subaccount/{account}", body={"percentage_charge": basis_points / 100})

    def register(self, url: str) -> ConnectEndpoint:
        """Raises Unsupported: all events come to the platform's own address."""
        raise Unsupported(f"Paystack has one webhook address for everything, and it is not {url}.")


def subaccount_in(raw: bytes) -> str | None:
    """Whose payment an event is about, in Paystack's own word; None where it tells none, as most do."""
    try:
        told = loads(raw)
    except StrictJSONError:
        return None
    data = told.get("data") if isinstance(told, dict) else None
    if not isinstance(data, Mapping):
        return None
    for holder in (data, within(data, "transaction")):
        found = code(holder.get("subaccount"), "subaccount_code")
        if found is not None and _CODE.fullmatch(found):
            return found
    return None
