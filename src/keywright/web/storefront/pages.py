"""How a page leaves: rendered, under a strict policy, and never kept by a cache."""

from __future__ import annotations

import hashlib
from http import HTTPStatus
from pathlib import Path
from types import CodeType
from typing import Any, Final

import structlog
from jinja2 import BytecodeCache, Environment, PackageLoader, StrictUndefined
from jinja2.bccache import Bucket
from litestar import Request, Response, get
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler

from keywright.domain.errors import KeywrightError
from keywright.flows.context import Context, Inline
from keywright.flows.return_urls import origin_of
from keywright.web.rooted import root_of

log = structlog.get_logger(__name__)

_STATIC: Final = Path(__file__).parent.parent / "static"
_KINDS: Final = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_ASSETS: Final = {path.name: path.read_bytes() for path in sorted(_STATIC.iterdir()) if path.suffix in _KINDS}
_DIGESTS: Final = {name: hashlib.sha256(body).hexdigest()[:12] for name, body in _ASSETS.items()}

Web = Request[Any, Any, Any]


class _Compiled(BytecodeCache):
    """Templates as they were compiled first, for the pages of every tenant."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], CodeType] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        bucket.code = self._known.get((bucket.key, bucket.checksum))

    def dump_bytecode(self, bucket: Bucket) -> None:
        if bucket.code is not None:
            self._known[(bucket.key, bucket.checksum)] = bucket.code


_COMPILED: Final = _Compiled()


def _asset(name: str) -> str:
    """The address of an asset; it changes with its content, so that browsers may keep it."""
    return f"/static/{name}?v={_DIGESTS[name]}"


class Pages:
    """Renders for one context. `pay`: forms may lead to the providers' pay pages."""

    def __init__(self, context: Context, *, pay: bool = True) -> None:
        self.context = context
        self.root = root_of(context)
        self._pay = pay
        self._templates = Environment(
            loader=PackageLoader("keywright.web"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            bytecode_cache=_COMPILED,
        )
        self._templates.globals.update(
            asset=_asset,
            brand=self._brand,
            root=self.root,
            seller=context.tenant.name,
            sandbox=context.policy.sandbox,
            mails=context.policy.sandbox and context.policy.outbox is not None,
        )

    def _brand(self, name: str) -> str:
        """The address of a file that wears the seller's look."""
        return f"{self.root}/brand/{name}"

    def render(
        self,
        template: str,
        *,
        status: int = 200,
        styles: str = "'self'",
        refer: bool = False,
        inline: Inline | None = None,
        **values: Any,
    ) -> Response[str]:
        """A page. `styles` is the policy's style-src. `inline`: whose script and frame this page lets in.

        `refer`: the page has a form that comes back to us. Without a referrer policy that allows it, browsers
        send `Origin: null` with the form, and the origin could not be checked.
        """
        html = self._templates.get_template(template).render(values)
        return Response(
            html,
            media_type="text/html",
            status_code=status,
            headers=self._headers(styles, refer=refer, inline=inline),
        )

    def headers(self) -> dict[str, str]:
        """Those of a page with a form, for what is answered without one."""
        return self._headers("'self'", refer=True, inline=None)

    def _headers(self, styles: str, *, refer: bool, inline: Inline | None) -> dict[str, str]:
        policy = self.context.policy
        scripts, frames = "'self'", ""
        if inline is not None:
            scripts = f"'self' {origin_of(inline.script)}"
            frames = f"frame-src {origin_of(inline.frame)}; "
        # Browsers hold the redirect after a form to form-action, too.
        pages = policy.pay_origins if self._pay else ()
        targets = " ".join(["'self'", *filter(None, map(origin_of, pages))])
        headers = {
            "content-security-policy": (
                f"default-src 'none'; script-src {scripts}; style-src {styles}; img-src 'self' data:; "
                f"{frames}form-action {targets}; connect-src 'self'; base-uri 'none'; "
                "frame-ancestors 'none'"
            ),
            "cache-control": "no-store",
            "referrer-policy": "same-origin" if refer else "no-referrer",
            "x-content-type-options": "nosniff",
            "cross-origin-opener-policy": "same-origin",
        }
        if policy.base_url.startswith("https://"):
            headers["strict-transport-security"] = "max-age=31536000"
        return headers

    def refused(self, _request: Web, error: Exception) -> Response[str]:
        """A refusal, for people."""
        if isinstance(error, KeywrightError):
            status, detail, code = error.status, error.detail, error.code
        elif isinstance(error, HTTPException):
            status, detail, code = error.status_code, error.detail, "REFUSED"
        else:
            log.error("unexpected_error", error=type(error).__qualname__, exc_info=error)
            status, detail, code = 500, "Something went wrong on our side. It was logged.", "INTERNAL"
        title = "This page does not exist" if status == HTTPStatus.NOT_FOUND else "That did not work"
        return self.render("refused.html", status=status, title=title, detail=detail, code=code)


def download(name: str, body: bytes, kind: str = "text/plain") -> Response[Any]:
    """A file to keep; no browser shows it as a page."""
    return Response(body, media_type=kind, headers={"content-disposition": f'attachment; filename="{name}"'})


def asset_routes() -> list[HTTPRouteHandler]:
    """One route for each file of `web/static`; no path from outside ever meets the file system."""
    return [_asset_route(name, body) for name, body in _ASSETS.items()]


def _asset_route(name: str, body: bytes) -> HTTPRouteHandler:
    headers = {"cache-control": "public, max-age=31536000, immutable", "x-content-type-options": "nosniff"}

    @get(f"/static/{name}", include_in_schema=False)
    async def asset() -> Response[bytes]:
        return Response(body, media_type=_KINDS[Path(name).suffix], headers=headers)

    return asset
