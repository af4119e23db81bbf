"""Watches one process's predictions with one release: counts samples of them, and keeps those that are asked for.

A look takes its time from the thread that predicts, so there are ten a second at most, and they take a hundredth of the
time at most. What is counted lies in mapped memory (see `files`).
"""

import os
import time
import warnings
import weakref
from _thread import _local, allocate_lock
from time import perf_counter_ns
from typing import Any

from edgeward_runtimes.engines import StrPath
from edgeward_runtimes.observation import capture, files, settings
from edgeward_runtimes.observation import reference as references
from edgeward_runtimes.observation.capture import Ring, Sample
from edgeward_runtimes.observation.looking import Looking, Seen, reason_of
from edgeward_runtimes.observation.reference import Reference
from edgeward_runtimes.observation.settings import Capture, Settings
from edgeward_runtimes.observation.tally import Counts, Tally
from edgeward_runtimes.release import Release

ALWAYS = 0  # a time that is always past
_EVERY_NS = 100_000_000
_SHARE = 100  # of the time, one part is spent looking
_SETTINGS_EVERY_S = 2.0


class Observer:
    """Safe to share between threads; a look that would have to wait is not taken."""

    def __init__(self, release: Release, root: StrPath | None, run: StrPath | None) -> None:
        """Count under the device's two folders, or in private memory without them."""
        self._model, self._release = release.manifest.name, release.id
        self._root, self._run = root, run
        self._looking = Looking(release.manifest, _reference(release))
        self._latest = _local()  # per thread: `answer`, and `kept`, the sample in it that was kept, if one was
        self._remembers = False
        self._turn, self._owed = 0, 0.0
        self._open()
        _observers.add(self)

    def _open(self) -> None:
        self._lock = allocate_lock()
        self._due = 0
        self._settings, self._settings_due = Settings(), 0.0
        self._ring: Ring | None = None
        layout = self._looking.layout
        memory: Any = bytearray(layout.size_bytes)
        if self._run is not None:
            mapped, start = files.create(settings.counted(self._run), self._model, self._release, layout)
            memory = memoryview(mapped)[start:]
        self._memory = memory
        self._counts = Counts(layout, memory)

    def look(self, x: Any, answer: Any) -> int:
        """Take note of a prediction; gives from when on (`perf_counter_ns`) to be told of the next one."""
        if self._remembers:
            self._latest.answer, self._latest.kept = answer, None
        start = perf_counter_ns()
        if start >= self._due and self._lock.acquire(False):
            try:
                self._look(x, answer)
                end = perf_counter_ns()
                self._due = end + max(_EVERY_NS, _SHARE * (end - start))
            finally:
                self._lock.release()
        return ALWAYS if self._remembers else self._due

    def feedback(self, y_true: Any, answer: Any) -> int:
        """Judge an answer, by default this thread's latest; gives how many samples were judged. Raises InputError.

        From the first feedback without an answer on, answers are remembered.
        """
        kept = None
        if answer is None or answer is getattr(self._latest, "answer", None):
            answer, kept = getattr(self._latest, "answer", None), getattr(self._latest, "kept", None)
            self._remembers = True
            self._latest.answer = self._latest.kept = None
            if answer is None:
                return 0
        truth, are_right = self._looking.judged(y_true, answer)
        with self._lock:
            for is_right in are_right.tolist():
                self._counts.judge(is_right)
        if kept is not None:
            place, path = kept
            capture.label(path, int(truth[place % len(truth)]))
        return len(truth)

    def read(self) -> Tally:
        """What this process has counted."""
        return self._looking.layout.read(bytes(self._memory))

    def _look(self, x: Any, answer: Any) -> None:
        if time.monotonic() >= self._settings_due:
            self._obey_settings()
        self._turn += 1
        seen = self._looking.at(self._turn, x, answer)
        self._counts.count(seen.bins, seen.confidence)
        if self._settings.capture is not None and self._ring is not None:
            self._capture(seen, self._settings.capture, self._ring)

    def _obey_settings(self) -> None:
        self._settings_due = time.monotonic() + _SETTINGS_EVERY_S
        if self._root is None:
            return
        found = settings.read(self._root, self._model)
        if found.reset != self._counts.reset:
            self._counts.begin_anew(found.reset)
        if found != self._settings:
            self._settings = found
            folder = settings.captured(self._root, self._model)
            self._ring = None if found.capture is None else Ring(folder, found.capture)

    def _capture(self, seen: Seen, wanted: Capture, ring: Ring) -> None:
        self._owed += wanted.rate
        reason = reason_of(seen, wanted, is_due=self._owed >= 1)
        self._owed = min(self._owed, 1.0) - (reason == "sampled")
        if reason is None:
            return
        inputs, outputs = (
            {name: capture.pack(array[0]) for name, array in arrays.items()} for arrays in (seen.inputs, seen.outputs)
        )
        sample = Sample(time.time_ns(), self._release, reason, seen.confidence, inputs, outputs)
        try:
            path = ring.keep(sample)
        except OSError as error:
            warnings.warn(f"Samples of {self._model} are not kept: {error}.", RuntimeWarning, stacklevel=2)
            self._ring = None
            return
        if self._remembers and path is not None:
            self._latest.kept = (self._turn, path)

    def _reopen_in_child(self) -> None:
        """After fork: leave the parent's file to the parent and count in one of our own."""
        self._open()


def _reference(release: Release) -> Reference | None:
    """The bundle's reference; None where it has none, or one of another edgeward's."""
    try:
        with open(release.place(references.FILE), "rb") as stream:
            return references.decode(stream.read())
    except (OSError, ValueError):
        return None


_observers: "weakref.WeakSet[Observer]" = weakref.WeakSet()


def _after_fork() -> None:
    for observer in list(_observers):
        try:
            observer._reopen_in_child()
        except OSError:
            observer._due = 2**63  # no room for a file: this process is not observed


os.register_at_fork(after_in_child=_after_fork)
