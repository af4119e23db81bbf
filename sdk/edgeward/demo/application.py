"""An application on a device: predicts pictures one at a time, as a camera would bring them.

    python -m edgeward.demo.application EVALUATION.npz [--every SECONDS]

Predicts each picture once and prints one JSON line with what it did; with `--every` it goes on over and over, one
picture per that many seconds, until it is told to stop.
"""

import argparse
import itertools
import json
import time

import numpy as np

import edgeward


def main() -> None:
    """Predict; see the module."""
    parser = argparse.ArgumentParser()
    parser.add_argument("evaluation")
    parser.add_argument("--every", type=float)
    options = parser.parse_args()
    with np.load(options.evaluation) as split:
        pictures, labels = split["x"], split["y"]
    with edgeward.load("digits") as model:
        if options.every:
            for index in itertools.cycle(range(len(pictures))):
                model.predict(pictures[index : index + 1])
                time.sleep(options.every)
        correct = 0
        for index, label in enumerate(labels):
            answer = np.asarray(model.predict(pictures[index : index + 1]))
            correct += int(answer.argmax() == label)
        print(json.dumps({"predictions": len(labels), "correct": correct, "variant": model.variant.id}))


if __name__ == "__main__":
    main()
