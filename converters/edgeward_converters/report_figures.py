"""The report's pictures, as matplotlib figures: what each variant is, where its bytes are, where its errors come from.

Colours are an engine's, darker the fewer bits; a left-out variant is pale.
"""

import io
import math
from collections.abc import Sequence
from typing import Any, Literal

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from edgeward_converters.report import LayerRow, Outcome, Report

_COLOURS = {"litert": "#2563eb", "onnxruntime": "#d97706", "openvino": "#7c3aed"}
_OTHER = "#0f766e"
_GREY = "#64748b"
_SHOWN_LAYERS = 8
_SHOWN_NAMES = 16
_STYLE: dict[Any, Any] = {
    "svg.hashsalt": "edgeward",
    "font.family": "sans-serif",
    "svg.fonttype": "none",
    "font.size": 9,
}


def all_of(report: Report) -> dict[str, Figure]:
    """The pictures that there is something to show in, by name; without layers, the first one alone."""
    by_id = {each.id: each for each in report.variants if each.metric is not None and each.size_bytes}
    measured = list(by_id.values())
    figures = {}
    if measured:
        figures["metric_by_size"] = _metric_by_size(report, measured)
    if measured and report.layers:
        figures["variants"] = _variants(report, measured)
    if any(report.layers.values()):
        figures["layer_sizes"] = _layer_sizes(report)
    if any(row.sqnr_db is not None for rows in report.layers.values() for row in rows):
        figures["quantization_error"] = _quantization_error(report)
    return figures


def to_svg(figure: Figure) -> str:
    """The picture as an <svg> element, the same for the same figures."""
    buffer = io.StringIO()
    with mpl.rc_context(_STYLE):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()[buffer.getvalue().index("<svg") :]


def to_png(figure: Figure) -> bytes:
    """The picture as a PNG file."""
    buffer = io.BytesIO()
    with mpl.rc_context(_STYLE):
        figure.savefig(buffer, format="png", dpi=150, metadata={"Software": None})
    return buffer.getvalue()


def _colour(outcome_id: str) -> str:
    return _COLOURS.get(outcome_id.rpartition("-")[0], _OTHER)


def _figure(width: float, height: float, layout: Literal["constrained"] | None = "constrained") -> Figure:
    with mpl.rc_context(_STYLE):
        return Figure(figsize=(width, height), layout=layout)


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(length=0)


def _metric_by_size(report: Report, measured: Sequence[Outcome]) -> Figure:
    """Metric against size, the area of a point growing with its latency."""
    figure = _figure(7.6, 3.6, layout=None)  # a layout that is computed takes as long as all the drawing
    axes = figure.add_axes((0.09, 0.14, 0.62, 0.82))
    axes.axhline(report.source_metric, color=_GREY, linewidth=1, linestyle="--", label="source model")
    for each in measured:
        axes.scatter(
            (each.size_bytes or 0) / 1e3,
            each.metric or 0.0,
            s=40 + 160 * min(1.0, each.latency_ms or 0.0),
            color=_colour(each.id),
            alpha=0.85 if each.kept else 0.3,
            label=each.id if each.kept else f"{each.id} (left out)",
            marker="o" if each.precision == "fp32" else "s",
        )
    axes.set_xlabel("size, kB")
    axes.set_ylabel(report.metric)
    _plain(axes)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    return figure


def _variants(report: Report, measured: Sequence[Outcome]) -> Figure:
    """Size, metric and latency side by side, a bar per variant."""
    figure = _figure(7.6, 0.9 + 0.3 * len(measured))
    size, metric, latency = figure.subplots(1, 3, sharey=True)
    names = [each.id for each in measured][::-1]
    panels = (
        (size, "size, kB", [(each.size_bytes or 0) / 1e3 for each in measured], "{:.0f}"),
        (metric, report.metric, [each.metric or 0.0 for each in measured], "{:.4f}"),
        (latency, "p50 latency, ms", [each.latency_ms or 0.0 for each in measured], "{:.3f}"),
    )
    for axes, title, values, style in panels:
        bars = axes.barh(names, values[::-1], color=[_colour(name) for name in names], height=0.7)
        for bar, each in zip(bars, measured[::-1], strict=True):
            bar.set_alpha(0.85 if each.kept else 0.3)
        axes.bar_label(bars, labels=[style.format(value) for value in values[::-1]], padding=3, fontsize=8)
        axes.set_title(title, fontsize=9, loc="left")
        axes.set_xlim(0, max(values, default=1.0) * 1.35 or 1.0)
        axes.set_xticks([])
        _plain(axes)
        axes.spines["bottom"].set_visible(False)
    metric.axvline(report.source_metric, color=_GREY, linewidth=1, linestyle="--")
    return figure


