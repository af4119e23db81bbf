"""What a simulated fleet consists of: kinds of boards, models, and what is the matter with a few of the devices."""

import random

from msgspec import Struct


class Board(Struct, frozen=True):
    """A kind of board. `pace` multiplies latencies; `share` is how many of a fleet are of it, by weight."""

    target: str
    architecture: str
    share: int
    pace: float
    engine: str
    variant: str
    runs_on: str
    idle_w: float | None
    has_gpu: bool = False


class Model(Struct, frozen=True):
    """A model; `median_ms` is its latency on a board of pace 1."""

    name: str
    median_ms: float
    classes: int


class Fault(Struct, frozen=True):
    """What is the matter with some devices. `per_mille` is how many of a fleet have it.

    Attributes:
        pace: What latencies are multiplied by.
        warmer_c: Degrees above what its kind has.
        error_rate: Added to the fleet's.
        drift: Added to the drift score.
        away: The chance, at every report, that it falls silent without a word and stays away for a while.
    """

    name: str
    per_mille: int
    pace: float = 1.0
    warmer_c: float = 0.0
    error_rate: float = 0.0
    drift: float = 0.0
    away: float = 0.0


BOARDS = (
    Board("raspberrypi4", "aarch64", 40, 3.0, "litert", "litert-int8", "CPU", 3.4),
    Board("raspberrypi5", "aarch64", 25, 1.3, "litert", "litert-int8", "CPU", 3.9),
    Board("jetson-orin-nano", "aarch64", 15, 0.5, "onnxruntime", "onnxruntime-fp16", "CUDA", 6.1, has_gpu=True),
    Board("x86-64", "x86_64", 12, 0.4, "openvino", "openvino-int8", "CPU", None),
    Board("android-arm64", "aarch64", 8, 1.6, "litert", "litert-fp16", "GPU", None, has_gpu=True),
)
MODELS = (
    Model("visual-inspection", 14.0, 4),
    Model("keyword-spotting", 2.5, 12),
    Model("anomaly-detection", 0.8, 2),
    Model("person-detection", 9.0, 2),
    Model("meter-reading", 22.0, 10),
    Model("vibration", 1.6, 5),
)
HEALTHY = Fault("healthy", 0)
FAULTS = (
    Fault("slow", 25, pace=3.5),
    Fault("hot", 20, pace=1.6, warmer_c=28.0),
    Fault("failing", 15, error_rate=0.15),
    Fault("drifting", 20, drift=0.35),
    Fault("flaky", 20, away=0.05),
)


def models(count: int) -> tuple[Model, ...]:
    """So many models; those beyond what has a name of its own are numbered."""
    repeated = (MODELS[index % len(MODELS)] for index in range(count))
    return tuple(
        model
        if index < len(MODELS)
        else Model(f"{model.name}-{index // len(MODELS) + 1}", model.median_ms, model.classes)
        for index, model in enumerate(repeated)
    )


def board_of(chance: random.Random) -> Board:
    """A kind of board, as often as its share says."""
    return chance.choices(BOARDS, [board.share for board in BOARDS])[0]


def fault_of(chance: random.Random) -> Fault:
    """Mostly nothing is the matter."""
    healthy = 1000 - sum(fault.per_mille for fault in FAULTS)
    return chance.choices((HEALTHY, *FAULTS), [healthy, *(fault.per_mille for fault in FAULTS)])[0]
