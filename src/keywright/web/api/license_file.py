"""`POST /api/license/file`: a license to carry along, for programs that cannot ask."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from litestar import asgi

from keywright.domain.verdict import refusal_of_activation
from keywright.flows import license_files
from keywright.flows.license_files import FileAsk, FileMade
from keywright.web import wire
from keywright.web.api.licensing import Desk

if TYPE_CHECKING:
    from litestar.handlers import ASGIRouteHandler
    from litestar.types import Receive, Scope, Send

_decode = msgspec.json.Decoder(FileAsk).decode


def routes(desk: Desk) -> list[ASGIRouteHandler]:
    """The route, with the limits on keys and addresses that `activate` has."""

    async def answer(scope: Scope, receive: Receive) -> tuple[int, bytes]:
        asked, address = await desk.asked(scope, receive, fingerprint_needed=False, decode=_decode)
        days = asked.ask.days if isinstance(asked.ask, FileAsk) else None
        license_files.check_days(days)
        await desk.before_writing("file", asked, address)
        made = await desk.write(license_files.make, desk.context, asked, days)
        if isinstance(made, FileMade):
            return 200, wire.encode(made)
        desk.count("file", made, address)
        return refusal_of_activation(made.code), wire.encode(made)

    @asgi("/api/license/file", copy_scope=False)
    async def file(scope: Scope, receive: Receive, send: Send) -> None:
        await wire.post(scope, receive, send, answer)

    return [file]
