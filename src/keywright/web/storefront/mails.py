"""The mail viewer of the demo: what the outbox folder holds. Only in sandbox mode."""

from __future__ import annotations

import asyncio
import base64
import email
import email.policy
import re
from datetime import UTC, datetime
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import msgspec
from litestar import Response, get
from litestar.params import FromPath

from keywright.domain.errors import NotFound
from keywright.web.storefront.pages import Pages
from keywright.web.styles import styles_of

_MOST = 200
_NAME = re.compile(r"[A-Za-z0-9_+-][A-Za-z0-9._+@:\[\]-]{0,250}\.eml")
_LINK = re.compile(r"^ +(https?://\S+)\r?$", re.MULTILINE)


class ShownMail(msgspec.Struct, frozen=True):
    name: str
    subject: str
    to: str
    sender: str
    at: str
    text: str
    html: str


def routes(pages: Pages, outbox: Path) -> list[Any]:
    """`/demo/mails` and `/demo/mails/{name}`."""

    base_url = pages.context.policy.base_url

    @get("/demo/mails", include_in_schema=False)
    async def every_mail() -> Response[str]:
        return pages.render("mails.html", found=await asyncio.to_thread(_newest, outbox))

    @get("/demo/mails/{name:str}", include_in_schema=False)
    async def one_mail(name: FromPath[str]) -> Response[str]:
        mail = await asyncio.to_thread(_read, outbox, name)
        links = [link for link in _LINK.findall(mail.text) if link.startswith(f"{base_url}/")]
        # The frame inherits this page's policy, and mails carry their styles with them.
        return pages.render("mail.html", styles=styles_of(mail.html), mail=mail, links=links)

    return [every_mail, one_mail]


def _newest(outbox: Path) -> list[ShownMail]:
    files = sorted(outbox.glob("*.eml"), key=lambda path: (path.stat().st_mtime_ns, path.name), reverse=True)
    return [_mail(path) for path in files[:_MOST]]


def _read(outbox: Path, name: str) -> ShownMail:
    path = outbox / name
    if not _NAME.fullmatch(name) or not path.is_file():
        raise NotFound("There is no such mail.")
    return _mail(path)


def _mail(path: Path) -> ShownMail:
    message = email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
    at = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    return ShownMail(
        name=path.name,
        subject=str(message["subject"] or "(no subject)"),
        to=str(message["to"] or ""),
        sender=str(message["from"] or ""),
        at=f"{at:%Y-%m-%d %H:%M:%S} UTC",
        text=_part(message, "plain"),
        html=_with_pictures(message, _part(message, "html")),
    )


def _with_pictures(message: EmailMessage, html: str) -> str:
    """The HTML with the pictures that came along beside it: the page around it lets in no others."""
    for part in message.walk():
        name = str(part["content-id"] or "").strip("<>")
        if name and part.get_content_type() == "image/png":
            content = base64.b64encode(part.get_content()).decode()
            html = html.replace(f"cid:{name}", f"data:image/png;base64,{content}")
    return html


def _part(message: EmailMessage, kind: str) -> str:
    part = message.get_body(preferencelist=(kind,))
    return "" if part is None else str(part.get_content())
