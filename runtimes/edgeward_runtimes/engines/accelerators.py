"""What an engine runs on beside the CPU: the names that users give, and what becomes of them. Pure.

    tensorrt, cuda     NVIDIA, through ONNX Runtime's execution providers
    openvino           Intel, through ONNX Runtime's execution provider
    gpu, npu           whatever the machine has, through LiteRT or OpenVINO
    delegate:LIBRARY   any LiteRT delegate, by its shared library (delegate:libedgetpu.so.1)

The CPU is always the last and need not be named. An accelerator that an engine does not know is meant for another
engine; one that it knows, but that is not here, is a warning and never an error.
"""

from collections.abc import Collection, Iterable, Mapping

from edgeward_runtimes.errors import ConfigError

NAMES = ("tensorrt", "cuda", "openvino", "gpu", "npu")
DELEGATE = "delegate:"
_LONGEST_WARNING = 200


def parse(text: str) -> tuple[str, ...]:
    """The accelerators of a comma-separated list, `cpu` left out. Raises ConfigError that lists those there are."""
    named = tuple(name for name in (each.strip() for each in text.split(",")) if name and name != "cpu")
    return check(named)


def check(named: Iterable[str]) -> tuple[str, ...]:
    """The accelerators, without repetitions. Raises ConfigError that lists those there are."""
    for name in named:
        if name not in NAMES and not (name.startswith(DELEGATE) and name != DELEGATE):
            raise ConfigError(f"There is no accelerator {name!r}; there are {', '.join(NAMES)} and {DELEGATE}LIBRARY.")
    return tuple(dict.fromkeys(named))


def settle(
    asked: Iterable[str], known: Mapping[str, str], available: Collection[str]
) -> tuple[tuple[str, ...], list[str]]:
    """What an engine shall try, and why not the rest.

    Args:
        asked: Accelerators, best first.
        known: Those that the engine has, with the engine's own names for them.
        available: The engine's names of what is on this machine.
    """
    usable, refused = [], []
    for name in asked:
        if name in known and known[name] in available:
            usable.append(name)
        elif name in known:
            refused.append(f"{name} is not here (the engine offers {', '.join(sorted(available)) or 'nothing'})")
    return tuple(usable), refused


def warning(engine: str, refused: Iterable[str], runs_on: Iterable[str]) -> str | None:
    """The sentence that tells what was asked for and does not run, cut to what telemetry takes; or None."""
    reasons = "; ".join(refused)
    if not reasons:
        return None
    sentence = f"{engine} runs on {', '.join(runs_on)}: {reasons}"
    return sentence if len(sentence) <= _LONGEST_WARNING else f"{sentence[: _LONGEST_WARNING - 1]}…"
