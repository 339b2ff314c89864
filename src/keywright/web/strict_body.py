"""JSON bodies read strictly: the framework's own reader breaks on some hostile ones with an error of ours."""

from __future__ import annotations

from typing import Any

from litestar import Request

from keywright.domain import strict_json
from keywright.domain.errors import Invalid


class StrictRequest(Request[Any, Any, Any]):
    """A request whose JSON is read like a webhook's: no repeated members, no depths, no broken text."""

    async def json(self) -> Any:
        """The body, or None when there is none. Raises Invalid."""
        raw = await self.body()
        if not raw:
            return None
        try:
            return strict_json.loads(raw)
        except strict_json.StrictJSONError as error:
            raise Invalid(f"The body is not JSON: {error}.") from None
