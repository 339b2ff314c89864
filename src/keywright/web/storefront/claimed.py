"""What the browser that bought can do on the result page: take a license file, have the mail sent again."""

from __future__ import annotations

import asyncio
import hmac
import re
from typing import Any, Final

from litestar import Request, Response, post
from litestar.params import FromPath
from litestar.response import Redirect

from keywright.domain.errors import Forbidden
from keywright.flows import ordered
from keywright.flows.license_views import unknown_license
from keywright.flows.portal_sign_in import form_check
from keywright.web import claim, wire
from keywright.web.limits import Limit
from keywright.web.origin import is_ours
from keywright.web.storefront.pages import Pages, download
from keywright.web.till import Till

_LARGEST_FORM: Final = 1024
_MAILS_A_MINUTE: Final = 2  # of one license
_FILES_A_MINUTE: Final = 6
_PATH: Final = "/checkout/{reference:str}/licenses/{license_id:str}"
_LICENSE: Final = re.compile(r"lic_[0-9a-f]{1,64}")

Web = Request[Any, Any, Any]


def routes(pages: Pages, till: Till) -> list[Any]:
    """`/checkout/{reference}/licenses/{id}/file` and `…/mail`, by form and by claim cookie."""
    mails, files = Limit(_MAILS_A_MINUTE), Limit(_FILES_A_MINUTE)

    @post(f"{_PATH}/file", status_code=200, include_in_schema=False, request_max_body_size=_LARGEST_FORM)
    async def license_file(
        request: Web, reference: FromPath[str], license_id: FromPath[str]
    ) -> Response[Any]:
        token = await _token_of(pages, request, reference, license_id)
        files.count(f"{reference} {license_id}")
        made = await asyncio.to_thread(ordered.license_file, till.context, reference, token, license_id)
        return download("license.lic", made.file.encode())

    @post(f"{_PATH}/mail", status_code=303, include_in_schema=False, request_max_body_size=_LARGEST_FORM)
    async def send_again(request: Web, reference: FromPath[str], license_id: FromPath[str]) -> Redirect:
        token = await _token_of(pages, request, reference, license_id)
        mails.count(f"{reference} {license_id}")
        await asyncio.to_thread(ordered.send_again, till.context, reference, token, license_id)
        return Redirect(f"{pages.root}/checkout/{reference}?done=mailed", status_code=303)

    return [license_file, send_again]


async def _token_of(pages: Pages, request: Web, reference: str, license_id: str) -> str:
    """The claim token of whoever sends one of our own forms. Raises Forbidden, NotFound."""
    if not _LICENSE.fullmatch(license_id):
        raise unknown_license()
    async with wire.in_time():
        told = await request.form()
    base_url = pages.context.policy.base_url
    token, field = claim.claim_of(pages.context, request, reference) or "", told.get("check", "")
    paired = isinstance(field, str) and hmac.compare_digest(
        form_check(pages.context, token).encode(), field.encode("utf-8", "replace")
    )
    if not token or not paired or not is_ours(base_url, request):
        raise Forbidden("Only the browser that bought can do this here. See `Your licenses` instead.")
    return token
