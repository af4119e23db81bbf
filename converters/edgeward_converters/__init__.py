"""From a trained model to a bundle of proved variants; runs on the host alone.

options    what was asked for, checked before anything runs
sources    what the user trained, and its answers
exporters  source → one engine's float artifact
quantizers float artifact → int8 artifact
evaluate   an artifact's metric, golden comparison and latency, by the runtime of the device
gate       what is kept, and why not
report     what happened, to read and to look at
pipeline   all of it in order; every step that runs foreign code runs in a `worker` process
"""

from edgeward_converters.pipeline import Conversion, convert
from edgeward_converters.report import Outcome, Report
from edgeward_converters.worker import Worker

__all__ = ["Conversion", "Outcome", "Report", "Worker", "convert"]
