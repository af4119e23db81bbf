"""Which variant of a release to run here, and the sentence that says why.

In this order: what the caller or the environment (`EDGEWARD_ENGINE`) asked for; what the install timed as fastest on
this device; what was fastest where the bundle was converted; the manifest's order. Variants whose engine is not
installed are passed over, and one that did not pass the install's self-test never runs. Pure: what is installed and
what was tested are handed in.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from edgeward_runtimes.errors import EngineError, EngineMissingError, InputError
from edgeward_runtimes.manifest import Manifest, Variant
from edgeward_runtimes.model import Choice

if TYPE_CHECKING:
    from edgeward_runtimes.install.result import SelfTest

MissingReason = Callable[[str], str | None]


def choose(
    manifest: Manifest,
    missing_reason: MissingReason,
    *,
    variant: str | None = None,
    engine: str | None = None,
    tested: "SelfTest | None" = None,
    threads: int | None = None,
    accelerators: tuple[str, ...] | None = None,
) -> Choice:
    """Choose a variant.

    Args:
        manifest: The release's.
        missing_reason: Says why an engine cannot be used here, or None when it can.
        variant: The id asked for, if any.
        engine: The engine asked for, if any.
        tested: What the install found on this device, if it was one.
        threads: For one prediction; by default what the install timed as fastest.
        accelerators: What to try before the CPU; by default what the install was asked for.

    Raises:
        InputError: When no variant of that id or engine is in the bundle.
        EngineError: When none of those passed the self-test on this device.
        EngineMissingError: When no engine for what is left is installed; it says how to get one.
    """
    candidates = _sound(manifest.name, _asked_for(manifest, variant, engine), tested)
    usable = [each for each in candidates if missing_reason(each.engine) is None]
    if not usable:
        reasons = "; ".join(dict.fromkeys(missing_reason(each.engine) or "" for each in candidates))
        raise EngineMissingError(f"No engine here runs {_ids(candidates)} of {manifest.name}: {reasons}.")
    chosen, reason = _best(usable, tested)
    if variant is not None or engine is not None:
        asked = f"variant {variant!r}" if variant is not None else f"engine {engine!r}"
        reason = f"{asked} was asked for" if len(candidates) == 1 else f"{asked} was asked for; {reason}"
    passed_over = [each.id for each in candidates if each not in usable]
    if passed_over:
        reason += f"; no engine here for {', '.join(passed_over)}"
    if tested is not None:
        threads = threads or next(trial.threads for trial in tested.trials if trial.check.id == chosen.id)
        accelerators = tested.choice.accelerators if accelerators is None else accelerators
    return Choice(chosen.id, chosen.engine, chosen.precision, chosen.quantization, reason, threads, accelerators or ())


def ranking(manifest: Manifest, missing_reason: MissingReason) -> list[Variant]:
    """All usable variants of a bundle that is not installed, best first."""
    usable = [each for each in manifest.variants if missing_reason(each.engine) is None]
    if all(each.latency_ms is not None for each in usable):
        usable.sort(key=lambda each: each.latency_ms or 0.0)
    return usable


def _asked_for(manifest: Manifest, variant: str | None, engine: str | None) -> list[Variant]:
    matching = [
        each
        for each in manifest.variants
        if (variant is None or each.id == variant) and (engine is None or each.engine == engine)
    ]
    if not matching:
        wanted = " and ".join(
            f"{what} {value!r}" for what, value in (("variant", variant), ("engine", engine)) if value
        )
        raise InputError(f"{manifest.name} has no {wanted}; it has {_ids(manifest.variants)}.")
    return matching


def _sound(name: str, candidates: list[Variant], tested: "SelfTest | None") -> list[Variant]:
    """Those that passed the self-test, where there was one."""
    if tested is None:
        return candidates
    failed = {trial.check.id: trial.check.reason for trial in tested.trials if not trial.check.passed}
    sound = [each for each in candidates if each.id not in failed]
    if not sound:
        reasons = "; ".join(f"{each.id}: {failed[each.id]}" for each in candidates)
        raise EngineError(f"{name}: {_ids(candidates)} did not pass the install's self-test on this device. {reasons}.")
    return sound


def _best(usable: list[Variant], tested: "SelfTest | None") -> tuple[Variant, str]:
    if tested is not None:
        for each in usable:
            if each.id == tested.choice.id:
                return each, tested.choice.reason
        timed = {trial.check.id: trial.timing.p50_ms for trial in tested.trials if trial.timing is not None}
        fastest = min(usable, key=lambda each: timed.get(each.id, float("inf")))
        return fastest, f"fastest of {len(usable)} that passed on this device ({timed[fastest.id]:.3g} ms)"
    if len(usable) == 1:
        return usable[0], "the only one that can run here"
    if all(each.latency_ms is not None for each in usable):
        fastest = min(usable, key=lambda each: each.latency_ms or 0.0)
        return fastest, f"fastest of {len(usable)} where it was converted ({fastest.latency_ms:.3g} ms)"
    return usable[0], f"first of {len(usable)} in the manifest; none was timed"


def _ids(variants: tuple[Variant, ...] | list[Variant]) -> str:
    return ", ".join(each.id for each in variants)
