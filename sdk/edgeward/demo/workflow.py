"""The demo, step by step: train → convert → flash → predict → report → watch."""

import contextlib
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
from msgspec import Struct
from rich.console import Console

from edgeward.cli import output
from edgeward.demo.devices import DemoDevice, Predicted
from edgeward.monitor.process import MonitorProcess
from edgeward_converters import Conversion, convert
from edgeward_runtimes.errors import ConfigError, DeviceError, MonitorError
from edgeward_runtimes.manifest import Preprocess

_FLEET = "demo"
_DEVICES = ("device-1", "device-2")
_MONITOR = "monitor"
_REPORTED_WITHIN_S = 30
_LIVE_INTERVAL_S = 0.1


class DeviceOutcome(Struct, frozen=True):
    """One device: what its application made, and what the monitor shows of it."""

    device: str
    release: str | None
    variant: str | None
    predictions_made: int
    predictions_reported: int
    errors: int
    accuracy: float
    p50_ms: float | None
    p95_ms: float | None
    online: bool


class VariantOutcome(Struct, frozen=True):
    """One variant of the bundle."""

    id: str
    size_bytes: int | None
    metric: float | None
    latency_ms: float | None
    kept: bool


class Outcome(Struct, frozen=True):
    """What `edgeward demo --once --json` prints."""

    predictions_made: int
    predictions_reported: int
    seconds: float
    variants: tuple[VariantOutcome, ...]
    devices: tuple[DeviceOutcome, ...]


def run(*, once: bool, port: int, folder: Path | None, json: bool) -> None:
    """Run the demo; see `edgeward demo --help`."""
    started = time.monotonic()
    # However it is told to stop, it stops its processes and removes its folder.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    with _folder(folder) as place, contextlib.ExitStack() as running:
        conversion = _convert(place)
        bundle = place / "digits.edge"
        conversion.bundle.save(bundle)
        if not json:
            output.show_conversion(conversion.report)
        monitor = running.enter_context(MonitorProcess(place / _MONITOR, http_port=port))
        devices = [running.enter_context(DemoDevice(name, place / name, monitor.broker_url)) for name in _DEVICES]
        made = _deploy_and_predict(devices, bundle, place / "evaluation.npz")
        outcome = _outcome(conversion, made, _await_reports(monitor.url, made), started)
        if json:
            output.answer_json(outcome)
        else:
            _show(outcome)
        if outcome.predictions_made != outcome.predictions_reported:
            raise MonitorError(
                f"The applications made {outcome.predictions_made} predictions, but after {_REPORTED_WITHIN_S} s the "
                f"monitor shows {outcome.predictions_reported}. See the logs with: edgeward demo --folder DIR"
            )
        if not once:
            people = output.chatter if json else output.people
            _stay_up(devices, place / "evaluation.npz", monitor.url, bundle, people)


@contextlib.contextmanager
def _folder(folder: Path | None) -> Iterator[Path]:
    if folder is not None:
        # A store that is continued holds the earlier predictions, and would prove nothing of the new ones.
        if any((folder / name).exists() for name in (_MONITOR, *_DEVICES)):
            raise ConfigError(f"{folder} already holds an earlier demo. Remove it, or choose another --folder.")
        folder.mkdir(parents=True, exist_ok=True)
        yield folder.absolute()
        return
    with tempfile.TemporaryDirectory(prefix="edgeward-demo-") as temporary:
        yield Path(temporary)


def _convert(place: Path) -> Conversion:
    from edgeward.cli.progress import ConversionProgress

    with output.chatter.status("training a small network on 1,347 handwritten digits …"):
        training = [sys.executable, "-m", "edgeward.demo.train", str(place)]
        trained = subprocess.run(training, capture_output=True, check=False)
    if trained.returncode != 0:
        raise DeviceError(f"The demo's training failed: {trained.stderr.decode(errors='replace')[-500:]}")
    with ConversionProgress() as progress:
        return convert(
            place / "digits.keras",
            name="digits",
            calibration=place / "calibration.npz",
            evaluation=place / "evaluation.npz",
            labels=tuple("0123456789"),
            preprocess=Preprocess(scale=1 / 255),
            report=place / "report",
            progress=progress,
        )


