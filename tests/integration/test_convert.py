"""Converting: what is kept, what is left out and why, and what goes wrong in one sentence."""

import ctypes
import os
import re
import sys
from pathlib import Path

import numpy as np
import pytest

import edgeward
from edgeward_converters import convert, quantizers, sources
from edgeward_converters.worker import Worker
from edgeward_runtimes.errors import ConfigError, ConversionError, InputError, SourceError, WorkerCrashError


def _crash() -> None:
    ctypes.string_at(0)


def _warn_then_abort() -> None:
    print("an earlier line", flush=True)
    print("rank 4 expected", file=sys.stderr)
    os.abort()


def _fail() -> None:
    raise KeyError("layer 7")


def _needs_a_package() -> None:
    import a_package_that_is_not_installed  # noqa: F401


def _who() -> int:
    print("chatter")
    return os.getpid()


def test_a_native_crash_is_an_error_and_the_next_job_gets_a_fresh_worker(capfd) -> None:
    with Worker() as worker:
        first = worker.run(_who)
        assert worker.run(_who) == first, "the worker stays warm"
        with pytest.raises(WorkerCrashError) as caught:
            worker.run(_crash)
        assert str(caught.value) == (
            "a native crash (SIGSEGV) in the worker process; it last said: Fatal Python error: Segmentation fault"
        )
        assert worker.run(_who) != first
        with pytest.raises(ConversionError, match="KeyError: 'layer 7'"):
            worker.run(_fail)
        with pytest.raises(ModuleNotFoundError) as missing:
            worker.run(_needs_a_package)
        assert missing.value.name == "a_package_that_is_not_installed", "the command line names the extra by it"
    assert capfd.readouterr().out == ""


def test_a_crash_is_told_by_its_own_job_alone() -> None:
    with Worker() as worker:
        worker.run(_who)
        with pytest.raises(WorkerCrashError, match=r"SIGABRT\) .*; it last said: rank 4 expected$"):
            worker.run(_warn_then_abort)
        worker.run(_who)
        with pytest.raises(WorkerCrashError, match=r"a native crash \(exit code 3\) in the worker process$"):
            worker.run(os._exit, 3)


def _crashing_source(path, folder):
    ctypes.string_at(0)


def test_a_source_that_crashes_tensorflow_is_one_sentence_that_names_it(digits: Path, monkeypatch) -> None:
    monkeypatch.setattr(sources, "describe", _crashing_source)
    with pytest.raises(SourceError, match=r"The source model .*digits\.keras cannot be loaded .*SIGSEGV") as caught:
        convert(digits / "digits.keras")
    assert "\n" not in str(caught.value)


