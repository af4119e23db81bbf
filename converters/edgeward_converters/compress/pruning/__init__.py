"""Pruning: the weights that matter least become zero, or whole channels go and the model shrinks.

    magnitude, n_m          element by element; shapes stay, so size falls where zeros compress and speed where an
                            engine has sparse kernels
    channels                structured; the model that comes out is a smaller model of the same kind, faster everywhere
    sensitivity             what each layer costs in the metric, by how much of it is removed

Nothing here imports a framework; `*_keras` and `*_torch` do, and are imported when a step runs.
"""

from edgeward_converters.compress.pruning.channels import PruneChannels
from edgeward_converters.compress.pruning.magnitude import PruneMagnitude
from edgeward_converters.compress.pruning.n_m import PruneNM

__all__ = ["PruneChannels", "PruneMagnitude", "PruneNM"]
