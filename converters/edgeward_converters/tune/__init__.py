"""`tune`: search recipes for the best of accuracy, size and latency within limits.

    trials       what a trial is, the front, the limits; pure
    space        what may be tried
    journal      Optuna: what is tried next, and what was, in a file
    laboratory   a trial is done, and judged on samples that are held back from the calibration data
    spread       by one process, or by a Ray cluster
    scoring      the front on the evaluation data, and its bundles
    picture      the front as a picture

The evaluation data scores the front at the end, and decides nothing but whether a point may be shipped at all.
"""

from edgeward_converters.tune.search import Point, Tuned, tune

__all__ = ["Point", "Tuned", "tune"]
