"""`alerts.toml`: which rules there are, and whom to tell. docs/alerts.md has every key, with an example.

Without a file there are the default rules, and alerts are shown but nobody is told. Durations are seconds, or a number
with a unit: "90s", "5m", "2h", "1d".
"""

import re
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct, field
from msgspec.structs import replace

from edgeward.monitor.alerts.channels import Channel, Mqtt, Smtp, Webhook
from edgeward.monitor.alerts.lifecycle import Timing
from edgeward.monitor.alerts.storms import Subject
from edgeward_runtimes.errors import ConfigError

LINK = "monitor"  # the alert about broker and ingest, which needs no rule

_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}
_DURATION = re.compile(r"\A\s*(\d+(?:\.\d+)?)\s*([smhd]?)\s*\Z")

Severity = Literal["critical", "warning", "info"]
Share = Annotated[float, Meta(gt=0, le=1)]
Count = Annotated[int, Meta(ge=1)]
Name = Annotated[str, Meta(min_length=1, max_length=100, pattern=r"\A[^\x00-\x1f/]+\Z")]


class Seconds(float):
    """A duration."""


class Rule(Struct, frozen=True, kw_only=True, tag_field="kind", forbid_unknown_fields=True):
    """What every rule has.

    Attributes:
        name: By default its kind; no two rules share one.
        for_: How long the condition must last before the alert fires.
        resolve_after: How long it must be gone before the alert is resolved.
        fleets, devices, models: Globs; a rule is about what matches one of each.
        notify: Channels to tell; None is all of them.
    """

    name: Name | None = None
    severity: Severity = "warning"
    for_: Seconds = field(name="for", default=Seconds(60))
    resolve_after: Seconds = Seconds(60)
    fleets: tuple[str, ...] = ("*",)
    devices: tuple[str, ...] = ("*",)
    models: tuple[str, ...] = ("*",)
    notify: tuple[str, ...] | None = None

    @property
    def kind(self) -> str:
        """What it looks at."""
        return str(self.__struct_config__.tag)

    @property
    def title(self) -> str:
        """What it is called."""
        return self.name or self.kind

    @property
    def timing(self) -> Timing:
        """How long for what."""
        return Timing(self.for_, self.resolve_after)

    @property
    def levels(self) -> tuple[float, float]:
        """From which value on it is bad, and below which it is good."""
        return 1.0, 1.0

    def is_about(self, subject: Subject) -> bool:
        """Whether a subject is in the rule's scope."""
        return _any(self.fleets, subject.fleet) and _any(self.devices, subject.device) and self._is_about(subject.model)

    def _is_about(self, model: str) -> bool:
        return not model or _any(self.models, model)

    def said(self, value: float) -> str:
        """What is the matter, for people."""
        raise NotImplementedError


class Offline(Rule, tag="offline", frozen=True, kw_only=True):
    """A device is gone: the broker said so, or nothing came for 1.5 keep-alives and intervals."""

    severity: Severity = "critical"
    resolve_after: Seconds = Seconds(0)

    def __post_init__(self) -> None:
        if self.for_ < 10:
            raise ValueError("for: an offline rule waits 10s at least, to see whether one device is gone or all are")

    def said(self, value: float) -> str:
        """What is the matter, for people."""
        return "offline"


class Leveled(Rule, frozen=True, kw_only=True):
    """A rule on a value: bad at `threshold` and above, good below `resolve`."""

    threshold: float
    resolve: float

    def __post_init__(self) -> None:
        if not self.resolve <= self.threshold:
            raise ValueError(f"resolve: {self.resolve:g} is above the threshold, {self.threshold:g}")

    @property
    def levels(self) -> tuple[float, float]:
        """From which value on it is bad, and below which it is good."""
        return self.threshold, self.resolve


class Temperature(Leveled, tag="temperature", frozen=True, kw_only=True):
    """°C of the device."""

    threshold: float = 80.0
    resolve: float = 75.0

    def said(self, value: float) -> str:
        """What is the matter, for people."""
        return f"{value:.1f} °C (limit {self.threshold:g} °C)"


class Disk(Leveled, tag="disk", frozen=True, kw_only=True):
    """Per cent of the disk in use."""

    threshold: float = 90.0
    resolve: float = 85.0

    def said(self, value: float) -> str:
        """What is the matter, for people."""
        return f"disk {value:.1f} % full (limit {self.threshold:g} %)"


class Throttling(Rule, tag="throttling", frozen=True, kw_only=True):
    """The device runs slower than it could, for heat or want of power."""

    def said(self, value: float) -> str:
        """What is the matter, for people."""
        return "throttled"


