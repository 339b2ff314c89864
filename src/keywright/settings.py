"""The environment, read once, by bootstrap, into one frozen value."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import AliasChoices, Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

_SHORTEST_WEBHOOK_SECRET = 8
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
    stripe_api_base: str = "https://api.stripe.com"

    master_billing_tenant_id: str | None = None
    seller_name: str = Field(default="", max_length=100, pattern=r"^[^\x00-\x1f\x7f]*$")  # goes into mails
    keywright_master_key: SecretStr | None = None
    keywright_mode: Literal["live", "sandbox"] = "live"

    smtp_url: SecretStr | None = None
    mail_from: str = "licenses@localhost"
    alert_email: str | None = None

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
        return _is_live(_reveal(self.stripe_secret_key))

    @property
    def url(self) -> str:
        if told := _reveal(self.database_url):
            return told
        return f"sqlite:///{(self.data_dir / 'keywright.sqlite').absolute()}"

    @property
    def stripe_webhook_secrets(self) -> tuple[str, ...]:
        return listed(_reveal(self.stripe_webhook_secret))

    @field_validator("stripe_secret_key", "stripe_publishable_key", mode="before")
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

    @model_validator(mode="after")
    def _refuse_contradictions(self) -> Settings:
        live_secret = self.stripe_is_live
        publishable = self.stripe_publishable_key or ""
        if self.stripe_webhook_secret is not None:
            secrets = self.stripe_webhook_secret.get_secret_value().split(",")
            if any(len(secret.strip()) < _SHORTEST_WEBHOOK_SECRET for secret in secrets):
                raise ValueError("STRIPE_WEBHOOK_SECRET is empty or too short: anyone could sign with it.")
        if live_secret and publishable.startswith("pk_test_"):
            raise ValueError("STRIPE_SECRET_KEY is a live key and STRIPE_PUBLISHABLE_KEY a test key.")
        if self.stripe_secret_key is not None and not live_secret and publishable.startswith("pk_live_"):
            raise ValueError("STRIPE_SECRET_KEY is a test key and STRIPE_PUBLISHABLE_KEY a live key.")
        if self.is_sandbox and (live_secret or publishable.startswith("pk_live_")):
            raise ValueError("KEYWRIGHT_MODE=sandbox turns the clock by hand; it refuses live keys.")
        if live_secret and not _is_web_address(self.base_url, "https"):
            raise ValueError("STRIPE_SECRET_KEY is a live key, so APP_BASE_URL must begin with https://.")
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


def _is_live(key: str) -> bool:
    return key.startswith(("sk_live_", "rk_live_"))
