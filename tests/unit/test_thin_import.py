"""`import edgeward` stays thin: it must cost no engine, no TensorFlow, no torch."""

import subprocess
import sys
from pathlib import Path

import pytest

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


def test_a_first_prediction_pays_for_nothing_that_it_does_not_need(digits: Path) -> None:
    imported = _imported_by(
        f"import edgeward, numpy; edgeward.load({str(digits / 'digits.edge')!r}, variant='litert-fp32')"
        ".predict(numpy.zeros((1, 8, 8, 1), numpy.float32))"
    )
    assert "ai_edge_litert.interpreter" in imported
    others = ("onnxruntime", "openvino", "tensorflow", "keras", "torch", *OPTIONAL)
    slow = ("asyncio", "concurrent.futures", "importlib.metadata", "email", "ssl")
    assert _loaded(imported, (*others, *slow)) == set()


def test_every_public_name_can_be_had() -> None:
    import edgeward

    for name in edgeward.__all__:
        assert getattr(edgeward, name) is not None
    assert set(dir(edgeward)) == set(edgeward.__all__)
    with pytest.raises(AttributeError, match="no attribute 'covnert'"):
        edgeward.covnert  # noqa: B018
