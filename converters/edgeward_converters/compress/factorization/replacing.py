"""What both methods share: find the layers, choose the ranks, put the stages in their place, fine-tune."""

from collections.abc import Callable
from importlib import import_module
from typing import Any, Literal, Protocol, cast

import numpy as np
from msgspec import Struct

from edgeward_converters import metrics
from edgeward_converters.compress.distillation import soft_targets
from edgeward_converters.compress.factorization import gate
from edgeward_converters.compress.factorization.forms import ENERGIES, Form, Stages
from edgeward_converters.compress.factorization.stages import Array, Site, composed, saves
from edgeward_converters.compress.step import Context, Samples, Trainable
from edgeward_converters.compress.training import Training, fit, labelled, score
from edgeward_runtimes.errors import ConfigError, ConversionError

_ROUNDING = 1e-9  # of the difference of two scores

Making = Callable[[Site, int], Form]


class Replacing(Struct, frozen=True, forbid_unknown_fields=True):
    """The parameters that both methods have: which ranks, which layers, and what comes after.

    Attributes:
        rank: A number for all layers, or "gate" for the smallest ranks that keep the score on held-back samples within
            `max_drop` of the source's (before fine-tuning), or "vbmf" for those that stand out of the noise (`vbmf`),
            which is meant for fine-tuning afterwards.
        rank_ratio: In place of it, ranks as shares of the channels.
        energy: In place of it, the share of the squared singular values' sum to keep; 0.9 where none of the three is
            given.
        layers: Only these, by name; none: all that can be.
        training: How to fine-tune afterwards; None: not at all.
        distill: Fine-tune by the source model's answers as well as by the labels.
    """

    rank: int | Literal["gate", "vbmf"] | None = None
    rank_ratio: float | None = None
    energy: float | None = None
    layers: tuple[str, ...] = ()
    training: Training | None = None
    distill: bool = False

    @property
    def needs(self) -> frozenset[Literal["training", "unlabelled"]]:
        """Labelled data where there is fine-tuning or a gate; else the weights are enough."""
        return frozenset({"training"} if self.training is not None or self.rank == "gate" else ())

    def check(self, most_ratio: float) -> None:
        """Raises ValueError with a sentence for what fits no model."""
        given = [name for name in ("rank", "rank_ratio", "energy") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"Ranks come from one of rank, rank_ratio and energy; {' and '.join(given)} came.")
        if isinstance(self.rank, int) and self.rank < 1:
            raise ValueError(f'A rank is at least 1, or "gate" or "vbmf"; {self.rank} came.')
        if self.rank_ratio is not None and not 0 < self.rank_ratio <= most_ratio:
            raise ValueError(f"A rank_ratio is above 0 and at most {most_ratio:g}; {self.rank_ratio} came.")
        if self.energy is not None and not 0 < self.energy <= 1:
            raise ValueError(f"An energy is a share above 0 and at most 1, such as 0.9; {self.energy} came.")
        if self.distill and self.training is None:
            raise ValueError("With distill the layers are fine-tuned by the source model; say how long in training.")


class _Framework(Protocol):
    """What each framework's module offers."""

    def sites(self, module: Any) -> list[Site]: ...

    def write(self, module: Any, kernels: dict[str, Array]) -> None: ...

    def replaced(self, module: Any, plan: dict[str, Stages]) -> Any: ...


def replace(
    model: Trainable, context: Context, wanted: Replacing, making: Making, fits: Callable[[Site], bool], called: str
) -> Trainable:
    """The model with stages in the place of its layers, where that saves parameters; `model` stays as it is.

    Args:
        model: A Keras or PyTorch model.
        context: Data to decide by and to train on.
        wanted: What the recipe says.
        making: From a site to the form that takes it apart.
        fits: Which sites are meant.
        called: The method's name.

    Raises:
        ConfigError: For an unknown layer, or data that is not there.
        ConversionError: For weights that are no numbers, or training that fails.
    """
    if wanted.training is not None:
        labelled(context, called)
    framework = cast(_Framework, import_module(f"{__package__}.{model.framework}"))
    sites = _meant([site for site in framework.sites(model.module) if fits(site)], wanted.layers, called)
    if wanted.rank == "gate":
        plan = _gated(model, context, framework, sites, making, called)
    else:
        plan = _planned(context, wanted, sites, making)
    context.progress(f"{len(plan)} of {len(sites)} layers replaced", 1.0)
    smaller = Trainable(model.framework, framework.replaced(model.module, plan), model.examples)
    if wanted.training is not None:
        _train(smaller, context, wanted.training, called, distill=wanted.distill)
    return smaller


