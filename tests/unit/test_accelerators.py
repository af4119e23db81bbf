"""Accelerators: what was asked for, what runs, and why they differ. The CPU is always the last.

No GPU is here: ONNX Runtime's providers are checked against the list that it is told to offer, and what is marked
unverified in docs/support.md has not run on its hardware.
"""

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st

import edgeward
from edgeward_runtimes.agent.config import AgentConfig
from edgeward_runtimes.agent.reading import Reader
from edgeward_runtimes.commands import status
from edgeward_runtimes.engines import Options, accelerators, get
from edgeward_runtimes.errors import ConfigError
from edgeward_runtimes.home import Home
from edgeward_runtimes.install import installer

CPU = "CPUExecutionProvider"
CUDA, TENSORRT = "CUDAExecutionProvider", "TensorrtExecutionProvider"
names = st.lists(st.sampled_from(accelerators.NAMES))


@given(names, st.sets(st.sampled_from(accelerators.NAMES)), st.sets(st.sampled_from("ABCDE")))
def test_what_is_tried_is_known_and_here_in_the_order_asked(asked, knows, available) -> None:
    known = {name: "ABCDE"[accelerators.NAMES.index(name)] for name in knows}
    usable, refused = accelerators.settle(asked, known, available)
    assert list(usable) == [name for name in asked if name in known and known[name] in available]
    assert len(refused) == len([name for name in asked if name in known and known[name] not in available])


def test_names_are_checked_and_the_cpu_need_not_be_named() -> None:
    assert accelerators.parse("cuda, cpu,tensorrt,cuda") == ("cuda", "tensorrt")
    assert accelerators.parse("delegate:libedgetpu.so.1") == ("delegate:libedgetpu.so.1",)
    with pytest.raises(ConfigError, match="no accelerator 'delegate:'"):
        accelerators.parse("delegate:")
    assert accelerators.parse("cpu") == ()
    with pytest.raises(ConfigError, match="There is no accelerator 'warp'; there are tensorrt, cuda"):
        accelerators.parse("cuda,warp")


@pytest.fixture
def artifacts(digits: Path, tmp_path: Path) -> Path:
    edgeward.Bundle.open(digits / "digits.edge").unpack(tmp_path / "release")
    return tmp_path / "release" / "variants"


class _Offered:
    """Has ONNX Runtime offer providers that this machine has not, and records what is asked of them."""

    def __init__(self, monkeypatch, offered: list[str], broken: tuple[str, ...] = ()) -> None:
        self.asked: list[list[tuple[str, dict]]] = []
        real = onnxruntime.InferenceSession

        def open_session(path: str, settings: object, providers: list) -> object:
            self.asked.append(providers)
            named = [each if isinstance(each, str) else each[0] for each in providers]
            if set(named) & set(broken):
                raise RuntimeError("libcudnn.so.9: cannot open shared object file")
            session = real(path, settings, [CPU])
            session.get_providers = lambda: named
            return session

        monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: offered)
        monkeypatch.setattr(onnxruntime, "InferenceSession", open_session)


def _open(artifact: Path, *asked: str, cache: Path | None = None):
    return get("onnxruntime").open(artifact, Options(accelerators=asked, cache=cache))


def test_providers_are_asked_for_in_order_with_the_cpu_last(artifacts: Path, monkeypatch, tmp_path: Path) -> None:
    offered = _Offered(monkeypatch, [TENSORRT, CUDA, CPU])
    session = _open(artifacts / "onnxruntime-fp32.onnx", "tensorrt", "cuda", "npu", cache=tmp_path / "cache")
    ((tensorrt, settings), *others) = offered.asked[0]
    assert (tensorrt, [name for name, _ in others]) == (TENSORRT, [CUDA, CPU])
    assert settings["trt_engine_cache_path"] == str(tmp_path / "cache")
    assert (tmp_path / "cache").is_dir()
    assert session.placement.runs_on == ("tensorrt", "cuda", "cpu")
    assert session.placement.warning is None
    assert session.another().placement == session.placement


def test_a_provider_that_is_not_offered_is_a_warning(artifacts: Path, monkeypatch) -> None:
    _Offered(monkeypatch, [CUDA, CPU])
    placement = _open(artifacts / "onnxruntime-fp32.onnx", "tensorrt", "cuda").placement
    assert placement.runs_on == ("cuda", "cpu")
    assert "tensorrt is not here" in (placement.warning or "")


