"""`import edgeward` stays thin: it must cost no engine, no TensorFlow, no torch."""

import subprocess
import sys
from pathlib import Path

import pytest

from edgeward_runtimes.home import Home
from edgeward_runtimes.install import installer

HEAVY = ("tensorflow", "keras", "torch", "onnxruntime", "openvino", "ai_edge_litert", "tflite_runtime", "onnx", "nncf")
OPTIONAL = ("paho", "psutil", "google.protobuf", "typer", "rich", "fastapi", "nicegui", "sqlalchemy", "matplotlib")


def _imported_by(statement: str) -> set[str]:
    command = [sys.executable, "-X", "importtime", "-c", statement]
    trace = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    return {line.rpartition("|")[2].strip() for line in trace.splitlines() if line.startswith("import time:")}


def _loaded(imported: set[str], packages: tuple[str, ...]) -> set[str]:
    return {name for name in imported if any(name == package or name.startswith(f"{package}.") for package in packages)}


def test_import_edgeward_loads_nothing_heavy() -> None:
    imported = _imported_by("import edgeward")
    assert "edgeward" in imported
    assert _loaded(imported, (*HEAVY, *OPTIONAL, "numpy", "msgspec")) == set()


def test_the_device_package_needs_numpy_and_msgspec_alone() -> None:
    imported = _imported_by("import edgeward; edgeward.load; edgeward.Bundle; edgeward.InputError")
    assert {"numpy", "msgspec"} <= imported
    assert _loaded(imported, (*HEAVY, *OPTIONAL)) == set()


# Of the standard library and of ours: each costs a first prediction a millisecond or more, or a megabyte.
SLOW = ("asyncio", "concurrent.futures", "importlib.metadata", "email", "ssl", "hashlib", "_hashlib", "json")
SLOW_FILES = ("zipfile", "tempfile", "shutil", "pathlib", "random", "bz2", "lzma", "threading", "numpy.typing")


@pytest.mark.parametrize("source", ["bundle", "installed"])
def test_a_first_prediction_pays_for_nothing_that_it_does_not_need(digits: Path, home: Home, source: str) -> None:
    path = digits / "digits.edge"
    if source == "installed":
        installer.install(home, path)
    named = "digits" if source == "installed" else str(path)
    imported = _imported_by(
        f"import edgeward, numpy; edgeward.load({named!r}, variant='litert-fp32')"
        ".predict(numpy.zeros((1, 8, 8, 1), numpy.float32))"
    )
    assert "ai_edge_litert.interpreter" in imported
    others = ("onnxruntime", "openvino", "tensorflow", "keras", "torch", *OPTIONAL)
    engine_alone = _imported_by("import numpy, ai_edge_litert.interpreter")
    assert _loaded(imported - engine_alone, (*others, *SLOW, *SLOW_FILES)) == set()


def test_every_public_name_can_be_had() -> None:
    import edgeward

    for name in edgeward.__all__:
        assert getattr(edgeward, name) is not None
    assert set(dir(edgeward)) == set(edgeward.__all__)
    with pytest.raises(AttributeError, match="no attribute 'covnert'"):
        edgeward.covnert  # noqa: B018


def test_openvino_reports_to_nobody() -> None:
    code = (
        "import sys, threading, edgeward_runtimes.engines.openvino; "
        "assert sys.modules['openvino_telemetry'] is None; assert threading.active_count() == 1"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
