"""A process for foreign code: converters and quantizers may crash natively, and only their own variant falls.

The parent sends a function and its arguments, the worker answers with the result or the error. The worker stays warm
between jobs, so TensorFlow is imported once. When it dies, the job gets a WorkerCrashError with the signal's name and
the next job a fresh worker. What libraries print goes to a log, never to our stdout.

The worker is `python -m edgeward_converters.worker_process`, not multiprocessing's: that would import the user's own
script again. Messages are pickled, between these two processes of one user alone.
"""

import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any, ParamSpec, TypeVar, cast

from edgeward_runtimes.errors import WorkerCrashError

P = ParamSpec("P")
R = TypeVar("R")

_QUIET = {"TF_CPP_MIN_LOG_LEVEL": "2", "KERAS_BACKEND": "tensorflow", "TQDM_DISABLE": "1", "CUDA_VISIBLE_DEVICES": "-1"}
_PROCESS = "edgeward_converters.worker_process"
_LONGEST_WORDS = 300


class Worker:
    """Runs functions in another process, one at a time."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection[Any, Any] | None = None
        self._log = tempfile.NamedTemporaryFile(prefix="edgeward-worker-", suffix=".log")  # noqa: SIM115
        # A killed process leaves its temporary files behind; in a folder of their own they go with the worker.
        self._scratch = tempfile.TemporaryDirectory(prefix="edgeward-worker-")
        self._job_start = 0

    def run(self, function: Callable[P, R], *arguments: P.args, **options: P.kwargs) -> R:
        """Call a module's function in the worker and return its result.

        Raises:
            WorkerCrashError: When the worker died of it; the message names the signal.
            ConversionError: When the function raised; EdgewardErrors and ModuleNotFoundErrors come as they are.
        """
        return self.run_heard(_unheard, function, *arguments, **options)

    def run_heard(
        self, listener: Callable[[Any], None], function: Callable[P, R], *arguments: P.args, **options: P.kwargs
    ) -> R:
        """As `run`; the listener is called here with whatever the function tells there (`worker_progress.tell`)."""
        self._job_start = Path(self._log.name).stat().st_size
        connection = self._running()
        try:
            connection.send((function, arguments, options))
            succeeded, answer = connection.recv()
            while succeeded is None:
                listener(answer)
                succeeded, answer = connection.recv()
        except (EOFError, ConnectionError):
            raise WorkerCrashError(self._obituary()) from None
        if succeeded:
            return cast(R, answer)
        raise answer

    def close(self) -> None:
        """End the worker."""
        self._stop()
        self._log.close()
        self._scratch.cleanup()

    def __enter__(self) -> "Worker":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _running(self) -> "Connection[Any, Any]":
        if self._connection is None:
            ours, theirs = socket.socketpair()
            with theirs:
                self._process = subprocess.Popen(
                    [sys.executable, "-u", "-m", _PROCESS, str(theirs.fileno())],
                    env={
                        **os.environ,
                        **_QUIET,
                        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
                        "TMPDIR": self._scratch.name,
                    },
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    stdout=self._log,
                    stderr=self._log,
                )
            self._connection = Connection(ours.detach())
        return self._connection

    def _obituary(self) -> str:
        code = self._process.wait() if self._process is not None else 0
        self._stop()
        log = Path(self._log.name).read_bytes()[self._job_start :].decode(errors="replace")
        return f"a native crash ({ended_by(code)}) in the worker process{_last_words(log, code)}"

    def _stop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def _unheard(told: Any) -> None:
    """Where nobody listens."""


def ended_by(code: int) -> str:
    """What ended a process with this return code: the signal's name, or the exit code."""
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"


def _last_words(log: str, code: int) -> str:
    """What a job's log says of its end, or nothing.

    Python's fault handler adds a "Fatal Python error" and pages of stacks. That line is what there is to say, but for
    a program that aborted: it gave its reason just before.
    """
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    fatal = next((index for index, line in enumerate(lines) if line.startswith("Fatal Python error")), None)
    if fatal is None:
        words = lines[-1:]
    elif code == -signal.SIGABRT and fatal > 0:
        words = lines[fatal - 1 : fatal]
    else:
        words = lines[fatal : fatal + 1]
    return f"; it last said: {words[0][:_LONGEST_WORDS]}" if words else ""
