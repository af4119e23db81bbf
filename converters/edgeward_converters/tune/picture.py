"""The front as a picture: every trial by size and metric, the front joined, what was chosen numbered."""

import math
from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure
from msgspec import Struct

from edgeward_converters import report_figures
from edgeward_converters.tune.trials import Result

_COLOURS = {"litert": "#2563eb", "onnxruntime": "#d97706", "openvino": "#7c3aed"}
_GREY = "#64748b"


class Pictured(Struct, frozen=True):
    """A chosen point: its number, what it is, and its metric on the evaluation data."""

    number: int
    result: Result
    metric: float


def draw(trials: Sequence[Result], chosen: Sequence[Pictured], metric: str, source_metric: float) -> Figure:
    """Draw it; the trials' metric is the source's less their drop on the samples held back."""
    figure = Figure(figsize=(7.6, 3.8))
    axes: Any = figure.add_axes((0.1, 0.13, 0.52, 0.83))
    axes.axhline(source_metric, color=_GREY, linewidth=1, linestyle="--", label="source model")
    lowest = min([each.metric for each in chosen] + [source_metric])
    floor = lowest - 3 * max(source_metric - lowest, 0.005)
    for each in trials:
        if each.reason is None and each.size_bytes and each.drop is not None and math.isfinite(each.drop):
            value = max(source_metric - each.drop, floor)
            axes.scatter(each.size_bytes / 1e3, value, s=18, color=_colour(each), alpha=0.3, linewidths=0)
    if chosen:
        points = sorted((each.result.size_bytes or 0, each.metric) for each in chosen)
        axes.plot([size / 1e3 for size, _ in points], [value for _, value in points], color=_GREY, linewidth=0.8)
    for point in chosen:
        size, latency = (point.result.size_bytes or 0) / 1e3, point.result.latency_ms or 0.0
        label = f"{point.number}: {point.result.title}, {size:.1f} kB, {latency:.3g} ms"
        axes.scatter(size, point.metric, s=55, color=_colour(point.result), label=label, marker="s")
        axes.annotate(str(point.number), (size, point.metric), textcoords="offset points", xytext=(5, 5), fontsize=8)
    axes.set_xlabel("size, kB")
    axes.set_ylabel(metric)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(length=0)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=7)
    return figure


def to_svg(figure: Figure) -> str:
    """The picture as a file's text, the same for the same figures."""
    return f'<?xml version="1.0" encoding="utf-8"?>\n{report_figures.to_svg(figure)}'


def _colour(result: Result) -> str:
    return _COLOURS.get(result.variant.rpartition("-")[0], _GREY)
