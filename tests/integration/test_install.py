"""Installing on a device: whole or not at all, proved there, reversible, whatever dies and wherever."""

import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import edgeward
from edgeward_runtimes.errors import DigestError, InstallError, NotInstalledError, SelfTestError
from edgeward_runtimes.home import Home
from edgeward_runtimes.install import installer
from edgeward_runtimes.install.installer import install, rollback
from edgeward_runtimes.install.journal import Entry
from edgeward_runtimes.install.slots import Slots
from edgeward_runtimes.release import Release

Make = Callable[..., Path]
X = np.array([[1.0, 2.0]], np.float32)


def _releases(slots: Slots) -> set[str]:
    return {folder.name for folder in slots.releases.iterdir()}


def test_install_update_and_rollback_move_the_links(multiply_bundle: Make, home: Home) -> None:
    first = install(home, multiply_bundle("1.0.0"))
    slots = Slots(home, "toy")
    assert (first.replaced, slots.target("current"), slots.target("previous")) == (None, first.release, None)
    second = install(home, multiply_bundle("1.1.0"))
    assert (second.replaced, slots.target("previous")) == (first.release, first.release)
    back = rollback(home, "toy")
    assert (back.release, slots.target("current"), slots.target("previous")) == (
        first.release,
        first.release,
        second.release,
    )
    assert [entry.step for entry in slots.entries()][-3:] == ["begin", "switched", "done"]


def test_installing_what_is_current_changes_nothing(multiply_bundle: Make, home: Home) -> None:
    installed = install(home, multiply_bundle())
    entries = Slots(home, "toy").entries()
    again = install(home, multiply_bundle())
    assert (again.release, again.replaced) == (installed.release, installed.release)
    assert Slots(home, "toy").entries() == entries


def test_a_release_damaged_since_is_mended_by_installing_it_again(multiply_bundle: Make, home: Home) -> None:
    first, second = multiply_bundle("1.0.0"), multiply_bundle("1.1.0")
    slots = Slots(home, "toy")
    install(home, first)
    for bundle in (first, second, first):  # the current one, then another, then the previous one
        artifact = next((slots.current() / "variants").iterdir())
        artifact.write_bytes(b"cut")
        install(home, bundle)
        with edgeward.load("toy") as model:
            np.testing.assert_array_equal(model.predict(X), X * 2)


def test_installing_the_previous_release_again_makes_it_current(multiply_bundle: Make, home: Home) -> None:
    first = install(home, multiply_bundle("1.0.0")).release
    second = install(home, multiply_bundle("1.1.0")).release
    install(home, multiply_bundle("1.0.0"))
    slots = Slots(home, "toy")
    assert (slots.target("current"), slots.target("previous")) == (first, second)
    assert _releases(slots) == {first, second}


def test_the_device_keeps_the_variant_that_was_fastest_there(multiply_bundle: Make, home: Home) -> None:
    variants = {"multiply-slow": {"sleep_s": 0.01}, "multiply-fast": {}, "multiply-wrong": {"factor": 3.0}}
    installed = install(home, multiply_bundle(variants=variants))
    assert installed.selftest is not None
    checks = {trial.check.id: trial.check for trial in installed.selftest.trials}
    assert {name for name, check in checks.items() if check.passed} == {"multiply-slow", "multiply-fast"}
    assert "differs from the source model" in (checks["multiply-wrong"].reason or "")
    with edgeward.load("toy") as model:
        assert model.variant.id == "multiply-fast"
        assert model.variant.reason.startswith("fastest of 2 that passed on this device")
        np.testing.assert_array_equal(model.predict(X), X * 2)


def test_an_engine_that_crashes_natively_fails_its_variant_alone(multiply_bundle: Make, home: Home) -> None:
    installed = install(home, multiply_bundle(variants={"multiply-bad": {"crash": True}, "multiply-good": {}}))
    assert installed.selftest is not None
    assert installed.selftest.choice.id == "multiply-good"
    assert installed.selftest.trials[0].check.reason == f"its engine crashed (signal {int(signal.SIGSEGV)})"


def test_a_release_that_passes_nowhere_is_not_installed(multiply_bundle: Make, home: Home) -> None:
    good = install(home, multiply_bundle("1.0.0")).release
    variants = {"multiply-wrong": {"factor": 5.0}, "elsewhere-fp32": {}}
    with pytest.raises(SelfTestError, match=r"multiply-wrong: differs .* elsewhere-fp32: no engine 'elsewhere'"):
        install(home, multiply_bundle("1.1.0", variants=variants))
    slots = Slots(home, "toy")
    assert (slots.target("current"), slots.target("previous"), _releases(slots)) == (good, None, {good})
    assert slots.entries()[-1].step == "failed"
    assert "does not work on this device" in (slots.entries()[-1].reason or "")


def test_a_damaged_bundle_touches_nothing(multiply_bundle: Make, home: Home) -> None:
    path = multiply_bundle()
    path.write_bytes(path.read_bytes()[:-1] + b"0")
    with pytest.raises(DigestError):
        install(home, path)
    assert not home.models.exists()


