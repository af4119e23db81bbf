"""The same work on many devices at once; one that fails does not stop the others."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

from msgspec import Struct

from edgeward_runtimes.errors import DeviceError, EdgewardError
from edgeward_targets.device import Device

JOBS = 16
_Result = TypeVar("_Result")


class Outcome(Struct, Generic[_Result], frozen=True):
    """How it went on one device: its result, or what was wrong; and how long it took."""

    url: str
    result: _Result | None
    error: str | None
    seconds: float

    @property
    def is_success(self) -> bool:
        """Whether it worked."""
        return self.error is None

    def unwrap(self) -> _Result:
        """The result. Raises DeviceError with what was wrong where there is none."""
        if self.result is None:
            raise DeviceError(self.error or f"{self.url} gave no answer.")
        return self.result


def at_once(
    urls: Sequence[str],
    work: Callable[[Device], _Result],
    *,
    jobs: int = JOBS,
    ended: Callable[[Outcome[_Result]], None] = lambda outcome: None,
) -> list[Outcome[_Result]]:
    """Do `work` on every device, at most `jobs` at a time; return how it went, in the order of the URLs.

    `ended` is called, in the threads that do the work, as each one ends.
    """

    opened: list[Device] = []

    def one(url: str) -> Outcome[_Result]:
        outcome = _attempt(url, work, opened)
        ended(outcome)
        return outcome

    pool = ThreadPoolExecutor(max(1, min(jobs, len(urls))), "edgeward-device")
    try:
        return list(pool.map(one, urls))
    except BaseException:  # interrupted: what is under way is let go, so that its threads end
        for device in opened:
            device.close()
        raise
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _attempt(url: str, work: Callable[[Device], _Result], opened: list[Device]) -> Outcome[_Result]:
    begun = time.monotonic()
    result, error = None, None
    try:
        with Device(url) as device:
            opened.append(device)
            result = work(device)
    except (EdgewardError, OSError) as failure:
        error = str(failure)
    return Outcome(url, result, error, time.monotonic() - begun)
