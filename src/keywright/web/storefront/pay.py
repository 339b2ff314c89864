"""The page before the payment of a checkout that a program opened: it says which machine the license is for.

A program sends its user here. Whoever sends somebody else here wants to have his own machine paid for, and
this page is where that can be noticed: nothing leads on by itself.
"""

from __future__ import annotations

import asyncio
from typing import Any

from litestar import Response, get
from litestar.params import FromPath

from keywright.flows.pay_page import pay_page
from keywright.web.storefront.pages import Pages
from keywright.web.storefront.words import full_name, money


def routes(pages: Pages) -> list[Any]:
    """`/checkout/{reference}/pay`. Sets no cookie: who pays here need not be who holds the claim."""

    @get("/checkout/{reference:str}/pay", include_in_schema=False)
    async def pay(reference: FromPath[str]) -> Response[str]:
        shown = await asyncio.to_thread(pay_page, pages.context, reference)
        return pages.render(
            "pay.html",
            shown=shown,
            ordered=full_name(shown.product, shown.plan),
            total=money(shown.amount, shown.currency),
        )

    return [pay]