def test_a_full_disk_leaves_the_device_as_it_was(multiply_bundle: Make, home: Home, monkeypatch) -> None:
    good = install(home, multiply_bundle("1.0.0")).release
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(100, 100, 0))
    with pytest.raises(InstallError, match=r"are free\. Make room"):
        install(home, multiply_bundle("1.1.0"))
    assert Slots(home, "toy").target("current") == good
    assert _releases(Slots(home, "toy")) == {good}


@pytest.mark.parametrize("step", ["switched", "done"])
def test_a_disk_that_fills_up_after_the_switch_leaves_the_new_release(
    multiply_bundle: Make, home: Home, monkeypatch, step: str
) -> None:
    install(home, multiply_bundle("1.0.0"))
    note = Slots.note

    def full(self: Slots, entry: Entry) -> None:
        if entry.step == step:
            raise OSError(28, "No space left on device")
        note(self, entry)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Slots, "note", full)
        installed = install(home, multiply_bundle("1.1.0"))
    slots = Slots(home, "toy")
    assert slots.target("current") == installed.release
    assert rollback(home, "toy").release == installed.replaced


def test_what_cannot_be_written_is_an_install_error(home: Home) -> None:
    nowhere = Home.under(Path("/dev/null/device"))
    with pytest.raises(NotInstalledError, match="No model 'toy' is installed"):
        rollback(nowhere, "toy")
    with pytest.raises(NotInstalledError, match="is not a model's name"):
        rollback(home, "../toy")


def test_rollback_without_a_release_to_go_back_to_says_so(multiply_bundle: Make, home: Home) -> None:
    with pytest.raises(NotInstalledError):
        rollback(home, "toy")
    install(home, multiply_bundle())
    with pytest.raises(InstallError, match="has no previous release"):
        rollback(home, "toy")


def test_two_installs_at_once_do_not_mix(multiply_bundle: Make, home: Home) -> None:
    slots = Slots(home, "toy")
    bundle = multiply_bundle()
    refused: list[str] = []

    def try_it() -> None:
        try:
            install(home, bundle)
        except InstallError as error:
            refused.append(str(error))

    with slots.changing():
        thread = threading.Thread(target=try_it)
        thread.start()
        thread.join()
    assert refused == ["toy is being changed by another process. Try again later."]


def test_old_releases_retire_but_never_current_or_previous(multiply_bundle: Make, home: Home) -> None:
    installed = [install(home, multiply_bundle(f"1.{number}.0")).release for number in range(5)]
    assert _releases(Slots(home, "toy")) == set(installed[-installer.KEPT_RELEASES :])


# Kill -9 at every system call that changes the disk. A child installs with `os` functions that count down and kill it;
# the self-test's own process is left alone, as it changes nothing. Afterwards the device must predict, with exactly
# the old or the new release, and the next install must succeed.

_SUICIDAL_INSTALL = """
import os, signal, sys
from pathlib import Path
from edgeward_runtimes.home import Home
from edgeward_runtimes.install import installer

remaining = int(sys.argv[3])

def counted(function):
    def call(*arguments, **options):
        global remaining
        remaining -= 1
        if remaining < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments, **options)
    return call

for name in ("open", "fsync", "rename", "replace", "symlink", "unlink", "mkdir", "rmdir"):
    setattr(os, name, counted(getattr(os, name)))
if sys.argv[1] == "install":
    installer.install(Home.default(), Path(sys.argv[2]))
else:
    installer.rollback(Home.default(), sys.argv[2])
print(remaining)
"""


def _run_dying(action: str, argument: str, after: int) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", _SUICIDAL_INSTALL, action, argument, str(after)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def _calls(home: Home, action: str, argument: str) -> int:
    plenty = 100_000
    completed = _run_dying(action, argument, plenty)
    assert completed.returncode == 0, completed.stderr
    return plenty - int(completed.stdout)


def _predicts(factors: tuple[float, ...]) -> None:
    with edgeward.load("toy") as model:
        assert any(np.array_equal(model.predict(X), X * np.float32(factor)) for factor in factors)


@pytest.mark.parametrize("action", ["install", "rollback"])
def test_kill_9_at_any_instant_leaves_one_loadable_release(
    action: str, multiply_bundle: Make, home: Home, tmp_path: Path
) -> None:
    old, new = multiply_bundle("1.0.0", factor=2.0), multiply_bundle("1.1.0", factor=2.00005)
    argument = str(new) if action == "install" else "toy"
    install(home, old)
    if action == "rollback":
        install(home, new)
    saved = tmp_path / "saved"
    shutil.copytree(home.root, saved, symlinks=True)
    calls = _calls(home, action, argument)
    assert calls > 10
    for after in range(calls):
        shutil.rmtree(home.root)
        shutil.copytree(saved, home.root, symlinks=True)
        completed = _run_dying(action, argument, after)
        assert completed.returncode == -signal.SIGKILL, completed.stderr
        _predicts((2.0, 2.00005))
        slots = Slots(home, "toy")
        with slots.changing():
            current = slots.current()
            assert Release.open(current).manifest.name == "toy"
            assert {folder.name[:5] for folder in slots.releases.iterdir()} <= {"1.0.0", "1.1.0"}
            previous = slots.previous()
            assert previous is None or (previous.is_dir() and previous != current)
        assert slots.entries()[-1].step in ("done", "failed")
        if action == "install" and after % 7 == 0:
            install(home, new)
            _predicts((2.00005,))
