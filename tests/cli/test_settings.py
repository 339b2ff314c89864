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


@pytest.mark.parametrize(
    "proxies", ["*", "localhost", "10.0.0.1/8", "10.0.0.1:80", "0.0.0.0/0", "10.0.0.5, ::/0"]
)
def test_proxies_are_named(proxies: str) -> None:
    """Whoever trusts everybody believes what anybody writes into a header."""
    with pytest.raises(Misconfigured, match="TRUSTED_PROXIES"):
        read(trusted_proxies=proxies)


@pytest.mark.parametrize("proxies", ["", "127.0.0.1", "10.0.0.5, 10.1.0.0/16,", "2001:db8::/32,::1"])
def test_these_proxies_are(proxies: str) -> None:
    assert bootstrap.read_settings(_env_file=None, trusted_proxies=proxies).trusted_proxies == proxies


PAYPAL = {"paypal_client_id": "AaBb0123", "paypal_client_secret": "EeFf0123"}
PAYPAL_TEST = {**PAYPAL, "paypal_api_base": "https://api-m.sandbox.paypal.com"}


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"paypal_client_id": "AaBb0123", "app_base_url": HTTPS}, "needed together"),
        ({"paypal_client_secret": "EeFf0123"}, "needed together"),
        ({**PAYPAL_TEST, "paypal_client_secret": ' "" '}, "is empty"),
        ({**PAYPAL_TEST, "paypal_webhook_id": " , "}, "PAYPAL_WEBHOOK_ID is empty"),
        ({**PAYPAL_TEST, "paypal_webhook_id": ""}, "PAYPAL_WEBHOOK_ID is empty"),
        ({**PAYPAL_TEST, "paypal_webhook_id": "8AB0123, WEBHOOK_ID"}, "simulator"),
        ({**PAYPAL_TEST, "paypal_ca_file": "ca.pem"}, "KEYWRIGHT_MODE=sandbox"),
        ({**PAYPAL, "app_base_url": "http://licenses.example.com"}, "PAYPAL_CLIENT_ID is a live key"),
        ({**PAYPAL, "paypal_api_base": "https://api-m.paypal.com/"}, "PAYPAL_CLIENT_ID is a live key"),
        ({**PAYPAL, "app_base_url": HTTPS, "keywright_mode": "sandbox"}, "refuses live keys"),
    ],
)
def test_paypal_is_whole_and_of_one_mode(values: dict[str, str], reason: str) -> None:
    with pytest.raises(Misconfigured, match=reason) as refused:
        read(**values)
    assert "0123" not in refused.value.detail


def test_the_address_tells_paypals_mode() -> None:
    live = bootstrap.read_settings(_env_file=None, app_base_url=HTTPS, **PAYPAL)
    test = bootstrap.read_settings(_env_file=None, paypal_webhook_id="8AB, 9CD", **PAYPAL_TEST)
    assert (live.paypal_is_live, test.paypal_is_live) == (True, False)
    assert test.paypal_webhook_ids == ("8AB", "9CD")
    sandboxed = {**PAYPAL_TEST, "keywright_mode": "sandbox", "paypal_webhook_id": "WEBHOOK_ID"}
    assert bootstrap.read_settings(_env_file=None, paypal_ca_file="ca.pem", **sandboxed).is_sandbox


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"paystack_secret_key": ""}, "empty or too short"),
        ({"license_secret": ""}, "LICENSE_SECRET: it must be 32 characters or more"),
        ({"license_secret": " " * 20 + "x" * 31}, "LICENSE_SECRET: it must be 32 characters or more"),
        ({"paystack_secret_key": "sk_test_0123,"}, "empty or too short"),
        ({"paystack_secret_key": "sk_test_0123, sk_live_0123", "app_base_url": HTTPS}, "beside a test key"),
        ({"paystack_secret_key": "sk_live_0123"}, "PAYSTACK_SECRET_KEY is a live key"),
        ({"paystack_secret_key": ' "sk_live_0123" '}, "PAYSTACK_SECRET_KEY is a live key"),
        ({"paystack_secret_key": "sk_live_0123", "keywright_mode": "sandbox"}, "refuses live keys"),
        ({"paystack_secret_key": "sk_test_0123", "paystack_public_key": "pk_live_0123"}, "a live key"),
        (
            {
                "paystack_secret_key": "sk_live_0123",
                "paystack_public_key": "pk_test_0123",
                "app_base_url": HTTPS,
            },
            "PAYSTACK_PUBLIC_KEY a test key",
        ),
    ],
)
def test_paystack_keys_are_of_one_mode(values: dict[str, str], reason: str) -> None:
    with pytest.raises(Misconfigured, match=reason) as refused:
        read(**values)
    assert "0123" not in refused.value.detail


def test_paystacks_old_key_stays_while_it_is_changed() -> None:
    keys = " sk_test_new_0123 ,'sk_test_old_0123'"
    made = bootstrap.read_settings(_env_file=None, paystack_secret_key=keys)
    assert made.paystack_secret_keys == ("sk_test_new_0123", "sk_test_old_0123")
    assert not made.paystack_is_live
