"""Teachers and students that are not the recipe's own model, and whether teacher and student fit each other."""

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from edgeward_converters.compress.step import Trainable
from edgeward_converters.compress.training import predict
from edgeward_converters.data import Arrays
from edgeward_converters.sources.recognize import Given, recognize
from edgeward_runtimes.errors import ConfigError, EdgewardError, one_line

Role = Literal["teacher", "student"]


def load(named: str, role: Role, like: Trainable, seed: int) -> Trainable:
    """A model by its path, or by `module:function` of the user's own code.

    Args:
        named: A `.keras` or `.h5` file, a `.pt2` file (a teacher alone: it cannot be trained), or `module:function`,
            which gives a keras.Model, or `(module, example_inputs)` of PyTorch.
        role: A student is given the names of the inputs and outputs of `like`.
        like: The recipe's model, whose framework it must be of.
        seed: For the weights that the user's own code draws.

    Raises:
        ConfigError: When it is of another framework, or cannot serve in that role.
        SourceError: When it cannot be read.
    """
    _seed(like, seed)
    found = _loaded(recognize(named, Path()), role)
    if found.framework != like.framework:
        raise ConfigError(
            f"The {role} {named} is a model of {found.framework}, the recipe's model one of {like.framework}; "
            "use two of the same framework."
        )
    return found if role == "teacher" else _as_named(found, named, like)


def check_fit(teacher: Trainable, student: Trainable, inputs: Arrays) -> None:
    """Raises ConfigError unless both take these inputs and give outputs of the same shapes."""
    few = {name: array[:2] for name, array in inputs.items()}
    taught, given = _shapes(teacher, "teacher", few), _shapes(student, "student", few)
    if taught != given:
        raise ConfigError(
            f"The teacher's outputs have shapes {_said(taught)} per sample and the student's {_said(given)}; "
            "they must be the same."
        )


def _loaded(given: Given, role: Role) -> Trainable:
    if given.function is not None:
        from edgeward_converters.sources import torch

        return _of_live(torch.imported(given.function), given.function, role)
    if given.kind == "keras":
        from edgeward_converters.sources import keras

        return Trainable("keras", keras.load(given.path))
    if given.kind == "torch" and role == "teacher":
        from edgeward_converters.sources import torch

        program = torch.load(given.path)
        return Trainable("torch", program.module(), tuple(torch.examples(program, 2)))
    raise ConfigError(
        f"{given.named} cannot be the {role}: it is {given.kind}. Give a .keras file, or module:function that gives "
        "a keras.Model or (module, example_inputs) of PyTorch."
    )


def _of_live(found: Any, function: str, role: Role) -> Trainable:
    """What the user's function gave."""
    if getattr(found, "inputs", None) and hasattr(found, "layers"):
        return Trainable("keras", found)
    if isinstance(found, tuple) and len(found) == 2 and hasattr(found[0], "parameters"):
        examples = found[1].values() if isinstance(found[1], dict) else found[1]
        return Trainable("torch", found[0], tuple(examples) if not hasattr(examples, "shape") else (examples,))
    raise ConfigError(
        f"{function} cannot be the {role}: expected a keras.Model, or (module, example_inputs) of PyTorch; "
        f"a {type(found).__name__} came."
    )


def _seed(like: Trainable, seed: int) -> None:
    if like.framework == "keras":
        import keras

        keras.utils.set_random_seed(seed)
    else:
        import torch

        torch.manual_seed(seed)


def _as_named(student: Trainable, named: str, like: Trainable) -> Trainable:
    """The student under the names of `like`'s inputs and outputs."""
    if like.framework == "torch":
        _check_arguments(student, named, like)
        return student
    from edgeward_converters.compress.distillation.students_keras import renamed

    theirs, ours = _ports(student), _ports(like)
    if theirs != ours:
        raise ConfigError(
            f"The student {named} has inputs and outputs of shapes {_said(theirs)}, the model of {_said(ours)}; "
            "they must be the same."
        )
    return Trainable("keras", renamed(student.module, like.module))


def _check_arguments(student: Trainable, named: str, like: Trainable) -> None:
    theirs, ours = (list(inspect.signature(each.module.forward).parameters) for each in (student, like))
    if theirs != ours:
        raise ConfigError(
            f"The student {named} takes {', '.join(theirs)} and the model {', '.join(ours)}; "
            "give its forward the same arguments, by the same names."
        )


def _ports(model: Trainable) -> list[tuple[int | None, ...]]:
    """The shapes of a Keras model's inputs and outputs."""
    return [tuple(tensor.shape) for tensor in (*model.module.inputs, *model.module.outputs)]


def _shapes(model: Trainable, role: Role, inputs: Arrays) -> list[tuple[int, ...]]:
    try:
        return [output.shape[1:] for output in predict(model, inputs)]
    except EdgewardError:
        raise
    except Exception as error:  # frameworks raise anything for inputs of another shape
        raise ConfigError(f"The {role} does not take the model's inputs: {one_line(error)}") from error


def _said(shapes: Sequence[tuple[int | None, ...]]) -> str:
    return ", ".join(map(str, shapes))
