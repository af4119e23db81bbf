"""What of a message the store can hold: metrics of ours, of their types and no larger than they may be (pure)."""

import math
import re
from collections.abc import Mapping

from edgeward.monitor import totals
from edgeward.monitor.totals import LARGEST_COUNT, Reported
from edgeward.monitor.updates import LogLine
from edgeward_runtimes.sparkplug import metrics
from edgeward_runtimes.sparkplug.codec import DataType, Value

NODE = {**metrics.FACTS, **metrics.HEALTH, **metrics.SENSORS, metrics.REPORTING_INTERVAL: DataType.DOUBLE}
MODEL = {**metrics.MODEL, **metrics.OBSERVED}
HISTORY = {**metrics.HEALTH, **metrics.SENSORS}

_LONGEST_STRING = 200
_LONGEST_LINE = 2_000
_LARGEST_BYTES = 64 * 1024
_LINE = re.compile(r"(?P<level>DEBUG|INFO|WARNING|ERROR|CRITICAL) (?P<logger>[^ :]{1,200}): (?P<text>.*)", re.DOTALL)


def fitting(values: Mapping[str, Value], datatypes: Mapping[str, DataType]) -> dict[str, Value]:
    """Those values that are of metrics of ours, and of their types."""
    return {name: value for name, value in values.items() if name in datatypes and _fits(value, datatypes[name])}


def totals_of(packed: Value) -> tuple[Reported, ...]:
    """Read the `counters` metric, if that is what it is. Raises ValueError for what the store cannot hold."""
    if not isinstance(packed, bytes):
        return ()
    found = totals.unpack(packed)
    for each in found:
        if not (_fits(each.release, DataType.STRING) and _fits(each.epoch, DataType.STRING)):
            raise ValueError(f"counters of a release or epoch that is no short string: {each.release[:50]!r}")
    return found


def log_line(at: float, told: Value) -> LogLine | None:
    """Read a line, `LEVEL logger: text`, told at this time; None for what is no text."""
    if not isinstance(told, str):
        return None
    line = told[:_LONGEST_LINE].replace("\0", "")
    found = _LINE.fullmatch(line)
    return LogLine(at, "WARNING", "", line) if found is None else LogLine(at, *found.group("level", "logger", "text"))


def _fits(value: Value, datatype: DataType) -> bool:
    match value:
        case None:
            return True
        case bool():  # an int to Python, but no metric of ours
            return False
        case str():
            return datatype is DataType.STRING and len(value) <= _LONGEST_STRING and "\0" not in value
        case int():
            fits = datatype is DataType.DOUBLE or (datatype is DataType.UINT64 and value >= 0)
            return fits and abs(value) <= LARGEST_COUNT
        case float():
            return datatype is DataType.DOUBLE and math.isfinite(value)
        case _:
            return datatype is DataType.BYTES and len(value) <= _LARGEST_BYTES
