"""Which variant runs, and the reason given."""

import pytest

from edgeward_runtimes.choosing import choose, ranking
from edgeward_runtimes.errors import EngineMissingError, InputError
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
    installed = Choice(
        "onnxruntime-int8", "onnxruntime", "int8", None, "fastest of 3 that passed on this device (2 ms)"
    )
    assert choose(manifest, _all_here, installed=installed).id == "onnxruntime-int8"


def test_the_callers_wish_comes_before_all() -> None:
    installed = Choice("onnxruntime-int8", "onnxruntime", "int8", None, "fastest")
    choice = choose(_manifest(), _all_here, engine="litert", variant="litert-int8", installed=installed)
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
