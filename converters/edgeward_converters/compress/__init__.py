"""Compression: steps that make a model smaller or faster, in the order of a recipe, on live Keras or PyTorch models.

step      what a step is, and what it is given
recipe    TOML to steps, checked before anything runs
methods   every step by name
run       a recipe's steps one after another, each stage measured
training  fine-tuning, which the steps share
counting  parameters and multiply-accumulates

Each method has a folder: its struct, which says what a recipe may ask, and what it does in either framework.
"""

from collections.abc import Callable
from typing import Any

from edgeward_converters.compress import recipe as recipes
from edgeward_converters.compress import run
from edgeward_converters.compress.recipe import GivenRecipe, Recipe
from edgeward_converters.compress.run import Material, Told
from edgeward_converters.compress.step import Trainable
from edgeward_converters.data import Calibration, Evaluation
from edgeward_converters.report import StageRow

__all__ = ["Recipe", "StageRow", "compress"]


def compress(
    model: Any,
    recipe: GivenRecipe,
    *,
    training: Evaluation | None = None,
    calibration: Calibration | None = None,
    metric: str = "accuracy",
    max_drop: float = 0.01,
    seed: int = 0,
    progress: Callable[[Told], None] = lambda told: None,
) -> tuple[Any, tuple[StageRow, ...]]:
    """Take a recipe's steps on a live model, here in this process.

    Args:
        model: A keras.Model, or `(module, example_inputs)` of PyTorch; it stays as it is.
        recipe: A TOML file, a mapping of its keys, or a `Recipe`; its variants are not made.
        training: Inputs with `y`, as `convert` takes them.
        calibration: Inputs without.
        metric, max_drop, seed: As for `convert`.
        progress: Called with how far a step is.

    Returns:
        What is left, of the same kind as `model`, and the parameters, multiply-accumulates and metric of every stage.

    Raises:
        ConfigError: When the recipe is wrong, or asks for what the model has not.
        InputError: When the data does not fit.
        ConversionError: When a step fails.
    """
    steps = recipes.read(recipe).step
    given = run.of_pair(model) if isinstance(model, tuple) else Trainable("keras", model)
    data = run.read_data(given, calibration, training)
    material = Material(data.training, data.calibration, None, metric, max_drop, seed)
    left, stages = run.compress_live(run.duplicate(given), steps, material, progress)
    return (left.module, left.examples) if left.framework == "torch" else left.module, stages