def test_a_missing_tensorflow_is_a_missing_module_and_no_failed_conversion(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "tensorflow.py").write_text(
        "raise ModuleNotFoundError('No module named tensorflow', name='tensorflow')"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    path = tmp_path / "any.h5"
    path.write_bytes(b"\x89HDF\r\n\x1a\n")
    with pytest.raises(ModuleNotFoundError) as caught:
        convert(path)
    assert caught.value.name == "tensorflow"


def _crashing_quantizer(engine, *arguments):
    if engine == "litert":
        ctypes.string_at(0)
    if engine == "openvino":
        _needs_a_package()
    return _quantize(engine, *arguments)


_quantize = quantizers.quantize


def test_a_quantizer_that_crashes_or_is_missing_costs_its_own_variant_alone(digits: Path, monkeypatch) -> None:
    monkeypatch.setattr(quantizers, "quantize", _crashing_quantizer)
    wanted = ["litert-int8", "openvino-int8", "litert-fp32", "onnxruntime-int8"]
    conversion = convert(digits / "digits.keras", variants=wanted, calibration=digits / "calibration.npz")
    outcomes = {outcome.id: outcome for outcome in conversion.report.variants}
    assert "a native crash (SIGSEGV) in the worker process" in (outcomes["litert-int8"].reason or "")
    assert outcomes["openvino-int8"].reason == (
        "needs the package 'a_package_that_is_not_installed': pip install 'edgeward[convert]'"
    )
    assert [variant.id for variant in conversion.bundle.manifest.variants] == wanted[2:]


def _crashing_when_static(engine, rung, *arguments):
    if rung.way == "static":
        ctypes.string_at(0)
    return _quantize(engine, rung, *arguments)


def test_where_only_static_int8_crashes_dynamic_int8_stands_in_and_says_so(digits: Path, monkeypatch) -> None:
    monkeypatch.setattr(quantizers, "quantize", _crashing_when_static)
    calibration, evaluation = digits / "calibration.npz", digits / "evaluation.npz"
    wanted = ["litert-int8", "litert-int8_dynamic"]
    conversion = convert(
        digits / "digits.keras", variants=wanted, calibration=calibration, evaluation=evaluation, max_drop=0.02
    )
    (variant,) = conversion.bundle.manifest.variants
    assert (variant.id, variant.precision, variant.quantization) == ("litert-int8", "int8", "dynamic")
    crash = "static int8: a native crash (SIGSEGV) in the worker process; it last said: Fatal Python error"
    assert [each.requested for each in variant.fallbacks] == ["int8", "int8_dynamic"]
    assert variant.fallbacks[0].note.startswith(crash)
    assert "in its place dynamic int8, whose accuracy d" in variant.fallbacks[0].note
    assert variant.fallbacks[1].note == "the same artifact as litert-int8"
    assert [outcome.fallback for outcome in conversion.report.variants] == list(variant.fallbacks)


def test_without_calibration_int8_is_dynamic_and_the_manifest_says_so(digits: Path) -> None:
    with np.load(digits / "evaluation.npz") as split:
        evaluation = (split["x"], split["y"])
    bundle = edgeward.convert(digits / "digits.keras", evaluation=evaluation, max_drop=0.02)
    kinds = {variant.id: variant.quantization for variant in bundle.manifest.variants}
    assert kinds["litert-int8"] == "dynamic"
    assert kinds["onnxruntime-int8"] == "dynamic"
    assert kinds["openvino-int8"] == "weights"
    notes = {variant.id: [each.note for each in variant.fallbacks] for variant in bundle.manifest.variants}
    assert notes["litert-int8"] == []
    assert notes["openvino-int8"][0].startswith("dynamic int8: OpenVINO quantizes no activations while running; in its")
    assert kinds["litert-fp32"] is None


def test_the_digits_bundle_predicts_the_same_on_every_engine(digits: Path) -> None:
    with np.load(digits / "evaluation.npz") as split:
        x, y = split["x"], split["y"]
    bundle = edgeward.Bundle.open(digits / "digits.edge")
    assert bundle.manifest.metric is not None
    for variant in bundle.manifest.variants:
        with edgeward.load(digits / "digits.edge", variant=variant.id) as model:
            accuracy = float((np.asarray(model.predict(x)).argmax(axis=1) == y).mean())
            assert accuracy == pytest.approx(variant.metric, abs=0.003)
            assert model.labels == tuple("0123456789")
            with pytest.raises(edgeward.InputError):
                model.predict(x[:, :4])


def test_static_int8_that_drops_too_far_falls_to_dynamic_and_both_figures_are_named(digits: Path) -> None:
    with np.load(digits / "calibration.npz") as arrays:
        far_too_dark = arrays["x"] * 0.01  # so static int8 cuts every real activation short
    conversion = convert(
        digits / "digits.keras",
        variants=["litert-int8"],
        calibration=far_too_dark,
        evaluation=digits / "evaluation.npz",
        max_drop=0.1,
    )
    (outcome,) = conversion.report.variants
    assert (outcome.id, outcome.quantization, outcome.kept) == ("litert-int8", "dynamic", True)
    assert outcome.fallback is not None
    falls = (
        r"static int8: its accuracy drops by 0\.\d+ \(allowed 0\.1000\); in its place dynamic int8, whose accuracy d"
    )
    assert re.match(falls, outcome.fallback.note)


def test_when_every_rung_drops_too_far_nothing_is_converted(digits: Path) -> None:
    with np.load(digits / "calibration.npz") as arrays:
        x = arrays["x"][:64]
    with edgeward.load(digits / "digits.edge", variant="onnxruntime-fp32") as model:
        exactly = model.predict(x)  # which no integers give
    said = (
        r"No variant of digits can be shipped\. litert-int8: static int8: its mse drops by \S+ \(allowed 0\.0000\); "
        r"dynamic int8: its mse drops by .*; int8 of the weights alone: its mse drops by [^;]*\.$"
    )
    with pytest.raises(ConversionError, match=said):
        convert(
            digits / "digits.keras",
            variants=["litert-int8"],
            calibration=x,
            evaluation=(x, exactly),
            metric="mse",
            max_drop=0,
        )


def test_several_inputs_and_outputs_go_by_name(tmp_path: Path) -> None:
    import subprocess

    script = (
        "import keras, sys; a=keras.Input((3,),name='left'); b=keras.Input((2,),name='right');"
        "h=keras.layers.Dense(4,activation='relu')(keras.layers.Concatenate()([a,b]));"
        "m=keras.Model([a,b],[keras.layers.Dense(2,name='first')(h),keras.layers.Dense(5,name='second')(h)]);"
        "m.save(sys.argv[1])"
    )
    path = tmp_path / "two.keras"
    subprocess.run([sys.executable, "-c", script, str(path)], check=True, capture_output=True)
    random = np.random.default_rng(0)
    calibration = {
        name: random.normal(size=(32, size)).astype(np.float32) for name, size in (("left", 3), ("right", 2))
    }
    bundle = edgeward.convert(path, calibration=calibration, max_drop=0.1)
    assert [tensor.name for tensor in bundle.manifest.inputs] == ["left", "right"]
    assert {tensor.name: tensor.shape for tensor in bundle.manifest.outputs} == {
        "first": (None, 2),
        "second": (None, 5),
    }
    golden = bundle.golden()
    for tolerance in bundle.manifest.golden.tolerance.values():
        assert set(tolerance) == {"first", "second"}
    for engine in ("litert", "onnxruntime", "openvino"):
        with edgeward.load(bundle.path, variant=f"{engine}-fp32") as model:
            predicted = model.predict(golden.inputs)
            for name, expected in golden.outputs.items():
                np.testing.assert_allclose(predicted[name], expected, atol=1e-5)


@pytest.mark.parametrize("content", [b"", b"not a model", b"PK\x03\x04 cut", b"\x89HDF\r\n\x1a\n" + b"\0" * 600])
def test_a_damaged_source_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.keras"
    path.write_bytes(content)
    with pytest.raises(SourceError) as caught:
        convert(path)
    assert "bad.keras" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_wrong_data_and_options_are_named(digits: Path, tmp_path: Path) -> None:
    source = digits / "digits.keras"
    with pytest.raises(SourceError, match="does not exist"):
        convert(tmp_path / "nowhere.keras")
    with pytest.raises(ConfigError, match="There is no variant 'litert-int3'"):
        convert(source, variants=["litert-int3"])
    with pytest.raises(ConfigError, match="There is no metric 'f7'"):
        convert(source, metric="f7")
    with pytest.raises(ConfigError, match="There is no target 'toaster'"):
        convert(source, targets=["toaster"])
    with pytest.raises(InputError, match=r"has shape \(4, 3\); the model takes \(any, 8, 8, 1\)"):
        convert(source, calibration=np.zeros((4, 3)))
