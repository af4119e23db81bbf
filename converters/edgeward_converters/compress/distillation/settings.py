"""Checks of what steps of distillation are told."""


def check_temperature(temperature: float, step: str) -> None:
    """Raises ValueError unless the temperature is above 0."""
    if not 0 < temperature < float("inf"):
        raise ValueError(f"{step} needs a temperature above 0, such as 4; {temperature} came.")


def check_alpha(alpha: float, step: str) -> None:
    """Raises ValueError unless the teacher's share is a share."""
    if not 0 <= alpha <= 1:
        raise ValueError(f"{step} needs an alpha from 0 (labels alone) to 1 (teacher alone); {alpha} came.")
