"""What a conversion did: as data (`report.json`), and as a page with a picture (`report.html`)."""

import html
import io
from importlib.resources import files

import msgspec
from msgspec import Struct

from edgeward_runtimes.golden import Comparison
from edgeward_runtimes.manifest import Quantization

_COLOURS = {"litert": "#2563eb", "onnxruntime": "#d97706", "openvino": "#7c3aed"}


class Outcome(Struct, frozen=True):
    """One variant. `drop` is how much worse its metric is than the source's; `reason` says why it was left out.

    `comparison` is the worst of all outputs.
    """

    id: str
    engine: str
    precision: str
    kept: bool
    seconds: float
    reason: str | None = None
    quantization: Quantization | None = None
    size_bytes: int | None = None
    metric: float | None = None
    drop: float | None = None
    latency_ms: float | None = None
    comparison: Comparison | None = None


class Report(Struct, frozen=True):
    """A whole conversion. `samples` is how many the metric was measured on."""

    name: str
    version: str
    source: str
    source_bytes: int
    metric: str
    source_metric: float
    samples: int
    max_drop: float
    variants: tuple[Outcome, ...]


def to_json(report: Report) -> bytes:
    """`report.json`."""
    return msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n"


def to_html(report: Report) -> bytes:
    """`report.html`, in one file: no script, no font, no picture from elsewhere."""
    from jinja2 import Environment

    template = files(__package__).joinpath("report.html.jinja").read_text()
    page = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(template)
    return page.render(report=report, picture=_picture(report)).encode()


def _picture(report: Report) -> str:
    """Metric against size, the area of a point growing with its latency; as SVG text."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    measured = [each for each in report.variants if each.metric is not None and each.size_bytes]
    if not measured:
        return ""
    with mpl.rc_context({"svg.hashsalt": "edgeward", "font.family": "sans-serif", "svg.fonttype": "none"}):
        figure = Figure(figsize=(7.2, 3.6), layout="constrained")
        axes = figure.subplots()
        axes.axhline(report.source_metric, color="#64748b", linewidth=1, linestyle="--", label="source model")
        for each in measured:
            axes.scatter(
                (each.size_bytes or 0) / 1e3,
                each.metric or 0.0,
                s=40 + 160 * min(1.0, each.latency_ms or 0.0),
                color=_COLOURS.get(each.engine, "#0f766e"),
                alpha=0.85 if each.kept else 0.3,
                label=each.id if each.kept else f"{each.id} (left out)",
                marker="o" if each.precision == "fp32" else "s",
            )
        axes.set_xlabel("size, kB")
        axes.set_ylabel(report.metric)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Title": html.escape(report.name)})
    return buffer.getvalue()[buffer.getvalue().index("<svg") :]
