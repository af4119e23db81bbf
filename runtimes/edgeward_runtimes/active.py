"""Everything that one prediction of a model needs: its release, its idle bindings, who counts it, who looks at it."""

import warnings
from _thread import allocate_lock
from collections.abc import Callable
from time import perf_counter_ns
from typing import TYPE_CHECKING

from edgeward_runtimes.binding import Binding, Inputs, Outputs
from edgeward_runtimes.errors import EngineError, InputError
from edgeward_runtimes.latency.recorder import Recorder
from edgeward_runtimes.release import Release

if TYPE_CHECKING:
    from edgeward_runtimes.model import Choice
    from edgeward_runtimes.observation.observer import Observer

_NEVER = 2**63
_UNOBSERVED_NS = 1_000_000_000  # the first second: what is needed to observe is imported after it


class Active:
    """Everything one prediction needs: the release in use, and its idle bindings.

    A prediction takes a binding and gives it back, so there are as many as ever ran at once, and none waits for
    another. Taking from and adding to a list are atomic.
    """

    def __init__(self, binding: Binding, recorder: Recorder, release: Release | None, choice: "Choice") -> None:
        idle = [binding]
        self.take: Callable[[], Binding] = idle.pop
        self.give_back = idle.append
        self.first = binding
        self.recorder = recorder
        self.count = recorder.success
        self.release = release
        self.choice = choice
        self.due = _NEVER  # when to look at a prediction next, as perf_counter_ns tells it
        self._folders: tuple[str | None, str | None] = (None, None)
        self._observer: Observer | None = None
        self._observing = allocate_lock()

    def observe_under(self, root: str, run: str) -> None:
        """Have samples of the predictions looked at, under a device's two folders."""
        self._folders = (root, run)
        self.due = perf_counter_ns() + _UNOBSERVED_NS

    def look(self, x: Inputs, answer: Outputs) -> None:
        """Look at a prediction. What goes wrong ends the observation, and no prediction."""
        try:
            observer = self.observer()
            due = observer.look(x, answer)
            if observer is self._observer:  # nobody ended it meanwhile
                self.due = due
        except Exception as error:
            self.due = _NEVER
            name = self.release.manifest.name if self.release else self.choice.id
            warnings.warn(f"{name} is not observed any more: {error}", RuntimeWarning, stacklevel=3)

    def observer(self) -> "Observer":
        """The release's observer, made when it is needed. Raises InputError for a model without a release, OSError."""
        with self._observing:
            if self._observer is None:
                if self.release is None:
                    raise InputError(f"{self.choice.id} was opened as a file: only a bundle's model takes feedback.")
                from edgeward_runtimes.observation.observer import Observer  # for those who predict for a while

                self._observer = Observer(self.release, *self._folders)
            return self._observer

    @property
    def accuracy(self) -> float | None:
        """The share of right ones among the latest answers that were judged."""
        return None if self._observer is None else self._observer.read().accuracy

    def stop_observing(self) -> None:
        """Let go of what was observed; it stays for the agent."""
        self.due, self._folders, self._observer = _NEVER, (None, None), None

    def failed(self, error: BaseException) -> EngineError:
        """Count a failure and say it."""
        self.recorder.failure()
        return EngineError(f"{self.choice.engine} failed to run {self.choice.id}: {error}")
