"""The report for people: `report.html`, in one file without script, font or picture from elsewhere, and its PNGs."""

from importlib.resources import files
from pathlib import Path

from edgeward_converters import report_figures
from edgeward_converters.report import Report, to_json
from edgeward_runtimes.durable import write_atomically

_CAPTIONS = {
    "metric_by_size": "What each variant costs and gives; the larger a point, the slower the variant.",
    "variants": "Size, metric and latency. Pale: left out. Dashed: the source model.",
    "layer_sizes": "The largest layers, as each variant stores their weights.",
    "quantization_error": "Signal to quantization noise after each layer, against the same engine's float variant: it "
    "falls where quantizing hurts.",
}


def to_html(report: Report) -> bytes:
    """`report.html`."""
    from jinja2 import Environment

    template = files(__package__).joinpath("report.html.jinja").read_text()
    page = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(template)
    pictures = [
        (_CAPTIONS[name], report_figures.to_svg(figure)) for name, figure in report_figures.all_of(report).items()
    ]
    return page.render(report=report, pictures=pictures).encode()


def write(report: Report, folder: Path) -> None:
    """Write `report.html`, `report.json` and each picture as a PNG into an existing folder."""
    write_atomically(folder / "report.json", to_json(report))
    write_atomically(folder / "report.html", to_html(report))
    for name, figure in report_figures.all_of(report).items():
        write_atomically(folder / f"{name}.png", report_figures.to_png(figure))
