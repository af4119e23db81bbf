"""Structured pruning of a real network: MLPerf Tiny's ResNet8, whose shortcuts couple the channels of layers."""

from pathlib import Path

import numpy as np

from edgeward_converters.worker import Worker
from tests.unit import pruning_jobs as jobs


def test_resnet8_loses_coupled_channels_exactly_and_recovers_in_a_short_training(
    test_data: Path, worker: Worker
) -> None:
    (silenced, sliced), groups, parameters, macs, accuracy = worker.run(jobs.resnet8, test_data)
    assert np.allclose(silenced, sliced, atol=1e-5)
    assert list(groups.values()) == [
        ["conv2d", "conv2d_2"],
        ["conv2d_1"],
        ["conv2d_3"],
        ["conv2d_4", "conv2d_5"],
        ["conv2d_6"],
        ["conv2d_7", "conv2d_8"],
    ]
    assert parameters == (78666, 20266)
    assert macs[1] < macs[0] / 3.5
    assert accuracy > 0.5  # of ten classes, three quarters of the channels, and 2,000 pictures
