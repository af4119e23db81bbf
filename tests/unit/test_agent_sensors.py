"""Sensors by the kernel's files, laid out as real boards have them; what is absent is None, never an error."""

import sys
import types
from pathlib import Path
from typing import ClassVar

import pytest

from edgeward_runtimes.agent import clock, sensors
from edgeward_runtimes.agent.health import EnergyPerPrediction, Health
from edgeward_runtimes.agent.jetson import Jetson, JetsonReading
from edgeward_runtimes.agent.sensors import CoreThrottling, PackagePower, Throttling
from edgeward_runtimes.sparkplug import metrics

_THROTTLED = "sys/devices/platform/soc/soc:firmware/get_throttled"


def _write(root: Path, **files: str) -> None:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"{content}\n")


def test_the_hottest_zone_counts_and_a_broken_one_does_not(tmp_path: Path) -> None:
    assert sensors.temperature_c(tmp_path) is None
    zones = "sys/class/thermal/thermal_zone"
    _write(tmp_path, **{f"{zones}0/temp": "48200", f"{zones}1/temp": "61500", f"{zones}2/temp": "off"})
    (tmp_path / f"{zones}3/temp").mkdir(parents=True)
    assert sensors.temperature_c(tmp_path) == 61.5


@pytest.mark.parametrize(
    ("bits", "expected"),
    [
        ("0", Throttling(False, "")),
        ("50005", Throttling(True, "under-voltage, throttled")),
        ("0x50000", Throttling(False, "under-voltage (before), throttled (before)")),
        ("throttled=0x80008", Throttling(True, "soft temperature limit")),
        ("1", Throttling(False, "under-voltage")),
        ("f000f", Throttling(True, "under-voltage, frequency capped, throttled, soft temperature limit")),
    ],
)
def test_a_raspberry_pi_says_why_it_is_slow(tmp_path: Path, bits: str, expected: Throttling) -> None:
    assert sensors.raspberry_throttling(tmp_path) is None
    _write(tmp_path, **{_THROTTLED: bits})
    assert sensors.raspberry_throttling(tmp_path) == expected


def test_a_processor_is_throttled_while_its_count_rises(tmp_path: Path) -> None:
    assert CoreThrottling(tmp_path).read() is None
    count = "sys/devices/system/cpu/cpu{}/thermal_throttle/core_throttle_count"
    _write(tmp_path, **{count.format(0): "7", count.format(1): "0"})
    cores = CoreThrottling(tmp_path)
    assert cores.read() == Throttling(False, "")
    _write(tmp_path, **{count.format(1): "3"})
    assert cores.read() == Throttling(True, "too hot")
    assert cores.read() == Throttling(False, "")


def test_a_boards_power_is_its_input_rail_or_the_sum_of_its_sensors(tmp_path: Path) -> None:
    chip = "sys/class/hwmon/hwmon"
    _write(tmp_path, **{f"{chip}0/name": "amdgpu", f"{chip}0/power1_input": "90000000"})
    assert sensors.board_power_w(tmp_path) is None, "a graphics card is not the board"
    _write(tmp_path, **{f"{chip}1/name": "ina226", f"{chip}1/power1_input": "3250000"})
    _write(tmp_path, **{f"{chip}2/name": "ina219", f"{chip}2/power1_input": "750000"})
    assert sensors.board_power_w(tmp_path) == 4.0
    # Jetson Orin's INA3221: volts and amperes by channel.
    _write(
        tmp_path,
        **{f"{chip}3/name": "ina3221", f"{chip}3/in1_label": "VDD_IN", f"{chip}3/in2_label": "VDD_CPU_GPU_CV"},
        **{f"{chip}3/in1_input": "5000", f"{chip}3/curr1_input": "1200"},
        **{f"{chip}3/in2_input": "5000", f"{chip}3/curr2_input": "400"},
    )
    assert sensors.board_power_w(tmp_path) == 6.0