def _meant(sites: list[Site], layers: tuple[str, ...], called: str) -> list[Site]:
    """The sites that the recipe names, or all of them; none with weights that are no numbers."""
    names = [site.name for site in sites]
    unknown = [name for name in layers if name not in names]
    if unknown:
        there = ", ".join(names) if names else "none"
        raise ConfigError(
            f"The model has no layer {unknown[0]!r} that the step {called} can replace; there are {there}."
        )
    meant = [site for site in sites if not layers or site.name in layers]
    for site in meant:
        if not np.isfinite(site.kernel).all():
            raise ConversionError(
                f"The layer {site.name!r} holds NaN or infinity; train the model again, then {called}."
            )
    return meant


def _planned(context: Context, wanted: Replacing, sites: list[Site], making: Making) -> dict[str, Stages]:
    """Stages for each site where they save parameters, by the ranks that the recipe says."""
    plan = {}
    for index, site in enumerate(sites):
        context.progress(f"Taking {site.name} apart", index / len(sites))
        stages = _by_recipe(making(site, context.seed), wanted)
        if stages is not None and saves(site, stages):
            plan[site.name] = stages
    return plan


def _by_recipe(form: Form, wanted: Replacing) -> Stages | None:
    if isinstance(wanted.rank, int):
        return form.by_rank(wanted.rank)
    if wanted.rank == "vbmf":
        return form.by_vbmf()
    if wanted.rank_ratio is not None:
        return form.by_ratio(wanted.rank_ratio)
    return form.by_energy(0.9 if wanted.energy is None else wanted.energy)


def _gated(
    model: Trainable, context: Context, framework: _Framework, sites: list[Site], making: Making, called: str
) -> dict[str, Stages]:
    """The smallest stages that keep the score; each choice is tried as kernels of the model as it is."""
    held_back = _held_back(context, called)
    metric = metrics.get(context.metric)
    source = score(context.teacher, held_back, context.metric)
    choices = _Choices(sites, making, context.seed)
    asked, most = 0, gate.evaluations(len(sites), len(ENERGIES))

    def holds(steps: gate.Steps) -> bool:
        nonlocal asked
        asked += 1
        context.progress("Choosing ranks", min(asked / most, 1.0))
        framework.write(model.module, {name: choices.kernel(name, step) for name, step in steps.items()})
        return metric.drop(source, score(model, held_back, context.metric)) <= context.max_drop + _ROUNDING

    try:
        sizes = {site.name: site.kernel.size for site in sites}
        steps = gate.search(sizes, len(ENERGIES), holds, choices.size)
    finally:
        framework.write(model.module, {site.name: site.kernel for site in sites})
    chosen = {name: choices.stages(name, step) for name, step in steps.items()}
    return {name: stages for name, stages in chosen.items() if stages is not None}


class _Choices:
    """What the gate may choose for each site, made when it is asked for."""

    def __init__(self, sites: list[Site], making: Making, seed: int) -> None:
        self.sites = {site.name: site for site in sites}
        self._forms = {site.name: making(site, seed) for site in sites}
        self._made: dict[tuple[str, int], Stages | None] = {}

    def stages(self, name: str, step: int) -> Stages | None:
        """The stages of a step, 1 and more; None where it saves nothing, and for step 0."""
        if (name, step) not in self._made:
            stages = self._forms[name].step(step - 1) if step else None
            self._made[name, step] = stages if stages is not None and saves(self.sites[name], stages) else None
        return self._made[name, step]

    def size(self, steps: gate.Steps) -> int:
        """How many weights the layers have after these steps."""
        return sum(self._weights(name, step) for name, step in steps.items())

    def _weights(self, name: str, step: int) -> int:
        stages = self.stages(name, step)
        return self.sites[name].kernel.size if stages is None else sum(stage.kernel.size for stage in stages)

    def kernel(self, name: str, step: int) -> Array:
        """The layer's kernel after a step, as one."""
        stages = self.stages(name, step)
        return self.sites[name].kernel if stages is None else composed(stages)


def _held_back(context: Context, called: str) -> Samples:
    if context.held_back is None:
        raise ConfigError(
            f'The step {called} with rank = "gate" decides by labelled samples, and none were held back; '
            "pass --training with enough samples, or give an energy."
        )
    return context.held_back


def _train(model: Trainable, context: Context, training: Training, called: str, *, distill: bool) -> None:
    loss, teacher = None, None
    if distill:
        loss, teacher = soft_targets(), context.teacher
    fit(
        model,
        labelled(context, called),
        training,
        seed=context.seed,
        progress=context.progress,
        what="Fine-tuning",
        loss=loss,
        teacher=teacher,
    )
