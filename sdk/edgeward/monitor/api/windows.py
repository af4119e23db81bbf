"""The window of a series: from when to when, and how many points at most."""

import time
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Query


@dataclass(frozen=True)
class Window:
    """From when to when, in Unix seconds, and how many points fit: what `history` takes."""

    since: float
    until: float
    at_most_points: int


def _window(
    since: Annotated[float | None, Query(description="Unix seconds; by default six hours before `until`")] = None,
    until: Annotated[float | None, Query(description="Unix seconds; by default now")] = None,
    points: Annotated[int, Query(ge=2, le=2000, description="At most so many points")] = 400,
) -> Window:
    end = time.time() if until is None else until
    return Window(end - 6 * 3600 if since is None else since, end, points)


WindowQuery = Annotated[Window, Depends(_window)]
