"""Totals by non-empty bucket are the same arithmetic as the histograms that devices keep."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeward.monitor.totals import LARGEST_COUNT, Reported, Totals, unpack
from edgeward_runtimes.latency import counters
from edgeward_runtimes.latency.counters import Counters
from edgeward_runtimes.latency.histogram import BUCKET_COUNT, Histogram


def _histogram(counts: dict[int, int], sum_ns: int) -> Histogram:
    dense = np.zeros(BUCKET_COUNT, np.uint64)
    for bucket, count in counts.items():
        dense[bucket] = count
    return Histogram(dense, sum_ns)


histograms = st.builds(
    _histogram,
    st.dictionaries(st.integers(0, BUCKET_COUNT - 1), st.integers(1, 2**40), max_size=12),
    st.integers(0, 2**60),
)
reports = st.builds(Counters, st.just("r"), st.just("e"), st.integers(0, 2**40), histograms)


def _same(totals: Totals, counted: Counters) -> bool:
    return totals.errors == counted.errors and Histogram.decode(totals.encode()) == counted.histogram


@given(reports, reports)
def test_they_add_and_compare_as_the_devices_counters_do(one: Counters, other: Counters) -> None:
    ours, theirs = Reported.of(one).totals, Reported.of(other).totals
    assert _same(ours.merge(theirs), one.merge(other))
    assert _same(ours.later(theirs), one.later(other))
    assert _same(theirs.since(ours), other.since(one))
    assert _same(ours.later(ours.merge(theirs)), one.merge(other)), "the usual case: nothing is less than before"


@given(st.lists(reports, max_size=3))
def test_what_a_device_packed_is_read(told: list[Counters]) -> None:
    read = unpack(counters.pack(told))
    assert all(_same(ours.totals, theirs) for ours, theirs in zip(read, told, strict=True))
    assert [each.predictions for each in read] == [each.predictions for each in told]


@given(st.binary(max_size=40), st.lists(st.integers(-3, 2**64 - 1), max_size=9))
def test_nothing_else_is_read_than_what_the_device_itself_could_read(garbage: bytes, numbers: list[int]) -> None:
    import msgspec

    for content in (garbage, msgspec.msgpack.encode(numbers)):
        try:
            theirs = Histogram.decode(content)
        except ValueError:
            with pytest.raises(ValueError, match="histogram"):
                Totals.decode(0, content)
        else:
            assert _same(Totals.decode(0, content), Counters("r", "e", 0, theirs))


def test_counts_beyond_a_databases_integers_are_refused_even_where_each_part_fits() -> None:
    assert Totals.of(0, 0, {1: LARGEST_COUNT}).check_countable() == LARGEST_COUNT
    for beyond in (Totals.of(0, 0, {1: LARGEST_COUNT, 2: 1}), Totals(LARGEST_COUNT + 1), Totals(0, LARGEST_COUNT + 1)):
        with pytest.raises(ValueError, match="beyond"):
            beyond.check_countable()
