"""One event loop for all connections of this process, in a thread of its own; callers wait in theirs."""

import asyncio
import logging
import threading
from collections.abc import Coroutine
from functools import cache
from typing import Any, TypeVar

_THREAD = "edgeward-transports"
_Result = TypeVar("_Result")


def wait(work: Coroutine[Any, Any, _Result]) -> _Result:
    """Run a coroutine on the loop and return its result; interrupted, the work is cancelled."""
    future = asyncio.run_coroutine_threadsafe(work, _loop())
    try:
        return future.result()
    except BaseException:
        future.cancel()
        raise


@cache
def _loop() -> asyncio.AbstractEventLoop:
    # A line that breaks is an error that its caller gets; asyncio would also log every write to it.
    logging.getLogger("asyncio").addFilter(lambda record: record.threadName != _THREAD)
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name=_THREAD, daemon=True).start()
    return loop