def _layer_sizes(report: Report) -> Figure:
    """The largest layers of each variant, as stored."""
    variants = {name: _largest(rows) for name, rows in report.layers.items() if any(row.weights_bytes for row in rows)}
    lines = math.ceil(len(variants) / 2)
    figure = _figure(7.6, 2.0 * lines)
    panels = list(figure.subplots(lines, 2, squeeze=False).flat)
    for axes, (variant_id, rows) in zip(panels, variants.items(), strict=False):
        places = range(len(rows))[::-1]
        bars = axes.barh(places, [row.weights_bytes / 1e3 for row in rows], color=_colour(variant_id), height=0.7)
        axes.bar_label(bars, fmt="{:.1f}", padding=3, fontsize=7)
        axes.set_yticks(places, [_short(row.name) for row in rows], fontsize=7)
        axes.set_xticks([])
        axes.margins(x=0.2)
        axes.set_title(f"{variant_id}, kB", fontsize=9, loc="left")
        _plain(axes)
        axes.spines["bottom"].set_visible(False)
    for axes in panels[len(variants) :]:
        axes.set_visible(False)
    return figure


def _largest(rows: Sequence[LayerRow]) -> list[LayerRow]:
    return sorted((row for row in rows if row.weights_bytes), key=lambda row: -row.weights_bytes)[:_SHOWN_LAYERS]


def _quantization_error(report: Report) -> Figure:
    """Signal to quantization noise after each layer, in the order of execution: it falls where quantizing hurts."""
    engines: dict[str, dict[str, Sequence[LayerRow]]] = {}
    for variant_id, rows in report.layers.items():
        if any(row.sqnr_db is not None for row in rows):
            engines.setdefault(variant_id.rpartition("-")[0], {})[variant_id] = rows
    figure = _figure(7.6, 2.9 * len(engines))
    panels = figure.subplots(len(engines), 1, squeeze=False)[:, 0]
    for axes, (engine, variants) in zip(panels, engines.items(), strict=True):
        longest: Sequence[LayerRow] = max(variants.values(), key=len)
        for place, (variant_id, layers) in enumerate(variants.items()):
            found = [(index, row.sqnr_db) for index, row in enumerate(layers) if row.sqnr_db is not None]
            axes.plot(
                *zip(*found, strict=True),
                marker="o",
                markersize=3,
                label=variant_id,
                color=_shade(engine, place, len(variants)),
            )
        step = math.ceil(len(longest) / _SHOWN_NAMES)
        shown = range(0, len(longest), step)
        axes.set_xticks(shown, [_short(longest[index].name) for index in shown], rotation=40, ha="right", fontsize=7)
        axes.set_ylabel("signal to noise, dB")
        axes.set_title(engine, fontsize=9, loc="left")
        axes.grid(axis="y", color="#e2e8f0")
        axes.legend(frameon=False)
        _plain(axes)
    return figure


def _shade(engine: str, place: int, count: int) -> tuple[float, float, float]:
    """The engine's colour, paler for the first of its variants."""
    red, green, blue = mpl.colors.to_rgb(_COLOURS.get(engine, _OTHER))
    pale = 0.55 * (1 - (place + 1) / count)
    return (red + (1 - red) * pale, green + (1 - green) * pale, blue + (1 - blue) * pale)


def _short(name: str, longest: int = 24) -> str:
    """The end of a layer's name, which says most."""
    last = name.partition(";")[0]
    return last if len(last) <= longest else f"…{last[-longest:]}"
