"""What imported licenses had elsewhere, put on them as they are made: key, machines, counts and dates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

import msgspec
import sqlalchemy as sa

from keywright.domain import hmac_key, license_key, override
from keywright.domain.activation import Activation
from keywright.domain.facts import Alias
from keywright.domain.grant import Grant
from keywright.domain.license import License, granted
from keywright.domain.override import Overrides
from keywright.domain.plan import Plan
from keywright.flows import license_keys
from keywright.flows.context import Context
from keywright.flows.import_file import Line
from keywright.flows.license_keys import EXACT, Key
from keywright.flows.license_writes import with_key
from keywright.store import activations, catalog, key_schemes, licenses
from keywright.store.imports import Conflict

_Place = tuple[str, int]
"""The subscription, and the number of the license among those of one product."""

_SEATS_FIX: Final = (
    "keywright license show, and tell the customer: a subscription decides how many it pays for"
)


class Luggage:
    """The lines about the subscriptions of one page. Implements Bringing; use it for one transaction."""

    def __init__(
        self, context: Context, connection: sa.Connection, tenant: str, run: str, lines: Sequence[Line]
    ) -> None:
        self._context = context
        self._connection = connection
        self._tenant = tenant
        self._run = run
        self.conflicts: list[Conflict] = []
        self.keys = 0
        self._machines: list[Activation] = []
        self._schemes: set[str] = set()
        self._subscriptions: dict[str, list[str]] = {}
        self._products: dict[str, str] = {}
        self._lines: dict[_Place, list[Line]] = {}
        for line in lines:
            self._lines.setdefault((line.subscription, line.unit - 1), []).append(line)
        self._taken: set[int] = set()
        self._used_keys: set[str] = set()
        self._others_keys: set[str] = set()
        if lines:
            offers = catalog.list_offers(connection, tenant, retired=True)
            self._products = {offer.product.id: offer.product.slug for offer in offers}
            self._find_used([line.key for line in lines if line.key is not None])

    @property
    def machines(self) -> int:
        """How many came along."""
        return len(self._machines)

    # -- Bringing -----------------------------------------------------------------------------------

    def know(self, names: Mapping[Alias, str]) -> None:
        """Which purchase each name of the pass leads to."""
        for alias, purchase in names.items():
            if alias.kind == "subscription":
                self._subscriptions.setdefault(purchase, []).append(alias.external_id)

    def mark(self) -> Mapping[str, str]:
        """What the timeline says of it besides."""
        return {"import": self._run}

    def bring(self, made: License, grant: Grant) -> License:
        """The license with what its line says."""
        line = self._line_of(made)
        if line is None:
            return made
        self._taken.add(line.number)
        made = self._keyed(made, line, grant.plan)
        made = self._extended(made, line, grant)
        if line.firm is not None and made.firm is None:
            made = msgspec.structs.replace(made, firm=line.firm)
        now = self._context.clock.now()
        if line.issued_at is not None and _runs(made, now):
            # One that is over begins now: nobody is to be told today that it ended last week.
            made = msgspec.structs.replace(made, created_at=line.issued_at)
        self._machines += [
            Activation(
                id=self._context.new_id("act"),
                license_id=made.id,
                tenant_id=made.tenant_id,
                fingerprint_hash=self._context.vault.blind("fingerprint", text),
                name=None,
                activated_at=now,
                last_seen_at=now,
            )
            for text in line.fingerprints
        ]
        return made

    def names_of(self, held: License) -> list[str]:
        """The provider's names of the subscription that a license of this pass is of."""
        return self._subscriptions.get(held.purchase_id or "", [])

    def write(self, now: datetime) -> None:
        """The machines, and under which schemes keys are held, after the licenses were written."""
        activations.insert(self._connection, [(one, None) for one in self._machines])
        for scheme in sorted(self._schemes):
            key_schemes.use(self._connection, self._tenant, scheme, now)

    # -- what no license was made for ---------------------------------------------------------------

    def compare(self, held: Mapping[str, Sequence[License]]) -> None:
        """Tell of the lines that nothing was made for in this pass: a license is there already, or none is.

        `held`: the licenses of each subscription.
        """
        for place, several in self._lines.items():
            for line in several:
                if line.number not in self._taken:
                    self._compare_line(line, place, held.get(line.subscription, ()))

    def _compare_line(self, line: Line, place: _Place, held: Sequence[License]) -> None:
        fitting = [one for one in held if one.unit == place[1] and self._is_of(line, one)]
        if not fitting:
            reason = "there is no license for it: nothing was ever paid, or unit or product are others"
            self._note("line-without-license", line, reason)
        elif line.key is not None and not any(self._has_key(one, line.key) for one in fitting):
            reason = f"the license is here as {fitting[0].id} under another key, and was not changed"
            self._note("key-differs", line, reason)

    def _has_key(self, held: License, text: str) -> bool:
        return any(
            self._context.vault.blind("license-key-lookup", form) == held.key_hash
            for form in self._forms(text)
        )

    # -- one line -----------------------------------------------------------------------------------

    def _line_of(self, made: License) -> Line | None:
        for subscription in self._subscriptions.get(made.purchase_id or "", ()):
            for line in self._lines.get((subscription, made.unit), ()):
                if self._is_of(line, made) and line.number not in self._taken:
                    return line
        return None

    def _is_of(self, line: Line, held: License) -> bool:
        return line.product is None or line.product == self._products.get(held.product_id)

    def _keyed(self, made: License, line: Line, plan: Plan) -> License:
        if line.key is None:
            return made
        scheme = plan.terms.key_scheme or EXACT
        key = self._brought(line, plan, scheme)
        if isinstance(key, str):
            self._note("key-refused", line, f"{key}; the license has a new key")
            return made
        held = with_key(self._context, made, key)
        if held.key_hash in self._others_keys:
            self._note("key-refused", line, f"{license_keys.unfit(scheme)}; the license has a new key")
            return made
        if held.key_hash in self._used_keys:
            self._note("key-taken", line, "this key is in use or was replaced; the license has a new key")
            return made
        self._used_keys.add(held.key_hash)
        self.keys += 1
        if key.is_foreign:
            self._schemes.add(scheme)
        return held

    def _brought(self, line: Line, plan: Plan, scheme: str) -> Key | str:
        text = line.key or ""
        if plan.terms.profile == "hmac":
            return "a plan of the hmac profile makes its own keys"
        if license_key.canonical(text) is None and hmac_key.read(text) is not None:
            return "it reads as an HMAC key, and would never be found as this one"
        key = license_keys.brought(self._context.schemes, scheme, text)
        return license_keys.unfit(scheme) if key is None else key

    def _extended(self, made: License, line: Line, grant: Grant) -> License:
        """More seats and a later end than the subscription pays for: a customer was promised them."""
        more = 0 if line.seats is None else line.seats - grant.seats
        if more < 0:
            reason = f"{line.seats} seats, and its subscription pays for {grant.seats}: it has these"
            self._note("fewer-seats", line, reason, _SEATS_FIX)
        if more <= 0 and line.until is None:
            return made
        overrides = Overrides(floor=line.until, seats=max(more, 0))
        made = msgspec.structs.replace(made, overrides=overrides)
        return granted(made, override.apply(grant, overrides))

    def _note(self, kind: str, line: Line, reason: str, fix: str = "") -> None:
        self.conflicts.append(Conflict(kind, f"line {line.number}", reason, fix))

    def _forms(self, text: str) -> list[str]:
        """What a key may be looked up by, under whatever scheme it may be of."""
        schemes = (EXACT, *self._context.schemes.installed)
        found = [license_keys.brought(self._context.schemes, scheme, text) for scheme in schemes]
        return [key.form for key in found if key is not None]

    def _find_used(self, texts: Sequence[str]) -> None:
        forms = {form for text in texts for form in self._forms(text)}
        hashes = [self._context.vault.blind("license-key-lookup", form) for form in sorted(forms)]
        owners = {one.key_hash: one.tenant_id for one in licenses.of_keys(self._connection, hashes)}
        former = key_schemes.replaced(self._connection, hashes)
        owners |= {key_hash: tenant for key_hash, (tenant, _) in former.items()}
        for key_hash, tenant in owners.items():
            (self._used_keys if tenant == self._tenant else self._others_keys).add(key_hash)


def _runs(held: License, now: datetime) -> bool:
    return held.entitled_until is not None and held.entitled_until > now
