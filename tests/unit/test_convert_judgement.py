"""What is decided without a model: options, names, the gate, and what a crashed worker last said."""

import signal
from pathlib import Path

import msgspec
import numpy as np
import pytest

from edgeward_converters import convert, evaluate, gate
from edgeward_converters.sources import usable_name
from edgeward_converters.worker import _last_words
from edgeward_runtimes.errors import ConfigError
from edgeward_runtimes.golden import Comparison
from edgeward_runtimes.manifest import Name

SAME = Comparison(0.0, 1.0, 1.0)
NOWHERE = Path("/nowhere/model.keras")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "a b"}, "The name 'a b' cannot be used; expected up to 64 letters.*--name"),
        ({"name": "a/b"}, "The name 'a/b'"),
        ({"name": ""}, "The name ''"),
        ({"name": "n" * 65}, "The name 'nnn"),
        ({"version": "1 0"}, "The version '1 0' cannot be used.*--version"),
        ({"max_drop": float("nan")}, "max_drop .* is nan; expected a finite number of at least 0"),
        ({"max_drop": float("inf")}, "max_drop"),
        ({"max_drop": -0.5}, "max_drop"),
        ({"max_drop": "little"}, "max_drop"),
        ({"variants": []}, "The list of variants is empty; name some of litert-fp32"),
    ],
)
def test_an_option_that_cannot_be_met_is_refused_before_the_source_is_touched(options: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        convert(NOWHERE, **options)


@pytest.mark.parametrize("inside", [".", "deeper"])
def test_a_report_that_cannot_be_written_is_refused_before_the_source_is_touched(tmp_path: Path, inside: str) -> None:
    in_the_way = tmp_path / "report"
    in_the_way.write_text("a file")
    with pytest.raises(ConfigError, match=r"The report cannot be written into .*report.*: .*--report"):
        convert(NOWHERE, report=in_the_way / inside)


@pytest.mark.parametrize("stem", ["m" * 200, "my model (final)", "..hidden", "---", "é", "a" * 63 + "/b"])
def test_any_file_name_gives_a_name_that_devices_take(stem: str) -> None:
    msgspec.convert(usable_name(stem), Name)


def test_the_gate_leaves_out_what_drops_too_far_and_says_so() -> None:
    expected = {"y": np.ones((2, 2), np.float32)}

    def judge(precision: str, comparison: Comparison, drop: float) -> str | None:
        return gate.judge(precision, {"y": comparison}, expected, drop, 0.01, "accuracy")

    assert judge("int8", SAME, 0.01) is None
    assert judge("int8", SAME, 0.02) == "its accuracy drops by 0.0200 (allowed 0.0100)"
    assert judge("int8", SAME, float("nan")) is not None
    assert "differs from the source model" in (judge("fp32", Comparison(1e-2, 1, 1), 0) or "")
    assert "not finite where the source's is" in (judge("int8", Comparison(float("inf"), -1, 0), 0) or "")


def test_the_gate_judges_each_output_at_its_own_scale() -> None:
    expected = {"boxes": np.full((2, 4), 1000.0), "probability": np.full((2, 1), 0.5)}
    found = {"boxes": Comparison(0.05, 1, 1), "probability": Comparison(0.04, 1, 1)}
    reason = gate.judge("fp32", found, expected, 0.0, 0.01, "cosine") or ""
    assert reason.startswith("differs from the source model in output 'probability': max_abs_error 0.04")
    for precision, box_error, probability_error in (("fp32", 1.0, 5e-4), ("int8", 20.1, 0.09)):
        allowed = gate.tolerance(precision, found, expected)
        assert allowed["boxes"].max_abs_error == pytest.approx(box_error)
        assert allowed["probability"].max_abs_error == pytest.approx(probability_error)


def test_outputs_with_infinity_that_are_reproduced_are_wholly_similar() -> None:
    outputs = {"y": np.array([[-np.inf, 1.0], [np.nan, 2.0]]), "z": np.ones((2, 3))}
    assert evaluate.mean_cosine(outputs, outputs) == 1.0


SEGFAULT = """Current step: 3
Fatal Python error: Segmentation fault

Current thread 0x00007f (most recent call first):
  File "quantizer.py", line 3 in calibrate

Extension modules: numpy._core._multiarray_umath (total: 1)
"""


@pytest.mark.parametrize(
    ("log", "code", "words"),
    [
        ("", -signal.SIGKILL, ""),
        ("loading\nout of room\n", 3, "; it last said: out of room"),
        (SEGFAULT, -signal.SIGSEGV, "; it last said: Fatal Python error: Segmentation fault"),
        ("F0000 Check failed: rank == 4\nFatal Python error: Aborted\n\nStack", -signal.SIGABRT, "Check failed: rank"),
    ],
)
def test_a_crash_is_told_by_what_the_job_said_of_it(log: str, code: int, words: str) -> None:
    assert words in _last_words(log, code)
    assert "Extension modules" not in _last_words(log, code)
