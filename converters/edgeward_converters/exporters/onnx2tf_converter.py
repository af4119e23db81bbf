"""The process that runs onnx2tf, from this side: jobs go to `onnx2tf_process` by a pipe, and answers come back."""

import json
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import IO, Any, cast

from edgeward_converters.exporters import onnx2tf_environment
from edgeward_converters.worker import ended_by
from edgeward_runtimes.errors import ConversionError, one_line

_PROCESS = Path(__file__).with_name("onnx2tf_process.py")


class Converter:
    """The process of onnx2tf; started anew when a job has crashed it."""

    def __init__(self) -> None:
        self._python = str(onnx2tf_environment.python())
        self._log = tempfile.TemporaryFile()  # noqa: SIM115
        self._process = self._start()

    def __enter__(self) -> "Converter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()
        self._log.close()

    def run(self, job: str, **arguments: Any) -> None:
        """Run one job of `onnx2tf_process`. Raises ConversionError with what it said."""
        stdin, stdout = cast(IO[str], self._process.stdin), cast(IO[str], self._process.stdout)  # pipes, as it started
        try:
            stdin.write(json.dumps({"do": job, "with": arguments}) + "\n")
            stdin.flush()
            answer = stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            reason = self._obituary()
            self._process = self._start()
            raise ConversionError(reason)
        reason = json.loads(answer)
        if reason is not None:
            raise ConversionError(one_line(reason))

    def _start(self) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [self._python, "-I", str(_PROCESS)],
            env=onnx2tf_environment.clean_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )

    def _end(self) -> None:
        self._process.kill()
        self._process.communicate()

    def _obituary(self) -> str:
        """What a process that is gone said last."""
        self._process.wait()
        self._log.seek(0)
        said = [line for line in self._log.read().decode(errors="replace").splitlines() if line.strip()]
        cause = ended_by(self._process.returncode)
        return f"onnx2tf's process ended with {cause}" + (f": {said[-1][:200]}" if said else "")
