"""The environment, read once, by bootstrap, into one frozen value."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import AliasChoices, Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

PAYPAL_LIVE_BASE = "https://api-m.paypal.com"
_SHORTEST_WEBHOOK_SECRET = 8
_SHORTEST_LICENSE_SECRET = 32
_NO_LIVE_KEYS = "KEYWRIGHT_MODE=sandbox turns the clock by hand; it refuses live keys."
_AROUND_A_KEY = " \t\r\n\v\f\u00a0\u200b\ufeff\"'`\u2018\u2019\u201c\u201d"


class Settings(BaseSettings):
    """Names are those of the contract. Secrets are SecretStr, so that no log and no error can show them."""

    model_config = SettingsConfigDict(env_file=".env", extra="ignore", frozen=True, hide_input_in_errors=True)

    database_url: SecretStr | None = None
    data_dir: Path = Path("data")
    port: int = Field(default=8000, ge=0, le=65535)
    app_base_url: str | None = None

    stripe_secret_key: SecretStr | None = None
    stripe_publishable_key: str | None = Field(
        default=None,
        validation_alias=AliasChoices("STRIPE_PUBLISHABLE_KEY", "NEXT_PUBLIC_STRIPE_PUBLISHABLE_KEY"),
    )
    stripe_webhook_secret: SecretStr | None = None
    stripe_connect_webhook_secret: SecretStr | None = None  # of the endpoint for all connected accounts
    stripe_api_base: str = "https://api.stripe.com"

    paystack_secret_key: SecretStr | None = None
    paystack_public_key: str | None = None
    paystack_api_base: str = "https://api.paystack.co"

    paypal_client_id: str | None = None
    paypal_client_secret: SecretStr | None = None
    paypal_webhook_id: str | None = None
    paypal_api_base: str = PAYPAL_LIVE_BASE
    paypal_ca_file: Path | None = None

    master_billing_tenant_id: str | None = None
    seller_name: str = Field(default="", max_length=100, pattern=r"^[^\x00-\x1f\x7f]*$")  # goes into mails
    keywright_master_key: SecretStr | None = None  # several, the newest first, while it is being changed
    keywright_master_key_command: SecretStr | None = None  # prints it
    license_secret: SecretStr | None = None  # firms' secrets are derived from it
    keywright_mode: Literal["live", "sandbox"] = "live"

    smtp_url: SecretStr | None = None
    mail_from: str = "licenses@localhost"
    alert_email: str | None = None

    webhook_allow_private: bool = False  # webhooks of ours may go to private addresses, too
    webhook_allow_http: bool = False  # and to port 80

    website_origins: str = ""
    allowed_return_origins: str = ""
    trusted_proxies: str = ""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["text", "json"] = "text"
    metrics_token: SecretStr | None = None

    @field_validator("log_level", mode="before")
    @classmethod
    def _any_case(cls, value: object) -> object:
        return value.strip().lower() if isinstance(value, str) else value

    @property
    def base_url(self) -> str:
        return (self.app_base_url or f"http://127.0.0.1:{self.port}").rstrip("/")

    @property
    def is_sandbox(self) -> bool:
        return self.keywright_mode == "sandbox"

    @property
    def stripe_is_live(self) -> bool:
        return is_live_key(_reveal(self.stripe_secret_key))

    @property
    def url(self) -> str:
        if told := _reveal(self.database_url):
            return told
        return f"sqlite:///{(self.data_dir / 'keywright.sqlite').absolute()}"

    @property
    def stripe_webhook_secrets(self) -> tuple[str, ...]:
        return listed(_reveal(self.stripe_webhook_secret))

    @property
    def stripe_connect_secrets(self) -> tuple[str, ...]:
        return listed(_reveal(self.stripe_connect_webhook_secret))

    @property
    def paystack_secret_keys(self) -> tuple[str, ...]:
        """The newest first: it signs what we ask; each of them may have signed what arrives."""
        return tuple(key.strip(_AROUND_A_KEY) for key in listed(_reveal(self.paystack_secret_key)))

    @property
    def paystack_is_live(self) -> bool:
        return any(is_live_key(key) for key in self.paystack_secret_keys)

    @property
    def paypal_webhook_ids(self) -> tuple[str, ...]:
        return listed(self.paypal_webhook_id or "")

    @property
    def paypal_is_live(self) -> bool:
        """PayPal's keys do not tell: the address does."""
        return self.paypal_client_id is not None and self.paypal_api_base.rstrip("/") == PAYPAL_LIVE_BASE

    @field_validator(
        "stripe_secret_key",
        "stripe_publishable_key",
        "paystack_public_key",
        "paypal_client_id",
        "paypal_client_secret",
        "paypal_webhook_id",
        mode="before",
    )
    @classmethod
    def _bare(cls, value: Any) -> Any:
        # A key pasted with its quotes, or a blank before it, must not pass for a test key.
        return value.strip(_AROUND_A_KEY) if isinstance(value, str) else value

    @field_validator("app_base_url")
    @classmethod
    def _a_web_address(cls, value: str | None) -> str | None:
        if not value:
            return None
        if not _is_web_address(value, "http", "https"):
            raise ValueError("it must be a web address as https://licenses.example.com, without blanks.")
        return value

    @field_validator("trusted_proxies")
    @classmethod
    def _addresses_or_networks(cls, value: str) -> str:
        for one in listed(value):
            try:
                everybody = ip_network(one).prefixlen == 0
            except ValueError:
                raise ValueError("it must be addresses or networks, as 10.0.0.5, 10.1.0.0/16.") from None
            if everybody:
                # The server would then believe the first address of the header, which anybody may write.
                raise ValueError("it must name the proxies, not everybody.")
        return value

    @model_validator(mode="after")
    def _refuse_contradictions(self) -> Settings:
        live_secret = self.stripe_is_live
        publishable = self.stripe_publishable_key or ""
        for name in ("stripe_webhook_secret", "stripe_connect_webhook_secret"):
            given: SecretStr | None = getattr(self, name)
            secrets = given.get_secret_value().split(",") if given is not None else []
            if any(len(secret.strip()) < _SHORTEST_WEBHOOK_SECRET for secret in secrets):
                raise ValueError(f"{name.upper()} is empty or too short: anyone could sign with it.")
        if live_secret and publishable.startswith("pk_test_"):
            raise ValueError("STRIPE_SECRET_KEY is a live key and STRIPE_PUBLISHABLE_KEY a test key.")
        if self.stripe_secret_key is not None and not live_secret and publishable.startswith("pk_live_"):
            raise ValueError("STRIPE_SECRET_KEY is a test key and STRIPE_PUBLISHABLE_KEY a live key.")
        if self.is_sandbox and publishable.startswith("pk_live_"):
            raise ValueError(_NO_LIVE_KEYS)
        live = {
            "STRIPE_SECRET_KEY": live_secret,
            "PAYSTACK_SECRET_KEY": self.paystack_is_live,
            "PAYPAL_CLIENT_ID": self.paypal_is_live,
        }
        for name, is_live in live.items():
            if is_live and self.is_sandbox:
                raise ValueError(_NO_LIVE_KEYS)
            if is_live and not _is_web_address(self.base_url, "https"):
                raise ValueError(f"{name} is a live key, so APP_BASE_URL must begin with https://.")
        return self

    @field_validator("license_secret")
    @classmethod
    def _long_enough(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and len(value.get_secret_value().strip()) < _SHORTEST_LICENSE_SECRET:
            raise ValueError(f"it must be {_SHORTEST_LICENSE_SECRET} characters or more: keys hang on it.")
        return value

    @model_validator(mode="after")
    def _refuse_two_ways_to_the_master_key(self) -> Settings:
        if self.keywright_master_key is not None and self.keywright_master_key_command:
            raise ValueError("KEYWRIGHT_MASTER_KEY and KEYWRIGHT_MASTER_KEY_COMMAND are both set: which one?")
        return self

    @model_validator(mode="after")
    def _refuse_half_a_paystack(self) -> Settings:
        if self.paystack_secret_key is None:
            return self
        keys = self.paystack_secret_key.get_secret_value().split(",")
        if any(len(key.strip(_AROUND_A_KEY)) < _SHORTEST_WEBHOOK_SECRET for key in keys):
            raise ValueError("PAYSTACK_SECRET_KEY is empty or too short: anyone could sign with it.")
        if len({is_live_key(key) for key in self.paystack_secret_keys}) > 1:
            raise ValueError("PAYSTACK_SECRET_KEY holds a live key beside a test key.")
        public = self.paystack_public_key or ""
        if self.paystack_is_live and public.startswith("pk_test_"):
            raise ValueError("PAYSTACK_SECRET_KEY is a live key and PAYSTACK_PUBLIC_KEY a test key.")
        if not self.paystack_is_live and public.startswith("pk_live_"):
            raise ValueError("PAYSTACK_SECRET_KEY is a test key and PAYSTACK_PUBLIC_KEY a live key.")
        return self

    @model_validator(mode="after")
    def _refuse_half_a_paypal(self) -> Settings:
        if (self.paypal_client_id is None) != (self.paypal_client_secret is None):
            raise ValueError("PAYPAL_CLIENT_ID and PAYPAL_CLIENT_SECRET are needed together.")
        if self.paypal_client_id is None:
            return self
        if not self.paypal_client_id or not _reveal(self.paypal_client_secret):
            raise ValueError("PAYPAL_CLIENT_ID or PAYPAL_CLIENT_SECRET is empty.")
        if self.paypal_webhook_id is not None and not self.paypal_webhook_ids:
            raise ValueError("PAYPAL_WEBHOOK_ID is empty: no event could be told from a forged one.")
        if "WEBHOOK_ID" in self.paypal_webhook_ids and not self.is_sandbox:
            raise ValueError("PAYPAL_WEBHOOK_ID is the simulator's: anyone can make it sign.")
        if self.paypal_ca_file is not None and not self.is_sandbox:
            raise ValueError("PAYPAL_CA_FILE is for KEYWRIGHT_MODE=sandbox: whoever holds it can sign.")
        return self


def listed(text: str) -> tuple[str, ...]:
    """The parts of a comma-separated setting."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _is_web_address(text: str, *schemes: str) -> bool:
    if not text.isprintable() or " " in text:
        return False
    try:
        parts = urlsplit(text)
        return parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number, brackets that do not close
        return False


def _reveal(secret: SecretStr | None) -> str:
    return secret.get_secret_value() if secret is not None else ""


def is_live_key(key: str) -> bool:
    """Whether a key of Stripe or Paystack moves real money."""
    return key.startswith(("sk_live_", "rk_live_"))
