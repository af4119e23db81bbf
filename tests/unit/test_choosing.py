"""Which variant runs, and the reason given."""

import pytest

from edgeward_runtimes.benchmark import Timing
from edgeward_runtimes.choosing import choose, ranking
from edgeward_runtimes.errors import EngineError, EngineMissingError, InputError
from edgeward_runtimes.golden import Check, failed
from edgeward_runtimes.install.result import SelfTest, Trial
from edgeward_runtimes.model import Choice
from tests.builders import bundle_content

ARTIFACTS = {"litert-fp32": b"a", "litert-int8": b"b", "onnxruntime-int8": b"c"}


def _all_here(engine: str) -> None:
    return None


def _no_litert(engine: str) -> str | None:
    return "litert is not installed here; get it with: pip install 'edgeward[litert]'" if engine == "litert" else None


def _manifest(**latencies_ms: float):
    timed = {variant.replace("_", "-"): value for variant, value in latencies_ms.items()}
    return bundle_content(artifacts=ARTIFACTS, latencies_ms=timed)[0]


def _tested(**p50_ms: float | None) -> SelfTest:
    """A self-test in which the variants took so long; None: it did not pass."""
    trials = []
    for name, value in p50_ms.items():
        variant_id = name.replace("_", "-")
        if value is None:
            trials.append(Trial(failed(variant_id, "it answers differently")))
        else:
            trials.append(Trial(Check(variant_id, 0.0, 1.0, 1.0, passed=True), Timing(value, value, value, 1)))
    passed = {name: value for name, value in p50_ms.items() if value is not None}
    best = min(passed, key=passed.__getitem__)
    engine, _, precision = best.partition("_")
    reason = f"fastest of {len(passed)} that passed on this device ({passed[best]:.3g} ms)"
    return SelfTest(Choice(best.replace("_", "-"), engine, precision, None, reason), tuple(trials))


def test_the_fastest_on_the_converting_host_is_taken_before_anything_was_installed() -> None:
    manifest = _manifest(litert_fp32=3.0, litert_int8=1.0, onnxruntime_int8=2.0)
    choice = choose(manifest, _all_here)
    assert (choice.id, choice.reason) == ("litert-int8", "fastest of 3 where it was converted (1 ms)")
    assert [each.id for each in ranking(manifest, _all_here)] == ["litert-int8", "onnxruntime-int8", "litert-fp32"]


def test_the_manifests_order_decides_where_nothing_was_timed() -> None:
    choice = choose(_manifest(), _all_here)
    assert (choice.id, choice.reason) == ("litert-fp32", "first of 3 in the manifest; none was timed")


def test_what_the_install_measured_here_comes_first() -> None:
    manifest = _manifest(litert_fp32=3.0, litert_int8=1.0, onnxruntime_int8=2.0)
    choice = choose(manifest, _all_here, tested=_tested(litert_fp32=3.0, litert_int8=2.5, onnxruntime_int8=2.0))
    assert (choice.id, choice.reason) == ("onnxruntime-int8", "fastest of 3 that passed on this device (2 ms)")


def test_what_did_not_pass_on_this_device_never_runs() -> None:
    manifest = _manifest(litert_fp32=3.0, litert_int8=1.0, onnxruntime_int8=2.0)
    tested = _tested(litert_fp32=3.0, litert_int8=None, onnxruntime_int8=2.0)
    assert choose(manifest, _all_here, engine="litert", tested=tested).id == "litert-fp32"
    with pytest.raises(EngineError, match=r"litert-int8 did not pass .* litert-int8: it answers differently"):
        choose(manifest, _all_here, variant="litert-int8", tested=tested)


def test_when_the_tested_choices_engine_is_gone_the_next_fastest_here_runs() -> None:
    tested = _tested(litert_fp32=2.0, litert_int8=1.0, onnxruntime_int8=4.0)
    choice = choose(_manifest(litert_fp32=1.0, litert_int8=1.0, onnxruntime_int8=1.0), _no_litert, tested=tested)
    assert choice.id == "onnxruntime-int8"
    assert choice.reason.startswith("fastest of 1 that passed on this device (4 ms); no engine here for litert-fp32")


def test_the_callers_wish_comes_before_all() -> None:
    tested = _tested(litert_fp32=3.0, litert_int8=2.5, onnxruntime_int8=2.0)
    choice = choose(_manifest(), _all_here, engine="litert", variant="litert-int8", tested=tested)
    assert (choice.id, choice.reason) == ("litert-int8", "variant 'litert-int8' was asked for")
    assert choose(_manifest(), _all_here, engine="litert").reason.startswith(
        "engine 'litert' was asked for; first of 2"
    )


def test_a_missing_engine_is_passed_over_and_said() -> None:
    choice = choose(_manifest(), _no_litert)
    assert choice.id == "onnxruntime-int8"
    assert choice.reason.endswith("no engine here for litert-fp32, litert-int8")


def test_when_no_engine_is_here_the_error_says_which_extra_brings_one() -> None:
    with pytest.raises(EngineMissingError, match=r"pip install 'edgeward\[litert\]'"):
        choose(_manifest(), _no_litert, engine="litert")


def test_what_is_not_in_the_bundle_is_named() -> None:
    with pytest.raises(InputError, match=r"variant 'x' and engine 'litert'; it has litert-fp32, "):
        choose(_manifest(), _all_here, variant="x", engine="litert")
