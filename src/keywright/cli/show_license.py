"""How a license is shown on the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keywright.cli.session import print_json, print_members

if TYPE_CHECKING:
    from keywright.flows.license_views import LicenseRow


def print_license(row: LicenseRow, json: bool) -> None:
    """The license, as people or as programs read it."""
    if json:
        print_json(row)
    else:
        show_license(row)


def show_license(row: LicenseRow) -> None:
    """One value a line."""
    holder = row.customer
    members: list[tuple[str, object]] = [
        ("license", row.id),
        ("plan", f"{row.product}/{row.plan}"),
        ("status", row.status if not row.reason else f"{row.status} ({row.reason})"),
        ("seats", row.seats),
        ("machines", row.activations),
        ("until", _end(row)),
        ("grace until", row.grace_until if row.entitled_until is not None else None),
        ("customer", f"{holder.email or 'no e-mail yet'} ({holder.id})" if holder is not None else None),
        ("key ends in", row.key_last5),
        ("made", row.created_at),
    ]
    if row.origin != "purchase":
        members.append(("origin", row.origin))
    if row.trial:
        members.append(("trial", "yes"))
    if row.firm is not None:
        members.append(("firm", row.firm))
    print_members(members)


def line_of(row: LicenseRow) -> tuple[object, ...]:
    """The cells of its line in a table."""
    email = row.customer.email if row.customer is not None else None
    plan = f"{row.product}/{row.plan}"
    return (row.id, plan, row.status, row.seats, row.activations, _end(row), row.key_last5, email)


def _end(row: LicenseRow) -> object:
    if row.entitled_until is None:
        return None if row.status == "pending" else "never ends"
    return row.entitled_until
