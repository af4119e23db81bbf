"""Every refusal leaves one line of warning, which the agent passes on to the fleet's operators."""

import contextlib
import logging
from collections.abc import Iterator

from edgeward_runtimes.errors import EdgewardError

_log = logging.getLogger("edgeward.update")
_log.addHandler(logging.NullHandler())  # a command line that has no log shows the error itself, and once


@contextlib.contextmanager
def noting(what: str) -> Iterator[None]:
    """Note why `what` was refused, and let the error go on."""
    try:
        yield
    except EdgewardError as error:
        _log.warning("%s was refused (%s): %s", what, type(error).__name__, error)
        raise