def _deploy_and_predict(devices: list[DemoDevice], bundle: Path, evaluation: Path) -> dict[str, Predicted]:
    """Flash every device, start its agent, and have its application predict the test split."""
    from edgeward.workflow import flash

    for device in devices:
        with output.chatter.status(f"flashing {device.url} …"):
            flash(bundle, device.url)
        device.start_agent(_FLEET, target="x86-64")
    with output.chatter.status("predicting the test split on every device …"):
        applications = [device.predict(evaluation) for device in devices]
        return {
            device.name: device.finish(application) for device, application in zip(devices, applications, strict=True)
        }


def _await_reports(monitor_url: str, made: dict[str, Predicted]) -> list[dict[str, Any]]:
    """Ask the monitor until it shows as much as was made, or time is up; return its devices."""
    wanted = sum(each.predictions for each in made.values())
    deadline = time.monotonic() + _REPORTED_WITHIN_S
    with output.chatter.status("waiting for the monitor to hear of it …"):
        while True:
            shown: list[dict[str, Any]] = httpx.get(f"{monitor_url}/api/devices", timeout=10).json()
            if sum(_predictions(device) for device in shown) >= wanted or time.monotonic() > deadline:
                return shown
            time.sleep(0.2)


def _predictions(device: dict[str, Any]) -> int:
    return sum(int(model["predictions"]) for model in device["models"])


def _outcome(
    conversion: Conversion, made: dict[str, Predicted], shown: list[dict[str, Any]], started: float
) -> Outcome:
    devices = []
    for device in shown:
        application = made[device["device"]]
        model: dict[str, Any] = next(iter(device["models"]), {})  # none: only its own birth came
        devices.append(
            DeviceOutcome(
                device=device["id"],
                release=model.get("release"),
                variant=model.get("variant"),
                predictions_made=application.predictions,
                predictions_reported=_predictions(device),
                errors=model.get("errors", 0),
                accuracy=application.correct / application.predictions,
                p50_ms=model.get("p50_ms"),
                p95_ms=model.get("p95_ms"),
                online=device["online"],
            )
        )
    return Outcome(
        predictions_made=sum(each.predictions for each in made.values()),
        predictions_reported=sum(_predictions(device) for device in shown),
        seconds=round(time.monotonic() - started, 1),
        variants=tuple(
            VariantOutcome(each.id, each.size_bytes, each.metric, each.latency_ms, each.kept)
            for each in conversion.report.variants
        ),
        devices=tuple(devices),
    )


def _show(outcome: Outcome) -> None:
    rows = [
        (
            each.device,
            output.ONLINE if each.online else output.OFFLINE,
            each.release or "–",
            each.variant or "–",
            str(each.predictions_made),
            str(each.predictions_reported),
            str(each.errors),
            output.number(each.p50_ms),
            output.number(each.p95_ms),
        )
        for each in outcome.devices
    ]
    columns = (
        "device",
        "",
        "release",
        "variant",
        "made predictions",
        "shown predictions",
        "errors",
        "p50 ms",
        "p95 ms",
    )
    output.people.print()
    output.table("What the monitor saw", columns, rows)
    output.people.print(
        f"\n[bold]{outcome.predictions_made}[/] predictions made, [bold]{outcome.predictions_reported}[/] reported, "
        f"in {outcome.seconds:.0f} s from nothing."
    )


def _stay_up(devices: list[DemoDevice], evaluation: Path, monitor_url: str, bundle: Path, people: Console) -> None:
    """Keep predicting until Ctrl-C, so that the dashboard has something to show."""
    for device in devices:
        device.keep_predicting(evaluation, _LIVE_INTERVAL_S)
    people.print(f"\nThe dashboard is at [bold]{monitor_url}[/] until you press Ctrl-C. Meanwhile, try:")
    for command in (
        f"edgeward inspect {bundle}",
        f"edgeward status {devices[0].url}",
        f"curl {monitor_url}/api/models/digits",
    ):
        people.print(f"  {command}", soft_wrap=True)
    with contextlib.suppress(KeyboardInterrupt):
        threading.Event().wait()
