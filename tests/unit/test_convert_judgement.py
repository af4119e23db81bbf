"""What is decided without a model: options, names, the gate, and what a crashed worker last said."""

import math
import signal
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from edgeward_converters import convert, evaluate, gate, options
from edgeward_converters.sources.recognize import usable_name
from edgeward_converters.worker import _last_words
from edgeward_runtimes.errors import ConfigError
from edgeward_runtimes.golden import Comparison, compare, within
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
        ({"variants": []}, "The list of variants is empty; name some of litert-fp32, litert-fp16"),
        ({"variants": ["litert-int3"]}, "There is no variant 'litert-int3'. A variant is ENGINE-PRECISION, of the eng"),
        (
            {"variants": ["tpu-int8"]},
            "There is no variant 'tpu-int8'.*litert, onnxruntime, openvino and.*int16x8, int4",
        ),
    ],
)
def test_an_option_that_cannot_be_met_is_refused_before_the_source_is_touched(options: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        convert(NOWHERE, **options)


def test_what_is_made_unasked_is_fp32_and_int8_of_every_engine() -> None:
    assert options.wanted((), None) == [
        f"{engine}-{precision}" for engine in ("litert", "onnxruntime", "openvino") for precision in ("fp32", "int8")
    ]


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
    assert gate.judge("int8", {"y": SAME}, expected, 3e-6, 0.0, "mse") == "its mse drops by 3e-06 (allowed 0.0000)"
    assert "differs from the source model" in (judge("fp32", Comparison(1e-2, 1, 1), 0) or "")
    assert "not finite where the source's is" in (judge("int8", Comparison(float("inf"), -1, 0), 0) or "")


def test_the_gate_judges_each_output_at_its_own_scale() -> None:
    expected = {"boxes": np.full((2, 4), 1000.0), "probability": np.full((2, 1), 0.5)}
    found = {"boxes": Comparison(0.05, 1, 1), "probability": Comparison(0.04, 1, 1)}
    reason = gate.judge("fp32", found, expected, 0.0, 0.01, "cosine") or ""
    assert reason.startswith("differs from the source model in output 'probability': max_abs_error 0.04")
    # Twice what was shown, and the precision's floor: a thousandth for floats, five steps of eight bits for int8.
    floors = {"fp32": 1e-3, "fp16": 5 / 512, "int8": 5 / 256, "int8_dynamic": 5 / 256, "int16x8": 1e-3, "int4": 5 / 256}
    for precision, floor in floors.items():
        allowed = gate.tolerance(precision, found, expected)
        assert allowed["boxes"].max_abs_error == pytest.approx(2 * 0.05 + floor * 1000)
        assert allowed["probability"].max_abs_error == pytest.approx(2 * 0.04 + floor * 0.5)


OUTPUTS = arrays.arrays(
    np.float32,
    st.tuples(st.integers(1, 4), st.integers(1, 6)),
    elements=st.floats(-1e3, 1e3, width=32),
)


@given(OUTPUTS, st.sampled_from(["fp32", "fp16", "int8", "int16x8", "int4"]), st.integers(0, 2**32 - 1))
def test_what_differs_no_more_than_the_floor_passes_on_the_device_whatever_the_values(
    expected: np.ndarray, precision: str, seed: int
) -> None:
    exact = gate.tolerance(precision, {"y": SAME}, {"y": expected})["y"]
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], expected.shape)
    # A hair less than the floor: the difference of two floats is itself rounded.
    actual = expected.astype(np.float64) + 0.999 * exact.max_abs_error * signs
    found = compare({"y": expected}, {"y": actual})["y"]
    assert within(found, exact), (found, exact)


@given(OUTPUTS, st.sampled_from(["fp32", "fp16", "int8", "int16x8", "int4"]))
def test_the_tolerance_goes_with_the_outputs_scale(expected: np.ndarray, precision: str) -> None:
    once = gate.tolerance(precision, {"y": SAME}, {"y": expected})["y"]
    larger = gate.tolerance(precision, {"y": SAME}, {"y": expected * np.float32(4.0)})["y"]
    if expected.any():
        assert larger.max_abs_error == pytest.approx(4 * once.max_abs_error)
        assert larger.cosine == pytest.approx(once.cosine, abs=1e-6)


def test_a_broken_engine_is_found_by_its_direction_too() -> None:
    # Ten classes of 0.1 each but for one: all the same answer lies within int8's largest error, but turned away.
    expected = {"y": np.eye(10, dtype=np.float32)[:3] * 0.04 + 0.096}
    constant = {"y": np.full((3, 10), 0.1, np.float32)}
    allowed = gate.tolerance("fp32", {"y": SAME}, expected)["y"]
    found = compare(expected, constant)["y"]
    assert not within(found, allowed)
    assert found.cosine < allowed.cosine
    assert allowed.cosine == pytest.approx(math.cos(math.asin(1e-3 * 0.136 / np.sqrt((0.136**2 + 9 * 0.096**2) / 10))))


def test_an_output_that_zeros_would_do_as_well_as_is_lost() -> None:
    expected = {"label": np.eye(4), "embedding": np.full((4, 8), 0.5)}
    kept = {"label": np.eye(4), "embedding": np.full((4, 8), 0.4)}
    assert gate.lost(expected, kept) is None
    gone = {**kept, "embedding": np.zeros((4, 8))}
    assert gate.lost(expected, gone) == "its output 'embedding' is lost: the error is as large as the output itself"
    assert gate.lost({"y": np.zeros((2, 2))}, {"y": np.ones((2, 2))}) is None, "there was nothing to lose"


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
