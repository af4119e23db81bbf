"""What a fresh process pays for one prediction, by edgeward and by the bare interpreter: time and memory.

pip compiles what it installs to byte code, and Python what it imports; but neither ours, where the install is editable
and the environment says PYTHONDONTWRITEBYTECODE: every process would compile our modules, and none the engine's. So all
these processes keep their byte code in one folder, which the turn that does not count fills.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from edgeward_runtimes.home import Home
from edgeward_runtimes.install import installer
from tests.benchmarks.timing import Turns, take_turns

_TURNS, _KEPT = 21, 11
_VARIANT = "litert-fp32"
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
model = edgeward.load({source!r}, variant={variant!r})
model.predict(numpy.zeros((1, 32, 32, 3), numpy.float32))
"""
_TELL_MEMORY = """
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmRSS")))
"""


class Processes:
    """Fresh processes that predict once: `raw`, and `edgeward`, `whole` and `installed` from what those open."""

    def __init__(self, litert: Path, whole: Path, artifact: Path, folder: Path) -> None:
        """Install a bundle on a device under `folder`.

        Args:
            litert: A bundle of LiteRT variants alone.
            whole: One with those of all engines.
            artifact: The file that the bare interpreter opens, of the variant that edgeward is asked for.
            folder: For the device and the byte code.
        """
        home = Home.under(folder / "device")
        installed = installer.install(home, litert)
        kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        self._environment = {**kept, **home.environment, "PYTHONPYCACHEPREFIX": str(folder / "bytecode")}
        sources = {"edgeward": str(litert), "whole": str(whole), "installed": installed.name}
        self._scripts = {
            "raw": _BARE.format(artifact=str(artifact)),
            **{side: _EDGEWARD.format(source=source, variant=_VARIANT) for side, source in sources.items()},
        }

    def cold_start_s(self) -> Turns:
        """Seconds from the start of a process to its end."""
        return self._turns(self._scripts, self._seconds)

    def resident_mb(self) -> Turns:
        """Megabytes resident after the first prediction."""
        return self._turns({side: script + _TELL_MEMORY for side, script in self._scripts.items()}, self._megabytes)

    def _turns(self, scripts: Mapping[str, str], measure: Callable[[str], float]) -> Turns:
        sides = {side: lambda script=script: measure(script) for side, script in scripts.items()}
        return take_turns(sides, _TURNS, _KEPT)

    def _seconds(self, script: str) -> float:
        start = time.perf_counter()
        self._run(script)
        return time.perf_counter() - start

    def _megabytes(self, script: str) -> float:
        return int(self._run(script)) / 1024

    def _run(self, script: str) -> str:
        command = [sys.executable, "-c", script]
        process = subprocess.run(command, env=self._environment, capture_output=True, text=True, check=False)
        if process.returncode != 0:
            raise SystemExit(f"a fresh process failed:\n{process.stderr}")
        return process.stdout
