"""Latency histograms: what they promise of precision, packing and merging."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeward_runtimes.latency import counters
from edgeward_runtimes.latency.counters import Counters
from edgeward_runtimes.latency.histogram import BUCKET_COUNT, Histogram, bucket_of, upper_bound_s

latencies_ns = st.integers(min_value=100, max_value=10**12)
histograms = st.lists(latencies_ns, max_size=50).map(Histogram.of)
totals = st.builds(Counters, st.text(max_size=8), st.text(max_size=8), st.integers(0, 2**40), histograms)


@given(latencies_ns)
def test_a_latency_lies_within_its_bucket(elapsed_ns: int) -> None:
    bucket = bucket_of(elapsed_ns)
    assert elapsed_ns * 1e-9 <= upper_bound_s(bucket) * (1 + 1e-12)
    assert elapsed_ns * 1e-9 > upper_bound_s(bucket - 1) * (1 - 1e-12)


@pytest.mark.parametrize(("elapsed_ns", "bucket"), [(0, 0), (-5, 0), (1, 0), (10**18, BUCKET_COUNT - 1)])
def test_latencies_out_of_range_count_in_the_edge_buckets(elapsed_ns: int, bucket: int) -> None:
    assert bucket_of(elapsed_ns) == bucket


def test_buckets_are_opentelemetrys_of_scale_4() -> None:
    # OpenTelemetry data model: MapToIndex(value) = ceil(log2(value) * 2^scale) - 1.
    for elapsed_ns in (1_000, 123_456, 1_000_000_000, 2_000_000_001):
        opentelemetry_index = math.ceil(math.log2(elapsed_ns * 1e-9) * 2**4) - 1
        assert bucket_of(elapsed_ns) == opentelemetry_index - (-24 * 16)


@given(st.lists(latencies_ns, min_size=1, max_size=200), st.sampled_from([0.0, 0.5, 0.9, 0.95, 0.99, 1.0]))
def test_a_quantile_is_off_by_half_a_bucket_at_most(latencies: list[int], quantile: float) -> None:
    exact_ms = sorted(latencies)[max(1, math.ceil(quantile * len(latencies))) - 1] / 1e6
    estimate_ms = Histogram.of(latencies).quantile_ms(quantile)
    assert estimate_ms == pytest.approx(exact_ms, rel=0.0222)


def test_an_empty_histogram_has_no_quantile() -> None:
    assert Histogram().quantile_ms(0.5) is None


@given(histograms)
def test_packing_loses_nothing(histogram: Histogram) -> None:
    assert Histogram.decode(histogram.encode()) == histogram


@given(st.lists(totals, max_size=4))
def test_packing_counters_loses_nothing(rows: list[Counters]) -> None:
    assert counters.unpack(counters.pack(rows)) == rows


@given(st.binary(max_size=200))
def test_garbage_is_refused_with_a_value_error(garbage: bytes) -> None:
    for read in (Histogram.decode, counters.unpack):
        try:
            read(garbage)
        except ValueError:
            continue


@given(st.lists(st.lists(latencies_ns, max_size=20), min_size=1, max_size=6), st.randoms())
def test_the_largest_of_repeated_and_reordered_reports_is_the_last_one(batches, random) -> None:
    state, reports = Histogram(), []
    for batch in batches:
        state = state.merge(Histogram.of(batch))
        reports.append(state)
    received = [*random.choices(reports, k=10), state]
    random.shuffle(received)
    merged = Histogram()
    for report in received:
        merged = merged.later(report)
    assert merged == state


@given(histograms, histograms)
def test_what_was_counted_since_adds_up_again(earlier: Histogram, added: Histogram) -> None:
    later = earlier.merge(added)
    assert later.since(earlier) == added
    assert earlier.merge(later.since(earlier)) == later