def test_a_provider_that_fails_to_load_leaves_the_cpu_and_a_warning(artifacts: Path, monkeypatch) -> None:
    _Offered(monkeypatch, [CUDA, CPU], broken=(CUDA,))
    session = _open(artifacts / "onnxruntime-fp32.onnx", "cuda")
    assert session.placement.runs_on == ("cpu",)
    assert session.placement.warning == (
        "onnxruntime runs on cpu: cuda cannot load it (libcudnn.so.9: cannot open shared object file)"
    )


@pytest.mark.parametrize("engine", ["litert", "openvino"])
def test_a_gpu_that_is_not_here_leaves_the_cpu_and_a_warning(engine: str, artifacts: Path) -> None:
    artifact = artifacts / {"litert": "litert-fp32.tflite", "openvino": "openvino-fp32.xml"}[engine]
    placement = get(engine).open(artifact, Options(accelerators=("npu", "cuda"))).placement
    assert placement.runs_on == ("cpu",)
    assert (placement.warning or "").startswith(f"{engine} runs on cpu: npu ")


def test_a_delegate_that_is_not_here_leaves_the_cpu_and_a_warning(artifacts: Path) -> None:
    options = Options(accelerators=("delegate:libnowhere.so.1",))
    placement = get("litert").open(artifacts / "litert-fp32.tflite", options).placement
    assert placement.runs_on == ("cpu",)
    assert "libnowhere.so.1 cannot run it (libnowhere.so.1: cannot open shared" in (placement.warning or "")


def test_litert_compiled_answers_as_its_interpreter_does(digits: Path, artifacts: Path) -> None:
    from edgeward_runtimes.binding import Binding
    from edgeward_runtimes.engines.litert_compiled import CompiledSession

    with np.load(digits / "evaluation.npz") as split:
        pictures = split["x"][:5]
    with edgeward.load(digits / "digits.edge", variant="litert-fp32") as model:
        compiled = CompiledSession((artifacts / "litert-fp32.tflite").open("rb"), "cpu")
        binding = Binding(compiled, model.inputs, model.outputs)
        for each in (binding, binding.another()):
            np.testing.assert_allclose(each.run(pictures), model.predict(pictures), atol=1e-5)


def test_what_was_asked_for_and_what_runs_are_both_told(
    digits: Path, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = installer.install(home, digits / "digits.edge", ("cuda", "npu"))
    assert installed.selftest is not None
    trials = {trial.check.id: trial for trial in installed.selftest.trials}
    assert "cuda is not here" in (trials["onnxruntime-fp32"].warning or "")
    assert "cuda" not in (trials["litert-fp32"].warning or ""), "it is meant for another engine"
    (model,) = status(home).models
    assert (model.accelerators, model.runs_on) == (("cuda", "npu"), ("cpu",))
    assert model.warning is not None
    reported = Reader(AgentConfig(fleet="f"), home).read().models["digits"].values
    assert (reported["runs_on"], reported["warning"]) == ("cpu", model.warning)
    with pytest.warns(RuntimeWarning, match="onnxruntime runs on cpu: cuda is not here"):
        edgeward.load("digits", engine="onnxruntime").close()
    monkeypatch.setenv("EDGEWARD_ACCELERATORS", "cpu")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        edgeward.load("digits", engine="onnxruntime").close()
    monkeypatch.setenv("EDGEWARD_ACCELERATORS", "warp")
    with pytest.raises(ConfigError, match="no accelerator 'warp'"):
        edgeward.load("digits")


def test_the_number_of_threads_that_was_fastest_is_used(digits: Path, home: Home, monkeypatch) -> None:
    installed = installer.install(home, digits / "digits.edge")
    assert installed.selftest is not None
    choice = installed.selftest.choice
    assert choice.threads in (1, 2, 4, 8)
    assert f"{choice.threads} thread" in choice.reason
    with edgeward.load("digits") as model:
        assert model.variant.threads == choice.threads
    monkeypatch.setenv("EDGEWARD_THREADS", "3")
    with edgeward.load("digits") as model:
        assert model.variant.threads == 3


def test_a_targets_accelerators_go_along_with_a_flash(multiply_bundle: Callable[..., Path], tmp_path: Path) -> None:
    installed = edgeward.flash(multiply_bundle(), f"local:{tmp_path / 'jetson'}", target="jetson-orin-nano")
    assert installed.selftest is not None
    assert installed.selftest.choice.accelerators == ("tensorrt", "cuda")
