"""Whom to tell: the channels of `alerts.toml`. Secrets are in files of their own, read when something is sent."""

from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta, Struct
from msgspec.structs import replace

from edgeward_runtimes.errors import ConfigError, MonitorError

Port = Annotated[int, Meta(ge=1, le=65535)]


class Webhook(Struct, frozen=True, forbid_unknown_fields=True):
    """POST to a URL.

    Attributes:
        secret_file: A file whose content, without white space around it, signs what is posted (HMAC-SHA-256).
        ca: Authorities to trust (PEM) in place of the usual ones.
    """

    url: Annotated[str, Meta(pattern=r"\Ahttps?://[^/?#\s]+\S*\Z")]
    secret_file: str | None = None
    ca: str | None = None

    def beside(self, folder: Path) -> "Webhook":
        """With paths that are relative to a folder."""
        return replace(self, secret_file=_beside(folder, self.secret_file), ca=_beside(folder, self.ca))


class Smtp(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Mail. `tls`: `starttls`, `implicit` (from the first byte), or `none`, which takes no password."""

    host: str
    port: Port | None = None
    tls: Literal["starttls", "implicit", "none"] = "starttls"
    sender: str
    recipients: Annotated[tuple[str, ...], Meta(min_length=1)]
    user: str | None = None
    password_file: str | None = None
    ca: str | None = None

    def __post_init__(self) -> None:
        if self.user is not None and self.tls == "none":
            raise ValueError("smtp: a password is not sent without TLS; set tls = 'starttls' or 'implicit'")
        if (self.user is None) != (self.password_file is None):
            raise ValueError("smtp: user and password_file belong together")

    def beside(self, folder: Path) -> "Smtp":
        """With paths that are relative to a folder."""
        return replace(self, password_file=_beside(folder, self.password_file), ca=_beside(folder, self.ca))


class Mqtt(Struct, frozen=True, forbid_unknown_fields=True):
    """Publish on the monitor's broker: under `topic`, by severity and rule."""

    topic: Annotated[str, Meta(pattern=r"\A[^+#\x00]{1,200}\Z")] = "edgeward/alerts"


Channel = Webhook | Smtp | Mqtt


class RefusedError(MonitorError):
    """The receiver will not have a notification, however often it is sent."""


def secret(path: str) -> str:
    """A file's secret. Raises ConfigError."""
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"The secret in {path} cannot be read: {error}.") from error


def _beside(folder: Path, path: str | None) -> str | None:
    return None if path is None else str(folder / path)
