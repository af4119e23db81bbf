"""Chart options for ECharts, from the store's series. Pure: rows in, options out."""

from collections.abc import Sequence
from typing import Any

from edgeward.monitor.dashboard.theme import AMBER, BLUE, RED, SLATE
from edgeward.monitor.queries import HealthMinute, LatencyMinute
from edgeward_runtimes.latency.histogram import BUCKET_COUNT, Histogram, upper_bound_s

_MERGED = 4  # buckets of ours in one bar: a factor of 1.19 in latency
_TEXT = {"color": SLATE, "fontSize": 12}
_GRID = {"left": 64, "right": 24, "top": 40, "bottom": 32}


def _frame(unit: str, **options: Any) -> dict[str, Any]:
    return {
        "animation": False,
        "grid": _GRID,
        "legend": {"top": 4, "right": 16, "icon": "roundRect", "itemHeight": 4, "textStyle": _TEXT},
        "tooltip": {"trigger": "axis"},
        "yAxis": {
            "type": "value",
            "name": unit,
            "nameTextStyle": _TEXT,
            "axisLabel": _TEXT,
            "splitLine": {"lineStyle": {"color": "rgba(100,116,139,.18)"}},
        },
        **options,
    }


def _time_axis() -> dict[str, Any]:
    return {"type": "time", "axisLabel": _TEXT, "minInterval": 60_000, "splitLine": {"show": False}}


def _line(name: str, colour: str, rows: Sequence[LatencyMinute | HealthMinute], field: str) -> dict[str, Any]:
    """One field over time; devices report what changed, so a minute without a value does not break the line."""
    style = {"color": colour}
    values = ((row.minute, getattr(row, field)) for row in rows)
    return {
        "name": name,
        "type": "line",
        "data": [[minute * 1000, float(f"{value:.4g}")] for minute, value in values if value is not None],
        "symbolSize": 5,
        "lineStyle": {"width": 2, **style},
        "itemStyle": style,
    }


def latency_over_time(series: list[LatencyMinute]) -> dict[str, Any]:
    """p50, p95 and p99 by the minute."""
    lines = (("p50", BLUE, "p50_ms"), ("p95", AMBER, "p95_ms"), ("p99", RED, "p99_ms"))
    return _frame(
        "ms",
        xAxis=_time_axis(),
        series=[_line(name, colour, series, field) for name, colour, field in lines],
    )


def predictions_over_time(series: list[LatencyMinute]) -> dict[str, Any]:
    """Predictions and errors by the minute."""
    bars = (("predictions", BLUE), ("errors", RED))
    return _frame(
        "per minute",
        xAxis=_time_axis(),
        series=[
            {
                "name": name,
                "type": "bar",
                "stack": "all",
                "barMaxWidth": 18,
                "itemStyle": {"color": colour},
                "data": [[row.minute * 1000, getattr(row, name)] for row in series],
            }
            for name, colour in bars
        ],
    )


def latency_histogram(histogram: Histogram) -> dict[str, Any]:
    """How many predictions took how long; bars of equal ratio, so the axis is logarithmic."""
    counts = histogram.counts.reshape(-1, _MERGED).sum(axis=1).tolist()
    filled = [index for index, count in enumerate(counts) if count]
    shown = range(max(0, filled[0] - 1), min(BUCKET_COUNT // _MERGED, filled[-1] + 2)) if filled else range(0)
    bounds = [1e3 * upper_bound_s((index + 1) * _MERGED - 1) for index in shown]
    return _frame(
        "predictions",
        legend={"show": False},
        xAxis={
            "type": "category",
            "name": "≤ ms",
            "nameTextStyle": _TEXT,
            "nameGap": 4,
            "axisLabel": _TEXT,
            "data": [f"{bound:.3g}" for bound in bounds],
        },
        series=[
            {
                "type": "bar",
                "barCategoryGap": "8%",
                "itemStyle": {"color": BLUE, "borderRadius": [3, 3, 0, 0]},
                "data": [counts[index] for index in shown],
            }
        ],
    )


def health_over_time(series: list[HealthMinute]) -> dict[str, Any]:
    """CPU, memory and temperature by the minute."""
    lines = (
        ("CPU %", BLUE, "cpu_percent"),
        ("memory %", SLATE, "memory_used_percent"),
        ("temperature °C", RED, "temperature_c"),
    )
    present = [line for line in lines if any(getattr(row, line[2]) is not None for row in series)]
    return _frame(
        "",
        xAxis=_time_axis(),
        series=[_line(name, colour, series, field) for name, colour, field in present],
    )
