"""Trials on this machine, or on all of a Ray cluster. Results come in the recipes' order, whoever is done first."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from edgeward_converters.tune.laboratory import Assignment, Files, Laboratory, Place
from edgeward_converters.tune.trials import Result
from edgeward_runtimes.errors import ConfigError, one_line

Job = tuple[int, dict[str, Any]]  # place and recipe


class Crew(Protocol):
    """Does trials."""

    def results(self, jobs: Sequence[Job]) -> Iterator[tuple[Result, Files]]:
        """Do the trials and give their results in the same order, each as soon as it and those before are done."""
        ...


class _Here:
    def __init__(self, laboratory: Laboratory) -> None:
        self._laboratory = laboratory

    def results(self, jobs: Sequence[Job]) -> Iterator[tuple[Result, Files]]:
        for place, recipe in jobs:
            yield self._laboratory.run(place, recipe)


class _Cluster:
    """One laboratory per CPU of the cluster, as a Ray actor, up to so many."""

    def __init__(self, ray: Any, assignment: Assignment, most: int) -> None:
        self._ray = ray
        remote = ray.remote(num_cpus=1)(Laboratory)
        shared = ray.put(assignment)
        count = max(1, min(most, int(ray.cluster_resources().get("CPU", 1))))
        self._actors = [remote.remote(shared) for _ in range(count)]

    def results(self, jobs: Sequence[Job]) -> Iterator[tuple[Result, Files]]:
        waiting = [self._actors[index % len(self._actors)].run.remote(*job) for index, job in enumerate(jobs)]
        for each in waiting:
            try:
                result, files = self._ray.get(each)
            except self._ray.exceptions.RayError as error:
                raise ConfigError(f"A Ray worker failed: {one_line(error)}") from error
            yield result, files


@contextmanager
def crew(workers: str | None, assignment: Assignment, place: Place, most: int) -> Iterator[Crew]:
    """Those who do the trials.

    Args:
        workers: None for this process; `ray` for this machine's CPUs or the cluster that $RAY_ADDRESS names; `ray://…`
            for a cluster by its address. Every machine must have the source at the same path, and edgeward.
        assignment: What they work on.
        place: Where its source is described in this process.
        most: How many trials are done at a time, at most.

    Raises:
        ConfigError: When the cluster cannot be reached.
    """
    if workers is None:
        with Laboratory(assignment, place) as laboratory:
            yield _Here(laboratory)
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # else it reports to its maker
    import ray

    try:
        ray.init(address=None if workers == "ray" else workers, include_dashboard=False, log_to_driver=False)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise ConfigError(f"The Ray cluster {workers} cannot be reached: {one_line(error)}") from error
    try:
        yield _Cluster(ray, assignment, most)
    finally:
        ray.shutdown()
