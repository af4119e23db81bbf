"""What a conversion did, as data: `report.json`. `report_page` makes a page of it, `report_figures` its pictures."""

import msgspec
from msgspec import Struct

from edgeward_runtimes.golden import Comparison, worst
from edgeward_runtimes.manifest import Fallback, Quantization


class Outcome(Struct, frozen=True):
    """What became of one request. `drop` is how much worse its metric is than the source's.

    Attributes:
        id, precision: What it is, which is not what was asked for where there is a `fallback`.
        reason: Why it was left out.
        fallback: What was asked for, and why it became this.
        comparisons: With the source's outputs on the golden samples, by output.
    """

    id: str
    engine: str
    precision: str
    kept: bool
    seconds: float
    reason: str | None = None
    fallback: Fallback | None = None
    quantization: Quantization | None = None
    size_bytes: int | None = None
    metric: float | None = None
    drop: float | None = None
    latency_ms: float | None = None
    comparisons: dict[str, Comparison] = {}

    @property
    def asked(self) -> str:
        """The id that was asked for."""
        return self.id if self.fallback is None else f"{self.engine}-{self.fallback.requested}"

    @property
    def remark(self) -> str:
        """What there is to say beside the numbers: why it was left out, or what it stands in for and why."""
        if self.reason is not None or self.fallback is None:
            return self.reason or ""
        return f"for {self.asked}: {self.fallback.note}"

    @property
    def comparison(self) -> Comparison | None:
        """The worst of all outputs; None where nothing was measured."""
        return worst(self.comparisons) if self.comparisons else None


class LayerRow(Struct, frozen=True):
    """One layer of a variant, in the order of execution.

    Attributes:
        weights_bytes: Of its constants, as stored.
        sqnr_db: Signal to quantization noise of its output on the golden samples, against the engine's float variant,
            in decibels; None for a float variant, and where the float variant has no such tensor.
        max_abs_error: Likewise, in the output's unit.
    """

    name: str
    operator: str
    weights_bytes: int
    sqnr_db: float | None = None
    max_abs_error: float | None = None


class StageRow(Struct, frozen=True):
    """The source, or what a recipe's step left of it; multiply-accumulates (`macs`) are of one sample."""

    method: str
    parameters: int
    macs: int
    metric: float | None = None


class Report(Struct, frozen=True):
    """A whole conversion.

    Attributes:
        samples: How many the metric was measured on.
        stages: The source, then what each step of the recipe left; empty without a recipe's steps.
        before: The source's own float variant for each engine, where a recipe's steps changed it.
        layers: By variant, where a report was asked for.
    """

    name: str
    version: str
    source: str
    source_bytes: int
    metric: str
    source_metric: float
    samples: int
    max_drop: float
    variants: tuple[Outcome, ...]
    layers: dict[str, tuple[LayerRow, ...]] = {}
    stages: tuple[StageRow, ...] = ()
    before: tuple[Outcome, ...] = ()


def to_json(report: Report) -> bytes:
    """`report.json`."""
    return msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n"
