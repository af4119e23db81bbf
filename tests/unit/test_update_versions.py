"""Versions are ordered as Semantic Versioning has it, whatever a manifest calls its own."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeward_runtimes.manifest import NAME_PATTERN
from edgeward_runtimes.update.versions import order

# The first eight are the specification's own example (semver.org, section 11).
RISING = [
    "1.0.0-alpha",
    "1.0.0-alpha.1",
    "1.0.0-alpha.beta",
    "1.0.0-beta",
    "1.0.0-beta.2",
    "1.0.0-beta.11",
    "1.0.0-rc.1",
    "1.0.0",
    "1.0.1",
    "1.2",
    "1.10",
    "2",
    "2024.05.01",
    "2024.11",
    "nightly",
]


@pytest.mark.parametrize(("older", "newer"), list(pairwise(RISING)))
def test_the_older_version_comes_first(older: str, newer: str) -> None:
    assert order(older) < order(newer)


@pytest.mark.parametrize(("one", "same"), [("1", "1.0.0"), ("1.0", "1.0.0"), ("01.2", "1.2"), ("2.0-rc.1", "2-rc.1")])
def test_versions_that_mean_the_same_are_equal(one: str, same: str) -> None:
    assert order(one) == order(same)


@given(st.from_regex(NAME_PATTERN), st.from_regex(NAME_PATTERN))
def test_any_two_versions_can_be_compared(one: str, other: str) -> None:
    assert (order(one) < order(other)) + (order(other) < order(one)) + (order(one) == order(other)) == 1
