"""The worker's side of `worker`, run as `python -m edgeward_converters.worker_process DESCRIPTOR`.

A module of its own that nothing imports: runpy warns of one that its own package has imported already.
"""

import faulthandler
import sys
from multiprocessing.connection import Connection
from typing import Any

from edgeward_converters import worker_progress
from edgeward_runtimes.errors import ConversionError, EdgewardError


def serve(connection: "Connection[Any, Any]") -> None:
    """Answer jobs until the parent is gone; what they tell meanwhile comes before the answer, marked None."""
    worker_progress.listen(lambda told: connection.send((None, told)))
    while True:
        try:
            function, arguments, options = connection.recv()
        except EOFError:
            return
        try:
            answer = (True, function(*arguments, **options))
        except EdgewardError as error:
            answer = (False, error)
        except ModuleNotFoundError as error:  # as it is, so that the command line can name the extra
            answer = (False, ModuleNotFoundError(str(error), name=error.name))
        except Exception as error:  # foreign code raises whatever it likes
            answer = (False, ConversionError(_one_line(error)))
        connection.send(answer)


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:300]}{'…' if len(text) > 300 else ''}"


if __name__ == "__main__":
    faulthandler.enable()
    # OpenVINO's converter and NNCF would send a report of each model to their maker.
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    serve(Connection(int(sys.argv[1])))
