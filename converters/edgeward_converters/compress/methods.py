"""Every method that a recipe may name. Imports no framework: a recipe is checked before one is loaded."""

from typing import Any

from edgeward_converters.compress.training import FineTune

AnyStep = Any  # a Step; msgspec checks a recipe's table against the method's own struct
_STEPS = (FineTune,)

METHODS: dict[str, type[Any]] = {str(step.__struct_config__.tag): step for step in _STEPS}
