"""Recipes are checked whole before a model is loaded, and each error names the step."""

from pathlib import Path

import numpy as np
import pytest

from edgeward_converters import convert
from edgeward_converters.compress import recipe
from edgeward_converters.compress.methods import METHODS
from edgeward_runtimes.errors import ConfigError

GOOD = """
variants = ["litert-int8"]

[[step]]
method = "fine_tune"
training = { epochs = 2, augmentation = "flip_and_shift" }
"""


def _written(folder: Path, text: str) -> Path:
    path = folder / "recipe.toml"
    path.write_text(text)
    return path


def test_a_recipe_says_the_same_as_a_file_a_mapping_or_itself(tmp_path: Path) -> None:
    read = recipe.read(_written(tmp_path, GOOD))
    assert read.variants == ("litert-int8",)
    assert read.step[0].training.epochs == 2
    assert recipe.read(read.as_dict()) == read == recipe.read(read)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("step = 3", r"\"step\" must be a list of tables; write each step as \[\[step\]\]"),
        ("[[step]]\nmethod = 'shrink'", r"step 1: there is no method 'shrink'; there are .*fine_tune"),
        ("[[step]]\nratio = 0.5", r"step 1: there is no method None"),
        ("[[step]]\nmethod = 'fine_tune'\nepoch = 1", r"step 1 \(fine_tune\): .*unknown field `epoch`"),
        (
            "[[step]]\nmethod = 'fine_tune'\n[[step]]\nmethod = 'fine_tune'\ntraining = {epochs = -1}",
            r"step 2 \(fine_tune\): Training needs epochs above 0; -1",
        ),
        ("variants = 'litert-int8'", r"Expected `array`, got `str` - at `\$.variants`"),
        ("varants = []", r"unknown field `varants`"),
        ("step = [", r"is no TOML file"),
    ],
)
def test_what_is_wrong_with_a_recipe_is_said_with_its_place(tmp_path: Path, text: str, message: str) -> None:
    path = _written(tmp_path, text)
    with pytest.raises(ConfigError, match=message) as caught:
        recipe.read(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_recipe_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.toml cannot be read: No such file"):
        recipe.read(tmp_path / "nowhere.toml")


def test_every_method_says_what_data_it_needs() -> None:
    required = {"prune_channels": {"ratio": 0.5}}
    for name in METHODS:
        (step,) = recipe.read({"step": [{"method": name, **required.get(name, {})}]}).step
        assert step.needs <= {"training", "unlabelled"}, name


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({}, r"give evaluation data \(--evaluation\)"),
        (
            {"evaluation": (np.zeros((4, 2)), np.zeros(4))},
            r"Step 1 of the recipe \(fine_tune\) needs labelled training data \(--training XY\.npz\)",
        ),
    ],
)
def test_missing_data_is_said_before_the_source_is_read(data: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        convert("never_read.keras", recipe={"step": [{"method": "fine_tune"}]}, **data)
