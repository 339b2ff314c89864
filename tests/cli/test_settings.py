"""Settings that contradict each other are refused before anything starts, and never shown."""

from __future__ import annotations

import pytest

from keywright import bootstrap
from keywright.domain.errors import Misconfigured

HTTPS = "https://licenses.example.com"


def read(**values: str) -> object:
    return bootstrap.read_settings(_env_file=None, **values)


@pytest.mark.parametrize("around", ["{}", " {}", '"{}"', "'{}' ", "\t“{}”", "\ufeff{}\r"])
@pytest.mark.parametrize("kind", ["sk_live_", "rk_live_"])
def test_a_live_key_is_known_whatever_stands_around_it(around: str, kind: str) -> None:
    key = around.format(f"{kind}0123456789")
    with pytest.raises(Misconfigured, match="https") as plain:
        read(stripe_secret_key=key, app_base_url="http://licenses.example.com")
    with pytest.raises(Misconfigured, match="sandbox") as sandboxed:
        read(stripe_secret_key=key, app_base_url=HTTPS, keywright_mode="sandbox")
    assert "0123456789" not in str(plain.value) + str(sandboxed.value)
    made = bootstrap.read_settings(_env_file=None, stripe_secret_key=key, app_base_url=HTTPS)
    assert made.stripe_secret_key is not None
    assert made.stripe_secret_key.get_secret_value() == f"{kind}0123456789"


def test_a_live_publishable_key_has_no_place_in_the_sandbox() -> None:
    with pytest.raises(Misconfigured, match="live keys"):
        read(STRIPE_PUBLISHABLE_KEY=' "pk_live_1"', keywright_mode="sandbox")


def test_a_live_key_needs_an_address() -> None:
    with pytest.raises(Misconfigured, match="https"):
        read(stripe_secret_key="sk_live_1")


@pytest.mark.parametrize(
    "address",
    [
        " https://a.example",
        "https://a .example",
        "https://a.example\n",
        "https://a.example:port",
        "https://[::1",
        "https:/a.example",
        "https://",
        "//a.example",
        "a.example",
        "ftp://a.example",
    ],
)
def test_a_base_url_must_be_one(address: str) -> None:
    with pytest.raises(Misconfigured, match="APP_BASE_URL"):
        read(app_base_url=address)


@pytest.mark.parametrize("address", [HTTPS, f"{HTTPS}:8443/shop", "http://[::1]:8000", ""])
def test_these_are(address: str) -> None:
    made = bootstrap.read_settings(_env_file=None, app_base_url=address)
    assert made.base_url == (address or "http://127.0.0.1:8000")
