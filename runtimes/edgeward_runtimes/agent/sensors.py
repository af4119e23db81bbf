"""What the kernel's files tell of temperature, throttling and power; each function reads under a folder that is `/`.

None means that this device has no such sensor, or that it may not be read.
"""

import time
from collections.abc import Callable
from pathlib import Path

from msgspec import Struct

ROOT = Path("/")
_GET_THROTTLED = "sys/devices/platform/soc/soc:firmware/get_throttled"
# Raspberry Pi: bits 0 to 3 say what is so now, bits 16 to 19 what has been since the boot.
_CONDITIONS = ("under-voltage", "frequency capped", "throttled", "soft temperature limit")
_SLOWER = 0b1110  # under-voltage alone slows nothing


class Throttling(Struct, frozen=True):
    """Whether this device is slower than it could be, and why."""

    is_slower: bool
    reasons: str


def number(path: Path) -> int | None:
    """The whole number that a file holds."""
    try:
        return int(path.read_text().strip(), 0)
    except (OSError, ValueError):
        return None


def word(path: Path) -> str:
    """The text that a file holds, or nothing."""
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError):
        return ""


def temperature_c(root: Path = ROOT) -> float | None:
    """The hottest thermal zone in °C; a zone that is powered down answers with an error and is left out."""
    readings = (number(zone) for zone in root.glob("sys/class/thermal/thermal_zone*/temp"))
    return max((reading / 1000 for reading in readings if reading is not None), default=None)


def raspberry_throttling(root: Path = ROOT) -> Throttling | None:
    """What the firmware of a Raspberry Pi says (as `vcgencmd get_throttled`)."""
    text = word(root / _GET_THROTTLED)
    try:
        bits = int(text.removeprefix("throttled="), 16)
    except ValueError:
        return None
    now = [name for place, name in enumerate(_CONDITIONS) if bits >> place & 1]
    before = [name for place, name in enumerate(_CONDITIONS) if bits >> (16 + place) & 1 and name not in now]
    reasons = ", ".join([*now, *(f"{name} (before)" for name in before)])
    return Throttling(bool(bits & _SLOWER), reasons)


class CoreThrottling:
    """Processors that count how often they were too hot (x86): throttled when that rose since the last reading."""

    def __init__(self, root: Path = ROOT) -> None:
        self._files = list(root.glob("sys/devices/system/cpu/cpu*/thermal_throttle/*_throttle_count"))
        self._before = self._count()

    def read(self) -> Throttling | None:
        """What has happened since the last reading."""
        count, before = self._count(), self._before
        self._before = count
        if count is None or before is None:
            return None
        return Throttling(count > before, "too hot" if count > before else "")

    def _count(self) -> int | None:
        counts = [count for count in map(number, self._files) if count is not None]
        return sum(counts) if counts else None


def board_power_w(root: Path = ROOT) -> float | None:
    """What the board draws by its INA sensors: the input rail where one is labelled so, else all of them together."""
    sensors = [chip for chip in root.glob("sys/class/hwmon/hwmon*") if word(chip / "name").startswith("ina")]
    rails = {label.name: (chip, label) for chip in sensors for label in chip.glob("in*_label")}
    for chip, label in rails.values():
        if word(label) == "VDD_IN":
            channel = label.name.removeprefix("in").removesuffix("_label")
            millivolts, milliamperes = number(chip / f"in{channel}_input"), number(chip / f"curr{channel}_input")
            if millivolts is not None and milliamperes is not None:
                return millivolts * milliamperes / 1e6
    microwatts = [watts for chip in sensors for watts in map(number, chip.glob("power*_input")) if watts is not None]
    return sum(microwatts) / 1e6 if microwatts else None


class PackagePower:
    """What the processor draws by its energy counters (Intel RAPL, also on AMD): the mean since the last reading."""

    def __init__(self, root: Path = ROOT, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` gives seconds."""
        domains = root.glob("sys/class/powercap/intel-rapl:*")
        self._packages = sorted(domain for domain in domains if domain.name.count(":") == 1)
        self._clock = clock
        self._before = self._energies(), clock()

    def read(self) -> float | None:
        """Watts since the last reading; None where the counters may not be read."""
        energies, now = self._energies(), self._clock()
        (before, then), self._before = self._before, (energies, now)
        if not energies or energies.keys() != before.keys() or now <= then:
            return None
        return sum(self._used(package, before[package], energies[package]) for package in energies) / 1e6 / (now - then)

    def _energies(self) -> dict[Path, int]:
        readings = {package: number(package / "energy_uj") for package in self._packages}
        return {package: energy for package, energy in readings.items() if energy is not None}

    def _used(self, package: Path, before: int, now: int) -> int:
        """Microjoules; the counter begins at 0 again after its range."""
        return now - before if now >= before else now - before + (number(package / "max_energy_range_uj") or before)
