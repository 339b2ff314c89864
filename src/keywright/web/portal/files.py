"""What a customer takes along: a license file, the HMAC key of his firm, all that is stored about him."""

from __future__ import annotations

from typing import Any

from litestar import Response, post
from litestar.params import FromPath

from keywright.flows import portal, portal_data
from keywright.flows.portal_sign_in import Visitor
from keywright.web.portal.gate import Gate, Web
from keywright.web.portal.licenses import PATH, check_ids, perform
from keywright.web.portal.sign_in import LARGEST_FORM
from keywright.web.storefront.pages import Pages, download


def routes(pages: Pages, gate: Gate) -> list[Any]:
    """What is posted to get a file. By form, for each of them is an act: a file is on the timeline."""

    async def make(request: Web, license_id: str, machine: str | None) -> Response[Any]:
        def act(visitor: Visitor, _form: dict[str, str]) -> bytes:
            return portal.license_file(gate.context, visitor, license_id, machine).file.encode()

        return await perform(pages, gate, request, "file", act, lambda body: download("license.lic", body))

    @post(
        f"{PATH}/{{license_id:str}}/file",
        status_code=200,
        include_in_schema=False,
        request_max_body_size=LARGEST_FORM,
    )
    async def portable_file(request: Web, license_id: FromPath[str]) -> Response[Any]:
        check_ids(license_id)
        return await make(request, license_id, None)

    @post(
        f"{PATH}/{{license_id:str}}/machines/{{machine:str}}/file",
        status_code=200,
        include_in_schema=False,
        request_max_body_size=LARGEST_FORM,
    )
    async def license_file(request: Web, license_id: FromPath[str], machine: FromPath[str]) -> Response[Any]:
        check_ids(license_id, machine)
        return await make(request, license_id, machine)

    @post(
        f"{PATH}/{{license_id:str}}/hmac-key",
        status_code=200,
        include_in_schema=False,
        request_max_body_size=LARGEST_FORM,
    )
    async def hmac_key(request: Web, license_id: FromPath[str]) -> Response[Any]:
        check_ids(license_id)

        def act(visitor: Visitor, _form: dict[str, str]) -> bytes:
            firm, key = portal.hmac_key(gate.context, visitor, license_id)
            return f"{firm}\n{key}\n".encode()

        return await perform(pages, gate, request, "hmac", act, lambda body: download("hmac-key.txt", body))

    @post("/portal/you/export", status_code=200, include_in_schema=False, request_max_body_size=LARGEST_FORM)
    async def export(request: Web) -> Response[Any]:
        def act(visitor: Visitor, _form: dict[str, str]) -> bytes:
            return portal_data.export(gate.context, visitor)

        kind = "application/json"
        return await perform(
            pages, gate, request, "export", act, lambda body: download("personal-data.json", body, kind)
        )

    return [portable_file, license_file, hmac_key, export]
