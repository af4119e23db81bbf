"""Drift: how far what comes is from what came when the model was converted.

The population stability index of two distributions over the same bins is Σ (a - e) ln(a / e), with a and e the shares
now and then (N. Siddiqi, Credit Risk Scorecards, 2006): up to 0.1 it is taken for no change, from 0.2 on for one that
matters. Two samples, n and m large, of one distribution differ by (B - 1)(1/n + 1/m) on average (B. Yurdakul and
J. Naranjo, Statistical properties of the population stability index, Journal of Risk Model Validation 14/4, 2020);
that is taken off, so that few samples or many bins are not drift by themselves.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from edgeward_runtimes.observation.features import CLASS
from edgeward_runtimes.observation.reference import Reference

LEAST_SAMPLES = 200  # below, no score
_RARE = 0.02  # classes that came less often are one bin


def scores(reference: Reference, samples: int, bins: Mapping[str, Sequence[int]]) -> dict[str, float] | None:
    """By feature, how far the counts are from the reference, 0 to about 10; None where there are too few samples."""
    if samples < LEAST_SAMPLES:
        return None
    found = {}
    for name, distribution in reference.features.items():
        counts = bins.get(name, ())
        if len(counts) == len(distribution.shares) and sum(counts) > 0:
            shares, now = np.array(distribution.shares), np.array(counts, np.float64)
            if name == CLASS:
                shares, now = _common(shares, now)
            found[name] = _index(shares, reference.samples, now)
    return found


def _index(shares: "np.ndarray", of: int, counts: "np.ndarray") -> float:
    """The index of shares, counted of so many samples, and counts, above what chance alone makes of it."""
    bins, samples = len(shares), counts.sum()
    expected = (shares * of + 0.5) / (of + 0.5 * bins)  # half a sample in each bin: no share is 0
    actual = (counts + 0.5) / (samples + 0.5 * bins)
    index = ((actual - expected) * np.log(actual / expected)).sum()
    return max(0.0, float(index - (bins - 1) * (1 / samples + 1 / of)))


def _common(shares: "np.ndarray", counts: "np.ndarray") -> "tuple[np.ndarray, np.ndarray]":
    """The bins of classes that came often, and one for all others."""
    often = shares >= _RARE
    if often.all():
        return shares, counts
    return np.append(shares[often], shares[~often].sum()), np.append(counts[often], counts[~often].sum())
