"""What may be tried: variants, how a mixed precision is searched, and steps before it. Pure, but for Optuna's trial.

A recipe is a plain dict; `convert` takes its `step` and `variants`, and `quantizers.Mixed` its `mixed`.
"""

from collections.abc import Sequence
from typing import Any

from edgeward_converters import exporters
from edgeward_converters.quantizers.ladder import PRECISIONS

_NOT_SEARCHED = {"fp32", "int16x8"}  # the source itself; reference kernels
_LACKING = {"openvino-int8_dynamic"}  # OpenVINO quantizes no activations while running
SEARCHED = tuple(
    f"{engine}-{precision}"
    for engine in exporters.SUFFIX
    for precision in PRECISIONS
    if precision not in _NOT_SEARCHED and f"{engine}-{precision}" not in _LACKING
)
_LITERT_BITS = [4, 8, 32]  # 16 runs in LiteRT's reference kernels, many times slower: no point of a front
_SHARES = (1.0, 0.7, 0.4)
_EPOCHS = 2.0


def known(variants: Sequence[str], *, has_steps: bool) -> list[dict[str, Any]]:
    """The parameters of the first trials: what is usually on the front."""
    mixed = [{"share": 1.0, "activations": "dynamic"}, {"share": 1.0, "activations": "static"}]
    first: list[dict[str, Any]] = [{"variant": "litert-mixed", **each} for each in mixed]
    first += [{"variant": each} for each in ("litert-int8", "onnxruntime-int8", "openvino-int8")]
    first.insert(1, first.pop(2))  # the fastest second, so that few trials have both ends
    steps = {"ratio": 0.0, "energy": 1.0, "distill": False, "quantization_aware": False} if has_steps else {}
    return [{**each, **steps} for each in first if each["variant"] in variants]


def suggest(trial: Any, variants: Sequence[str], *, has_steps: bool) -> dict[str, Any]:
    """A recipe of Optuna's choice.

    Args:
        trial: An optuna.trial.Trial.
        variants: The ids to choose from.
        has_steps: Whether the source can be trained, so that steps may go before.
    """
    variant = trial.suggest_categorical("variant", list(variants))
    recipe: dict[str, Any] = {"step": _steps(trial) if has_steps else [], "variants": [variant]}
    if variant.endswith("-mixed"):
        recipe["mixed"] = {"share": trial.suggest_categorical("share", _SHARES)}
        if variant == "litert-mixed":
            recipe["mixed"]["bits"] = _LITERT_BITS
            recipe["mixed"]["activations"] = trial.suggest_categorical("activations", ("dynamic", "static"))
    return recipe


def _steps(trial: Any) -> list[dict[str, Any]]:
    """Smaller first, then taught by the source, then used to few bits; a step at its neutral value is left out."""
    steps: list[dict[str, Any]] = []
    ratio = trial.suggest_float("ratio", 0.0, 0.7, step=0.1)
    energy = trial.suggest_categorical("energy", (1.0, 0.99, 0.95, 0.9))
    if ratio > 0:
        steps.append({"method": "prune_channels", "ratio": round(ratio, 2)})
    if energy < 1:
        steps.append({"method": "factorize", "energy": energy})
    if trial.suggest_categorical("distill", (False, True)) or steps:
        steps.append({"method": "distill", "training": {"epochs": _EPOCHS}})
    if trial.suggest_categorical("quantization_aware", (False, True)):
        steps.append({"method": "quantization_aware", "training": {"epochs": _EPOCHS / 2}})
    return steps