class Drift(Leveled, tag="drift", frozen=True, kw_only=True):
    """Population stability index of a model's inputs or outputs against its bundle's reference."""

    threshold: float = 0.25
    resolve: float = 0.2

    def said(self, value: float) -> str:
        """What is the matter, for people."""
        return f"drift score {value:.2f} (limit {self.threshold:g})"


class Windowed(Leveled, frozen=True, kw_only=True):
    """A rule on a model's latest predictions: those of `window`, if there are `at_least` so many."""

    window: Seconds = Seconds(600)
    at_least: Count = 100

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 60 <= self.window <= 86_400:
            raise ValueError("window: a minute (1m) to a day (1d)")


class ErrorRate(Windowed, tag="error_rate", frozen=True, kw_only=True):
    """The share of a model's calls that failed, 0 to 1."""

    threshold: float = 0.05
    resolve: float = 0.02

    def said(self, value: float) -> str:
        """What is the matter, for people."""
        return f"{value:.1%} of calls fail (limit {self.threshold:.1%})"


class P95(Windowed, tag="p95", frozen=True, kw_only=True):
    """A model's p95 latency on a device, as a multiple of its own in the time `baseline` before the window."""

    threshold: float = 1.5
    resolve: float = 1.2
    baseline: Seconds = Seconds(86_400)

    def said(self, value: float) -> str:
        """What is the matter, for people."""
        return f"p95 is {value:.2f} times its baseline (limit {self.threshold:g})"


AnyRule = Offline | Temperature | Disk | Throttling | Drift | ErrorRate | P95


class StormConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """When devices that are gone are one alert; `settle` is how long they may take to return after a broker did."""

    share: Share = 0.2
    at_least: Count = 5
    settle: Seconds = Seconds(120)


class AlertConfig(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The whole of `alerts.toml`.

    Attributes:
        every: How often the rules are looked at.
        group: Word of one rule goes to a channel at once, and then once in this time at most.
    """

    every: Seconds = Seconds(5)
    group: Seconds = Seconds(60)
    alert: tuple[AnyRule, ...] = (Offline(), ErrorRate(), P95(), Temperature(), Disk(), Drift(), Throttling())
    storm: StormConfig = StormConfig()
    webhook: dict[Name, Webhook] = {}
    smtp: dict[Name, Smtp] = {}
    mqtt: dict[Name, Mqtt] = {}

    def __post_init__(self) -> None:
        titles = [rule.title for rule in self.alert]
        for title in titles:
            if titles.count(title) > 1:
                raise ValueError(f"alert: two rules are called {title!r}; give each a name")
            if title == LINK:
                raise ValueError(f"alert: {title!r} is the alert about broker and ingest; give the rule another name")
        names = [*self.webhook, *self.smtp, *self.mqtt]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two channels are called {name!r}")
        for rule in self.alert:
            for name in rule.notify or ():
                if name not in names:
                    raise ValueError(f"alert {rule.title!r}: no channel {name!r} is in the file")
        if not 1 <= self.every <= 60:
            raise ValueError("every: one second (1s) to a minute (1m)")

    @property
    def channels(self) -> dict[str, Channel]:
        """All channels by name."""
        return {**self.webhook, **self.smtp, **self.mqtt}


def read(path: Path | None) -> AlertConfig:
    """Read `alerts.toml`; None gives the defaults. Raises ConfigError that names the file and the key."""
    if path is None:
        return AlertConfig()
    try:
        config = msgspec.toml.decode(path.read_bytes(), type=AlertConfig, dec_hook=_duration)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path} is not a valid file of alert rules: {error}. docs/alerts.md has an example."
        ) from error
    return replace(
        config,
        webhook={name: each.beside(path.parent) for name, each in config.webhook.items()},
        smtp={name: each.beside(path.parent) for name, each in config.smtp.items()},
    )


def seconds(text: str) -> Seconds:
    """Read a duration such as `90`, `90s`, `5m`, `2h` or `1d`. Raises ValueError."""
    found = _DURATION.match(text)
    if found is None:
        raise ValueError(f"{text!r} is not a duration such as 90s, 5m, 2h or 1d")
    return Seconds(float(found[1]) * _UNITS[found[2]])


def _duration(kind: type, value: Any) -> Any:
    if kind is Seconds and isinstance(value, str | int | float) and not isinstance(value, bool):
        return seconds(str(value))
    raise ValueError(f"expected a duration such as 5m, got {value!r}")


def _any(globs: tuple[str, ...], name: str) -> bool:
    return any(fnmatchcase(name, glob) for glob in globs)
