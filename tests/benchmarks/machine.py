"""On which machine and with which versions something was measured, and how much of it others had meanwhile."""

import os
import platform
import re
from importlib.metadata import version
from pathlib import Path

_PACKAGES = ("numpy", "ai-edge-litert", "onnxruntime", "openvino")


def describe() -> str:
    """One sentence: processor, cores, system, versions."""
    found = re.search(r"^(?:model name|Model)\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    processor = found.group(1) if found else platform.machine()
    versions = ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
    cores = len(os.sched_getaffinity(0))
    return (
        f"{processor}, {cores} cores ({platform.machine()}), Linux {platform.release()}, "
        f"Python {platform.python_version()}, {versions}"
    )


class Neighbours:
    """The share of the machine's processor time that went to others since this was made."""

    def __init__(self) -> None:
        self._all, self._others = _ticks()

    def share(self) -> float:
        """From 0 to 1."""
        all_now, others_now = _ticks()
        return max(0.0, (others_now - self._others) / max(1.0, all_now - self._all))


def _ticks() -> tuple[float, float]:
    """All processor time so far, and what of it neither was idle nor ours or our ended children's."""
    columns = [int(each) for each in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    idle = columns[3] + columns[4]
    ours = sum(os.times()[:4]) * os.sysconf("SC_CLK_TCK")
    return sum(columns), sum(columns) - idle - ours
