"""What a fresh process pays until its first prediction, by edgeward and by the bare interpreter: time and memory."""

import subprocess
import sys
import time
from pathlib import Path

from tests.benchmarks.timing import Turns, take_turns

_TURNS, _KEPT = 21, 11
_BARE = """
import numpy
from ai_edge_litert.interpreter import Interpreter
interpreter = Interpreter({artifact!r})
interpreter.allocate_tensors()
interpreter.set_tensor(interpreter.get_input_details()[0]["index"], numpy.zeros((1, 32, 32, 3), numpy.float32))
interpreter.invoke()
interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
"""
_EDGEWARD = """
import numpy
import edgeward
model = edgeward.load({bundle!r}, variant="litert-fp32")
model.predict(numpy.zeros((1, 32, 32, 3), numpy.float32))
"""
_TELL_MEMORY = """
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmRSS")))
"""


def cold_start_s(bundle: Path, artifact: Path) -> Turns:
    """Seconds from the start of a process to its end."""
    scripts = _scripts(bundle, artifact)
    return take_turns({side: lambda script=script: _seconds(script) for side, script in scripts.items()}, _TURNS, _KEPT)


def resident_mb(bundle: Path, artifact: Path) -> Turns:
    """Megabytes resident after the first prediction."""
    scripts = {side: script + _TELL_MEMORY for side, script in _scripts(bundle, artifact).items()}
    return take_turns(
        {side: lambda script=script: _megabytes(script) for side, script in scripts.items()}, _TURNS, _KEPT
    )


def _scripts(bundle: Path, artifact: Path) -> dict[str, str]:
    return {"edgeward": _EDGEWARD.format(bundle=str(bundle)), "raw": _BARE.format(artifact=str(artifact))}


def _seconds(script: str) -> float:
    start = time.perf_counter()
    _run(script)
    return time.perf_counter() - start


def _megabytes(script: str) -> float:
    return int(_run(script)) / 1024


def _run(script: str) -> str:
    process = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    if process.returncode != 0:
        raise SystemExit(f"a fresh process failed:\n{process.stderr}")
    return process.stdout
