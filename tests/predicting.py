"""Applications of a fleet in one process: `python -m tests.predicting MODEL PAUSE_S HOME…`.

A thread for each device predicts with the model that is installed there, again and again, following its releases, and
pauses between two predictions. When standard input ends it prints one JSON document: by home, how many predictions
were answered, by what factor the model multiplied, and how many failed by which release.
"""

import json
import os
import sys
import threading
from collections import Counter
from pathlib import Path

import numpy as np

import edgeward
from edgeward_runtimes.errors import EdgewardError
from edgeward_runtimes.home import Home

# Larger than the golden samples': a release may pass its self-test and still fail here.
INPUTS = np.array([[40.0, 2.0]], np.float32)


class Application:
    """One device's."""

    def __init__(self, name: str, home: Home) -> None:
        os.environ.update(home.environment)
        self._model = edgeward.load(name, watch=True)
        self.answered: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()

    def run(self, stopping: threading.Event, pause_s: float) -> None:
        """Predict until stopping."""
        while not stopping.wait(pause_s):
            try:
                answer = np.asarray(self._model.predict(INPUTS))
                self.answered[f"{float(answer[0, 1]) / 2:g}"] += 1
            except EdgewardError:
                self.failed[self._model.release or "?"] += 1
        self._model.close()


def main(name: str, pause_s: float, homes: list[str]) -> None:
    """Predict until standard input ends."""
    stopping = threading.Event()
    applications = {home: Application(name, Home.under(Path(home))) for home in homes}
    threads = [threading.Thread(target=each.run, args=(stopping, pause_s)) for each in applications.values()]
    for thread in threads:
        thread.start()
    print("predicting", flush=True)
    sys.stdin.read()
    stopping.set()
    for thread in threads:
        thread.join()
    print(json.dumps({home: {"answered": each.answered, "failed": each.failed} for home, each in applications.items()}))


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), sys.argv[3:])
