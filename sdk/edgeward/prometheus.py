"""Our latency histograms as Prometheus reads them, for every `/metrics` that edgeward has.

They are classic histograms with bounds at powers of two, each the sum of sixteen of our buckets, so nothing is lost but
resolution.
"""

from edgeward_runtimes.latency.histogram import BUCKETS_PER_OCTAVE, Histogram, upper_bound_s


def octaves(histogram: Histogram) -> list[tuple[str, float]]:
    """Cumulative counts by upper bound in seconds, as powers of two, ending with +Inf."""
    counts = histogram.counts.reshape(-1, BUCKETS_PER_OCTAVE).sum(axis=1).cumsum()
    bounds = [repr(upper_bound_s((index + 1) * BUCKETS_PER_OCTAVE - 1)) for index in range(len(counts))]
    # The last octave also holds what took longer, so it is the one without a bound.
    return [*zip(bounds[:-1], map(float, counts[:-1]), strict=True), ("+Inf", float(counts[-1]))]
