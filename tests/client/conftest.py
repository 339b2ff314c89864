"""A seller for every test, and no network beside it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.client.seller import Seller


@pytest.fixture
def seller() -> Iterator[Seller]:
    with Seller() as one:
        yield one
