"""A third-party engine, as a plug-in package would bring it: it multiplies by a number written in the artifact.

The artifact is JSON: `{"factor": 2.0, "batch": 4, "scale": 0.5, "zero_point": 3, "sleep_s": 0.1, "fail": "why",
"fail_above": 30, "crash": true}`; all but the factor are optional.
"""

import json
import os
import signal
import time
from pathlib import Path

import numpy as np

from edgeward_runtimes.engines import Options, Placement, Port


class MultiplyEngine:
    """The entry point's object."""

    def open(self, artifact: Path, options: Options) -> "MultiplySession":
        return MultiplySession(json.loads(artifact.read_text()))


class MultiplySession:
    placement = Placement()

    def __init__(self, settings: dict) -> None:
        self._settings = settings
        self._scale, self._zero_point = settings.get("scale"), settings.get("zero_point", 0)
        dtype = "int8" if self._scale else "float32"
        shape = (settings.get("batch"), 2)
        self.inputs = (Port("x", shape, dtype, self._scale, self._zero_point),)
        self.outputs = (Port("y", shape, dtype, self._scale, self._zero_point),)
        self._shapes: tuple = ()

    def prepare(self, shapes) -> None:
        self._shapes = shapes

    def another(self) -> "MultiplySession":
        return MultiplySession(self._settings)

    def run(self, inputs, keep):
        if self._settings.get("crash"):
            os.kill(os.getpid(), signal.SIGSEGV)
        if self._settings.get("fail"):
            raise RuntimeError(self._settings["fail"])
        time.sleep(self._settings.get("sleep_s", 0))
        (x,) = inputs
        if x.max() > self._settings.get("fail_above", np.inf):
            raise RuntimeError("an input is too large")
        assert x.dtype == self.inputs[0].dtype
        assert (x.shape,) == self._shapes
        factor = self._settings["factor"]
        if self._scale is None:
            return [x * np.float32(factor)]
        real = (x.astype(np.float32) - self._zero_point) * self._scale * factor
        return [np.clip(np.rint(real / self._scale) + self._zero_point, -128, 127).astype(np.int8)]