def test_package_power_is_the_energy_over_the_time_and_the_counter_may_wrap(tmp_path: Path) -> None:
    assert PackagePower(tmp_path).read() is None
    package = "sys/class/powercap/intel-rapl:0"
    _write(tmp_path, **{f"{package}/energy_uj": "1000000", f"{package}/max_energy_range_uj": "2000000"})
    _write(tmp_path, **{"sys/class/powercap/intel-rapl:0:0/energy_uj": "999"})  # a part of the package
    times = iter([10.0, 12.0, 14.0, 16.0])
    power = PackagePower(tmp_path, lambda: next(times))
    _write(tmp_path, **{f"{package}/energy_uj": "1500000"})
    assert power.read() == 0.25
    _write(tmp_path, **{f"{package}/energy_uj": "100000"})
    assert power.read() == pytest.approx(0.3), "0.5 J to the end of the range, 0.1 J after"
    (tmp_path / package / "energy_uj").unlink()
    assert power.read() is None


def test_energy_is_shared_by_the_predictions_since_the_last_reading() -> None:
    times = iter([0.0, 10.0, 20.0, 30.0, 40.0])
    energy = EnergyPerPrediction(lambda: next(times))
    assert energy.read(5.0, 100) is None
    assert energy.read(5.0, 200) == 0.5
    assert energy.read(5.0, 200) is None, "nothing was predicted"
    assert energy.read(None, 300) is None
    assert energy.read(3.0, 330) == 1.0


class _Jtop:
    """jtop's client as jetson-stats 4 has it: `start`, `stats`, `close`."""

    stats: ClassVar[dict[str, object]] = {"GPU": 37.5, "Power TOT": 6_240, "Temp gpu": 51.0, "CPU1": 12, "NVENC": "OFF"}

    def start(self) -> None:
        self.started = True

    def close(self) -> None:
        self.started = False


def test_a_jetson_tells_power_and_gpu_through_jtop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jtop", types.SimpleNamespace(jtop=_Jtop))
    jetson = Jetson()
    assert jetson.read() == JetsonReading(power_w=6.24, gpu_percent=37.5, gpu_temperature_c=51.0)
    monkeypatch.setattr(_Jtop, "stats", {"GPU": "OFF", "Temp GPU": -256})
    assert jetson.read() == JetsonReading()


def test_where_there_is_no_jtop_or_its_service_is_down_the_values_are_absent(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert Jetson().read() == JetsonReading()

    def refuse(self: _Jtop) -> None:
        raise ConnectionError("the jtop.service is not active")

    monkeypatch.setattr(_Jtop, "start", refuse)
    monkeypatch.setitem(sys.modules, "jtop", types.SimpleNamespace(jtop=_Jtop))
    assert Jetson().read() == JetsonReading()
    assert "jtop.service is not active" in caplog.text


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("C0A80001,ntp.lan,3,1732463422.1,0.001500,0.0002,0.0003,-12.1,0.0,0.01,0.002,0.001,64.2,Normal", -1.5),
        ("C0A80001,ntp.lan,3,1732463422.1,-0.000250,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,Normal", 0.25),
        ("00000000,,0,0.0,0.000000,0.0,0.0,0.0,0.0,0.0,1.0,1.0,0.0,Not synchronised", None),
        ("506 Cannot talk to daemon", None),
        ("", None),
    ],
)
def test_chronys_correction_is_read_from_its_fields(line: str, expected: float | None) -> None:
    assert clock.parse_tracking(line) == expected


def test_the_kernel_answers_with_an_offset_or_that_it_has_none() -> None:
    offset = clock.kernel_offset_ms()
    assert offset is None or abs(offset) < 1_000


def test_health_says_something_of_every_metric(tmp_path: Path) -> None:
    _write(tmp_path, **{"sys/class/thermal/thermal_zone0/temp": "48230", _THROTTLED: "4"})
    _write(tmp_path, **{"sys/class/hwmon/hwmon0/name": "ina226", "sys/class/hwmon/hwmon0/power1_input": "3254321"})
    health = Health(tmp_path, tmp_path)
    health.read(0)
    reading = health.read(10)
    ours = {"spool_rows", "spool_dropped", "logs_dropped"}
    assert set(reading) == {*metrics.HEALTH, *metrics.SENSORS} - ours
    assert (reading["temperature_c"], reading["power_w"]) == (48.2, 3.25)
    assert (reading["throttled"], reading["throttling"]) == (1.0, "throttled")
    assert isinstance(reading["energy_per_prediction_j"], float)
    assert reading["gpu_percent"] is None
