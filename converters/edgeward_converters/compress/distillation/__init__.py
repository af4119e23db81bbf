"""Distillation: a student learns from what a teacher answers, on the user's data, labelled or not.

distill        the step: soft or hard targets
noisy_student  the step: pseudo-labels on unlabelled data, a noised student
teachers       models of other files, and whether they fit
keras, torch   the losses, and dropout for the noisy student
"""

from importlib import import_module
from typing import Any, Literal

from edgeward_converters.compress.distillation.settings import check_alpha, check_temperature
from edgeward_converters.compress.training import Loss

Kind = Literal["soft", "hard"]


def soft_targets(temperature: float = 4.0, alpha: float = 0.5) -> Loss:
    """The loss of Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network" (2015).

    alpha · temperature² · KL(teacher ‖ student), both softened by the temperature, plus (1 − alpha) · the loss on the
    targets; without targets the first alone, in full. For Keras and PyTorch.

    - Outputs (n, classes) may be logits or probabilities: the logarithm of probabilities serves as logits.
    - Outputs (n, 1) between 0 and 1, of teacher and student, are of a sigmoid: the same with two classes.
    - All other outputs are drawn to the teacher's by their mean squared error.
    - Of several outputs each has a term; targets belong to the first.

    Raises ValueError for a temperature that is not above 0 or an alpha outside 0 to 1.
    """
    check_temperature(temperature, "soft_targets")
    check_alpha(alpha, "soft_targets")
    return _loss("soft", temperature, alpha)


def hard_targets(alpha: float = 0.5) -> Loss:
    """The loss on what the teacher takes for true: its largest output is the label, weighed against the targets.

    alpha · loss(teacher's label) + (1 − alpha) · loss(target); outputs as for `soft_targets`. Raises ValueError.
    """
    check_alpha(alpha, "hard_targets")
    return _loss("hard", 1.0, alpha)


def _loss(kind: Kind, temperature: float, alpha: float) -> Loss:
    def loss(outputs: Any, targets: Any, taught: Any) -> Any:
        framework = "torch" if _is_torch(outputs) else "keras"
        module = import_module(f"{__name__}.{framework}")
        return module.distillation(outputs, targets, taught, kind, temperature, alpha)

    return loss


def _is_torch(outputs: Any) -> bool:
    first = outputs[0] if isinstance(outputs, list) else outputs
    return type(first).__module__.partition(".")[0] == "torch"
