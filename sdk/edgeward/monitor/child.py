"""Child processes that never outlive their parent: `python -m edgeward.monitor.child MODULE ARGUMENT…`.

`start` gives the child a pipe for its stdin whose other end only the parent has: the kernel closes it when the parent
dies, however it dies, and the child then ends as if by SIGTERM. Only what `start` started minds its stdin; an
`edgeward monitor` or `edgeward agent` of a user's own, with /dev/null there, does not.
"""

import os
import runpy
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from typing import IO

_STOP_S = 10.0


def start(
    module: str,
    *arguments: str,
    environment: Mapping[str, str] | None = None,
    output: IO[bytes] | None = None,
) -> "subprocess.Popen[bytes]":
    """Run a module as `python -m` does; what it prints goes to `output`, by default to where ours goes."""
    command = [sys.executable, "-m", "edgeward.monitor.child", module, *arguments]
    return subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=output, stderr=output)


def stop(process: "subprocess.Popen[bytes]") -> None:
    """Ask a child to end, and kill it when it does not in time."""
    process.terminate()
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        kill(process)
    _let_go(process)


def kill(process: "subprocess.Popen[bytes]") -> None:
    """Kill -9 a child."""
    process.kill()
    process.wait()
    _let_go(process)


def _let_go(process: "subprocess.Popen[bytes]") -> None:
    if process.stdin is not None:
        process.stdin.close()


def main() -> None:
    """Be the child."""
    del sys.argv[0]
    threading.Thread(target=_end_with_parent, name="edgeward-parent", daemon=True).start()
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


def _end_with_parent() -> None:
    os.read(0, 1)  # nothing is ever sent: it returns at the end alone
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_STOP_S)
    os._exit(1)


if __name__ == "__main__":
    main()
