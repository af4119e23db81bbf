"""Losses of distillation, and dropout while training, for PyTorch."""

from typing import Any

import torch
from torch.nn import functional

_SMALLEST = 1e-7
_SUM_TOLERANCE = 1e-3


def distillation(outputs: Any, targets: Any, taught: Any, kind: str, temperature: float, alpha: float) -> Any:
    """See `distillation.soft_targets` and `hard_targets`."""
    students, teachers = _listed(outputs), _listed(taught)
    pairs = list(zip(students, teachers, strict=True))
    from_teacher = sum(_from_teacher(student, teacher, kind, temperature) for student, teacher in pairs)
    if targets is None:
        return from_teacher
    return alpha * from_teacher + (1 - alpha) * _from_targets(*pairs[0], targets)


def _from_teacher(student: Any, teacher: Any, kind: str, temperature: float) -> Any:
    if student.ndim != 2 or (student.shape[1] == 1 and not _are_sigmoids(student, teacher)):
        return functional.mse_loss(student, teacher)
    if student.shape[1] == 1:
        return _from_classes(_two_classes(student), _two_classes(teacher), kind, temperature)
    return _from_classes(_logits(student), _logits(teacher), kind, temperature)


def _from_classes(student: Any, teacher: Any, kind: str, temperature: float) -> Any:
    """Kullback-Leibler divergence of softened logits, or cross-entropy with the teacher's largest."""
    if kind == "hard":
        return functional.cross_entropy(student, teacher.argmax(dim=1))
    softened = functional.log_softmax(teacher / temperature, dim=1)
    students = functional.log_softmax(student / temperature, dim=1)
    return temperature**2 * functional.kl_div(students, softened, reduction="batchmean", log_target=True)


def _from_targets(student: Any, teacher: Any, targets: Any) -> Any:
    if not targets.is_floating_point():
        return functional.cross_entropy(_logits(student), targets)
    if student.ndim == 2 and student.shape[1] == 1 and _are_sigmoids(student, teacher):
        inside = student.clamp(_SMALLEST, 1 - _SMALLEST)
        return functional.binary_cross_entropy(inside, targets.clamp(0, 1))
    return functional.mse_loss(student, targets)


def _logits(outputs: Any) -> Any:
    """Logits of outputs (n, classes), which are logits or probabilities: rows that add up to 1."""
    detached = outputs.detach()
    if (detached >= 0).all() and ((detached.sum(dim=1) - 1).abs() < _SUM_TOLERANCE).all():
        return outputs.clamp(_SMALLEST, 1).log()
    return outputs


def _two_classes(sigmoids: Any) -> Any:
    """Logits of (not, yes)."""
    inside = sigmoids.clamp(_SMALLEST, 1 - _SMALLEST)
    return torch.cat([1 - inside, inside], dim=1).log()


def _are_sigmoids(student: Any, teacher: Any) -> bool:
    both = torch.cat([student.detach(), teacher])
    return bool(((both >= 0) & (both <= 1)).all())


def _listed(outputs: Any) -> list[Any]:
    return outputs if isinstance(outputs, list) else [outputs]
