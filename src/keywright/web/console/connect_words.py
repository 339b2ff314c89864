"""What a provider asks of the owner of a connected account, said so that somebody can do it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

# The longest beginning counts. https://docs.stripe.com/connect/required-verification-information
_ASKED: Final = (
    ("external_account", "A bank account to be paid out to"),
    ("bank_account", "A bank account to be paid out to"),
    ("business_profile.url", "The address of the shop's own web page"),
    ("business_profile.mcc", "What kind of business it is"),
    ("business_profile.product_description", "What is sold, in a sentence"),
    ("business_profile", "About the business"),
    ("business_type", "Whether it is a person or a company"),
    ("tos_acceptance", "Agreement to the provider's terms"),
    ("settings.payments.statement_descriptor", "What the buyer reads on the card's statement"),
    ("individual.verification.document", "A passport, or another paper with a picture"),
    ("individual.verification", "A proof of who the owner is"),
    ("individual.address", "Where the owner lives"),
    ("individual.dob", "When the owner was born"),
    ("individual.id_number", "The owner's tax or identity number"),
    ("individual.ssn_last_4", "The last four digits of the owner's social security number"),
    ("individual", "About the owner"),
    ("company.tax_id", "The company's tax number"),
    ("company.verification", "A paper that proves the company"),
    ("company.address", "Where the company is"),
    ("company", "About the company"),
    ("owners", "Who owns the company"),
    ("directors", "Who directs the company"),
    ("executives", "Who leads the company"),
    ("representative", "Who speaks for the company"),
    ("relationship", "Who speaks for the company"),
    ("person", "About a person behind the company"),
    ("interv", "An answer to a question that the provider has sent"),
)
_REASONS: Final = {
    "requirements.past_due": "Something the provider asked for is overdue.",
    "requirements.pending_verification": "The provider is checking what was handed in.",
    "listed": "The provider is checking the account against lists.",
    "under_review": "The provider is reviewing the account.",
    "platform_paused": "The account was paused from this platform.",
}


def what_to_do(due: Iterable[str]) -> list[tuple[str, str]]:
    """What is asked for, each thing once, with the provider's own names of it."""
    found: dict[str, list[str]] = {}
    for name in due:
        said = next(
            (words for start, words in sorted(_ASKED, key=_longest) if name.startswith(start)),
            name.replace(".", " ").replace("_", " ").capitalize(),
        )
        found.setdefault(said, []).append(name)
    return [(said, ", ".join(names)) for said, names in found.items()]


def why_off(reason: str | None) -> str:
    """Why the provider takes no payments for the account."""
    if reason is None:
        return ""
    if reason.startswith("rejected"):
        return "The provider refused the account. Its support can say why."
    return _REASONS.get(reason, f"The provider says: {reason.replace('.', ' ').replace('_', ' ')}.")


def _longest(entry: tuple[str, str]) -> int:
    return -len(entry[0])
