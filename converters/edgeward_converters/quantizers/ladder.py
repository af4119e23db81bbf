"""What is tried for a precision, one rung after another until one works. Pure.

Every quantized precision falls to int8, and int8 is one artifact per engine and conversion: static where there is
calibration data, else dynamic, else of the weights alone. So whatever falls, and from wherever, ends at the same
artifact. fp16 falls to fp32; nothing quantized ever falls to floats, which `fp32` in the same bundle gives honestly.
"""

from typing import Literal

from msgspec import Struct

PRECISIONS = ("fp32", "fp16", "int8", "int8_dynamic", "int16x8", "int4", "mixed")

# How an artifact is made. `corrected` is static with the biases corrected for what quantizing shifted, by another
# library; `given` is the source's own file. None where an engine has but one way.
Way = Literal["static", "corrected", "dynamic", "weights", "given"]


class Rung(Struct, frozen=True):
    """One artifact of an engine. `precision` is what it is: fp32, fp16, int8, int16x8, int4 or mixed."""

    precision: str
    way: Way | None = None

    def __str__(self) -> str:
        """As notes and reasons call it."""
        words = {
            "static": f"static {self.precision}",
            "corrected": f"static {self.precision} with corrected biases",
            "dynamic": f"dynamic {self.precision}",
            "weights": f"{self.precision} of the weights alone",
            "given": f"the source's own {self.precision}",
        }
        return self.precision if self.way is None else words[self.way]


FLOAT = Rung("fp32")
DYNAMIC = Rung("int8", "dynamic")
_INT8 = (Rung("int8", "static"), DYNAMIC, Rung("int8", "weights"))
# Where a second library can do the same, it is asked before the next kind.
_INT8_OF = {"onnxruntime": (Rung("int8", "static"), Rung("int8", "corrected"), DYNAMIC, Rung("int8", "weights"))}
_FIRST = {
    "fp32": FLOAT,
    "fp16": Rung("fp16"),
    "int8_dynamic": DYNAMIC,
    "int16x8": Rung("int16x8", "static"),
    "int4": Rung("int4"),
    "mixed": Rung("mixed"),
}


def ladder(engine: str, precision: str, *, calibrated: bool, given: str = "fp32") -> tuple[Rung, ...]:
    """The rungs for a precision that was asked for, the one wanted first.

    Args:
        engine: The engine's name.
        precision: One of PRECISIONS.
        calibrated: Whether there is calibration data; without it int8 is dynamic to begin with.
        given: The source's own precision; what is quantized already stays as it is.
    """
    if given != "fp32":
        return (Rung(given, "given"),)
    if precision == "fp32":
        return (FLOAT,)
    if precision == "fp16":
        return (_FIRST["fp16"], FLOAT)
    int8 = [rung for rung in _INT8_OF.get(engine, _INT8) if calibrated or rung.way not in ("static", "corrected")]
    first = [_FIRST[precision]] if precision in _FIRST else []
    return tuple(dict.fromkeys([*first, *int8]))


def called(rung: Rung, asked: str) -> str:
    """The precision in the id of a variant: the rung's own, but int8_dynamic for who asked for it and got it."""
    return asked if asked == "int8_dynamic" and rung == DYNAMIC else rung.precision
