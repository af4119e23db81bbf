"""Does a release work on this very device? Golden samples through every variant, then the fastest wins.

Each variant is opened, proved and timed in a process of its own: an engine that crashes natively fails its variant
and nothing else.
"""

import subprocess
import sys

import msgspec

from edgeward_runtimes import engines
from edgeward_runtimes.errors import SelfTestError
from edgeward_runtimes.golden import failed
from edgeward_runtimes.install.result import SelfTest, Trial
from edgeward_runtimes.manifest import Variant
from edgeward_runtimes.model import Choice
from edgeward_runtimes.release import Release

_TIME_LIMIT_S = 300


def run(release: Release, accelerators: tuple[str, ...] = ()) -> SelfTest:
    """Try every variant whose engine is installed; choose the fastest that passed.

    Args:
        release: An unpacked one.
        accelerators: What to try before the CPU.

    Raises:
        SelfTestError: When none passed; it gives each one's reason.
    """
    trials = tuple(try_variant(release, variant, accelerators) for variant in release.manifest.variants)
    passed = [trial for trial in trials if trial.check.passed]
    if not passed:
        reasons = "; ".join(f"{trial.check.id}: {trial.check.reason}" for trial in trials)
        raise SelfTestError(f"{release.manifest.name} does not work on this device. {reasons}.")
    best = min(passed, key=lambda trial: trial.timing.p50_ms if trial.timing else float("inf"))
    variant = release.manifest.variant(best.check.id)
    choice = Choice(
        variant.id,
        variant.engine,
        variant.precision,
        variant.quantization,
        f"fastest of {len(passed)} that passed on this device ({_how_fast(best)})",
        best.threads,
        accelerators,
    )
    return SelfTest(choice, trials)


def try_variant(release: Release, variant: Variant, accelerators: tuple[str, ...] = ()) -> Trial:
    """Prove and time one variant in a process of its own."""
    missing = engines.missing_reason(variant.engine)
    if missing is not None:
        return Trial(failed(variant.id, missing))
    command = [sys.executable, "-m", "edgeward_runtimes", "try", str(release.folder.absolute()), variant.id]
    command += [f"--accelerator={name}" for name in accelerators]
    try:
        # -m puts the working directory first on the path: what lies in it must not be imported.
        process = subprocess.run(command, cwd="/", capture_output=True, timeout=_TIME_LIMIT_S, check=False)
    except subprocess.TimeoutExpired:
        return Trial(failed(variant.id, f"did not answer within {_TIME_LIMIT_S} s"))
    if process.returncode != 0:
        return Trial(failed(variant.id, _why(process)))
    return msgspec.json.decode(process.stdout, type=Trial)


def _how_fast(trial: Trial) -> str:
    p50 = f"{trial.timing.p50_ms:.3g} ms" if trial.timing else "not timed"
    where = ", ".join(trial.runs_on)
    threads = "" if trial.threads is None else f", {trial.threads} thread{'s' if trial.threads > 1 else ''}"
    return f"{p50} on {where}{threads}"


def _why(process: "subprocess.CompletedProcess[bytes]") -> str:
    if process.returncode < 0:
        return f"its engine crashed (signal {-process.returncode})"
    lines = process.stderr.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else f"its process ended with code {process.returncode}"
