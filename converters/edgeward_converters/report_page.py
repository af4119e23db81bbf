"""The report for people: `report.html`, in one file without script, font or picture from elsewhere, and its PNGs."""

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from edgeward_converters.report import Report, to_json
from edgeward_runtimes.durable import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_CAPTIONS = {
    "metric_by_size": "What each variant costs and gives; the larger a point, the slower the variant.",
    "variants": "Size, metric and latency. Pale: left out. Dashed: the source model.",
    "layer_sizes": "The largest layers, as each variant stores their weights.",
    "quantization_error": "Signal to quantization noise after each layer, against the same engine's float variant: it "
    "falls where quantizing hurts.",
}


def to_html(report: Report) -> bytes:
    """`report.html`."""
    from edgeward_converters import report_figures  # matplotlib takes half a second to import

    return _page(report, report_figures.all_of(report))


def write(report: Report, folder: Path) -> None:
    """Write `report.html`, `report.json` and each picture as a PNG into an existing folder."""
    from edgeward_converters import report_figures

    figures = report_figures.all_of(report)
    write_atomically(folder / "report.json", to_json(report))
    write_atomically(folder / "report.html", _page(report, figures))
    for name, figure in figures.items():
        write_atomically(folder / f"{name}.png", report_figures.to_png(figure))


def _page(report: Report, figures: "Mapping[str, Figure]") -> bytes:
    from jinja2 import Environment

    from edgeward_converters.report_figures import to_svg

    template = files(__package__).joinpath("report.html.jinja").read_text()
    page = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(template)
    pictures = [(_CAPTIONS[name], to_svg(figure)) for name, figure in figures.items()]
    return page.render(report=report, pictures=pictures).encode()
