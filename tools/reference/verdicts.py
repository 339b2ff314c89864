"""The verdicts, in the order in which the first that holds is given."""

from __future__ import annotations

from keywright.domain.verdict import DETAIL, is_valid, refusal_of_activation
from tools.reference.tables import code
from tools.reference.tables import table as make


def table() -> str:
    rows = [
        [
            code(verdict),
            "**yes**" if is_valid(verdict) else "no",
            code(action),
            "200" if is_valid(verdict) else str(refusal_of_activation(verdict)),
            words,
        ]
        for verdict, (action, words) in DETAIL.items()
    ]
    return make(["code", "valid", "`next_action`", "status of `activate`", "`detail`"], rows)
