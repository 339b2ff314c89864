"""What stands behind the question mark: filters and pages, and nothing that is not known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from litestar import Request

from keywright.domain.errors import Invalid


def present(given: Mapping[str, str | None]) -> dict[str, str]:
    """Those that were asked for."""
    return {name: value for name, value in given.items() if value is not None}


def refuse_unknown(request: Request[Any, Any, Any], *known: str) -> None:
    """A misspelled filter must not answer with everything. Raises Invalid."""
    if unknown := sorted(set(request.query_params) - set(known)):
        raise Invalid(f"There is no parameter `{unknown[0]}` here.")
