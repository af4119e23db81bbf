"""The smallest device: tflite-runtime and numpy 1 in an environment of their own, where there is no ai-edge-litert."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgeward
from edgeward_runtimes.home import Home
from tests.conftest import REPOSITORY
from tests.environments import python_with

NEEDED = ("tflite-runtime==2.14.0", "numpy<2", "msgspec")
VARIANTS = ("litert-fp32", "litert-int8")
Run = Callable[..., Any]

_PREDICT = """
import json, sys, threading
already = set(sys.modules)
import numpy
import edgeward

bundle, variant, inputs, outputs = sys.argv[1:]
with numpy.load(inputs) as split:
    x = split["x"]
model = edgeward.load(bundle, variant=variant)
answers = {"all": model.predict(x), "one": model.predict(x[:1])}


def work(samples):
    for _ in range(20):
        assert numpy.allclose(model.predict(x[:samples]), answers["all"][:samples], atol=1e-5)
    answers[f"thread {samples}"] = model.predict(x[:samples])


threads = [threading.Thread(target=work, args=(samples,)) for samples in (2, 5)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
numpy.savez(outputs, **answers)
files = {name for name in set(sys.modules) - already if getattr(sys.modules[name], "__file__", None)}
packages = {name.partition(".")[0] for name in files} - sys.stdlib_module_names
print(json.dumps({"packages": sorted(packages), "counted": model.latency.predictions}))
"""
_INSTALL = """
import json, sys
from pathlib import Path
from edgeward_runtimes.home import Home
from edgeward_runtimes.install.installer import install
import edgeward

installed = install(Home.default(), Path(sys.argv[1]))
reasons = {trial.check.id: trial.check.reason for trial in installed.selftest.trials}
print(json.dumps({"reasons": reasons, "chosen": edgeward.load(installed.name).variant.id}))
"""


@pytest.fixture(scope="session")
def device_python() -> Path:
    """The environment's Python."""
    return python_with("tflite-runtime", NEEDED)


@pytest.fixture
def run(device_python: Path, home: Home) -> Run:
    """Run a script there, with the device package alone on its path; gives the JSON that it prints."""
    thin = os.pathsep.join(str(REPOSITORY / folder) for folder in ("sdk", "runtimes"))

    def in_environment(script: str, *arguments: object) -> Any:
        command = [str(device_python), "-c", script, *map(str, arguments)]
        environment = {**os.environ, "PYTHONPATH": thin}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return in_environment


@pytest.mark.parametrize("variant", VARIANTS)
def test_tflite_runtime_answers_as_litert_does_and_needs_nothing_else(
    run: Run, digits: Path, tmp_path: Path, variant: str
) -> None:
    with np.load(digits / "evaluation.npz") as split:
        x = split["x"]
    told = run(_PREDICT, digits / "digits.edge", variant, digits / "evaluation.npz", tmp_path / "answers.npz")
    with edgeward.load(digits / "digits.edge", variant=variant) as model:
        expected = model.predict(x)
    with np.load(tmp_path / "answers.npz") as answers:
        for name, count in (("all", len(x)), ("one", 1), ("thread 2", 2), ("thread 5", 5)):
            _check_alike(answers[name], expected[:count], variant)
    assert told["packages"] == ["edgeward", "edgeward_runtimes", "msgspec", "numpy", "tflite_runtime"]
    assert told["counted"] == 2 + 2 * 21


def _check_alike(given: np.ndarray, expected: np.ndarray, variant: str) -> None:
    """Other kernels: floats differ in their last bits; a tie in an int8 layer may fall to the other side."""
    assert given.shape == expected.shape
    distance = np.abs(given - expected)
    if variant == "litert-fp32":
        assert distance.max() < 1e-5
    else:
        assert distance.max() < 0.1
        assert (distance <= 1 / 256).mean() > 0.995  # one step of the output


def test_a_device_with_tflite_runtime_alone_installs_what_it_can_run_and_says_what_it_cannot(
    run: Run, digits: Path
) -> None:
    told = run(_INSTALL, digits / "digits.edge")
    assert told["chosen"] in VARIANTS
    assert {name for name, reason in told["reasons"].items() if reason is None} == set(VARIANTS)
    assert "onnxruntime is not installed here" in told["reasons"]["onnxruntime-fp32"]
    assert "openvino is not installed here" in told["reasons"]["openvino-int8"]
