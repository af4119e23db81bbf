"""The fine-tuning that follows pruning, by labels alone or with a teacher as well."""

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext

from msgspec.structs import replace

from edgeward_converters import metrics
from edgeward_converters.compress.step import Context, Samples, Trainable
from edgeward_converters.compress.training import Hooks, Training, batches, fit, labelled, score
from edgeward_runtimes.errors import ConfigError


def fine_tune(
    model: Trainable,
    context: Context,
    training: Training,
    step: str,
    *,
    teacher: Trainable | None = None,
    hooks: Hooks = Hooks(),  # noqa: B008 - frozen
    share: float = 1.0,
    what: str = "Fine-tuning",
) -> None:
    """Train in place, for a share of the epochs. Raises ConfigError that names the step without training data."""
    samples = labelled(context, step)
    training = replace(training, epochs=training.epochs * share)
    loss = None
    if teacher is not None:
        from edgeward_converters.compress.distillation import soft_targets

        loss = soft_targets()
    with _statistics(model, samples, training):
        fit(
            model,
            samples,
            training,
            seed=context.seed,
            progress=context.progress,
            what=what,
            loss=loss,
            teacher=teacher,
            hooks=hooks,
        )


def better_teacher(model: Trainable, context: Context) -> Trainable:
    """The source model, or a copy of the one that is to be pruned where held-back samples tell that it is better now.

    Earlier steps may have trained it on the user's own data.
    """
    from edgeward_converters.compress.run import duplicate

    if context.held_back is None:
        return context.teacher
    source, own = (score(each, context.held_back, context.metric) for each in (context.teacher, model))
    return context.teacher if metrics.get(context.metric).drop(source, own) >= 0 else duplicate(model)


def check_layers(named: Iterable[str], known: Iterable[str], step: str) -> None:
    """Raises ConfigError for a layer that there is not."""
    known = tuple(known)
    for name in named:
        if name not in known:
            raise ConfigError(f"{step}: there is no layer {name!r} with weights; there are {', '.join(known)}.")


def _statistics(model: Trainable, samples: Samples, training: Training) -> AbstractContextManager[None]:
    """PyTorch's own momentum forgets within a few dozen batches."""
    if model.framework == "torch":
        return nullcontext()
    from edgeward_converters.compress.pruning.statistics_keras import renewed_within

    count = len(next(iter(samples.inputs.values())))
    return renewed_within(model.module, batches.count(count, training.batch_size, training.epochs))
