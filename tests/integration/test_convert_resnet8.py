"""MLPerf Tiny's ResNet8, as Keras 2 saved it: six variants, none noticeably worse than the source."""

from pathlib import Path

import pytest

from edgeward_converters import convert


@pytest.mark.timeout(600)
def test_resnet8_reaches_its_accuracy_in_all_six_variants(test_data: Path, tmp_path: Path) -> None:
    conversion = convert(
        test_data / "mlperf_tiny" / "pretrainedResnet.h5",
        calibration=test_data / "cifar10_train_10k.npz",
        evaluation=test_data / "cifar10_test.npz",
        report=tmp_path,
    )
    outcomes = {outcome.id: outcome for outcome in conversion.report.variants}
    assert len(conversion.bundle.manifest.variants) == 6
    for variant_id, outcome in outcomes.items():
        assert outcome.metric is not None
        assert outcome.metric >= (0.754 if outcome.precision == "fp32" else 0.750), variant_id
    assert outcomes["litert-int8"].size_bytes <= 100_000
    assert {outcome.quantization for outcome in outcomes.values()} == {None, "static"}
    assert (tmp_path / "report.html").stat().st_size > 10_000
    assert (tmp_path / "report.json").exists()
