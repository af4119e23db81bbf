"""A release that turns out worse after going live is taken back: by whoever reads the counters, whatever reboots."""

import json
import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import edgeward
from edgeward_runtimes.errors import EngineError, InstallError
from edgeward_runtimes.home import Home
from edgeward_runtimes.install import journal
from edgeward_runtimes.install.health import Limits
from edgeward_runtimes.install.installer import install, rollback
from edgeward_runtimes.install.journal import Change
from edgeward_runtimes.install.slots import Slots
from edgeward_runtimes.install.watching import Watcher
from edgeward_runtimes.latency.fold import CounterStore
from tests.conftest import Cli

Make = Callable[..., Path]
X = np.ones((1, 2), np.float32)
LIMITS = Limits(window_s=600, samples=50)


def _predict(times: int) -> None:
    with edgeward.load("toy") as model:
        for _ in range(times):
            model.predict(X)


def _attend(home: Home, now: float | None = None) -> None:
    """One reading of the counters, by an agent that has just started."""
    counters = CounterStore(home)
    try:
        Watcher(home).attend(counters.collect(), now)
    finally:
        counters.close()


def _last(home: Home) -> Change:
    return journal.changes(Slots(home, "toy").entries())[-1]


@pytest.fixture
def old(multiply_bundle: Make, home: Home) -> str:
    """A release that has predicted."""
    release = install(home, multiply_bundle("1.0.0")).release
    _predict(100)
    return release


def test_a_release_that_is_slower_is_rolled_back_and_says_why(
    old: str, multiply_bundle: Make, home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    new = install(home, multiply_bundle("1.1.0", sleep_s=0.01), health=LIMITS).release
    _attend(home)
    _predict(49)
    _attend(home)
    assert Slots(home, "toy").target("current") == new  # too few to judge
    _predict(10)
    with caplog.at_level(logging.WARNING):
        _attend(home)
    assert Slots(home, "toy").target("current") == old
    assert f"rolled back toy from {new} to {old}: its p95 is 1" in caplog.text
    last = _last(home)
    assert (last.action, last.release, last.outcome) == ("rollback", old, "done")
    assert (last.reason or "").startswith("its p95 is")
    _predict(100)
    _attend(home)
    assert Slots(home, "toy").target("current") == old  # and that is that


def test_a_release_that_fails_is_rolled_back(old: str, multiply_bundle: Make, home: Home) -> None:
    install(home, multiply_bundle("1.1.0"), health=LIMITS)
    _attend(home)
    artifact = next((Slots(home, "toy").current() / "variants").iterdir())
    artifact.write_text(json.dumps({"factor": 2.0, "fail": "the camera changed"}))
    with edgeward.load("toy") as model:
        for _ in range(60):
            with pytest.raises(EngineError):
                model.predict(X)
    _attend(home)
    assert Slots(home, "toy").target("current") == old
    assert (_last(home).reason or "").startswith("60 of 60 predictions failed")


def test_a_release_that_does_well_is_healthy_when_the_window_ends(
    old: str, multiply_bundle: Make, home: Home, cli: Cli
) -> None:
    new = install(home, multiply_bundle("1.1.0"), health=LIMITS).release
    _attend(home)
    _predict(60)
    _attend(home)
    assert _last(home).health == "watched for 600 s"
    switched = Slots(home, "toy").entries()[-1].at
    _attend(home, now=switched + 601)
    assert (_last(home).health, Slots(home, "toy").target("current")) == ("healthy", new)
    artifact = next((Slots(home, "toy").current() / "variants").iterdir())
    artifact.write_text(json.dumps({"factor": 2.0, "sleep_s": 0.02}))
    _predict(60)
    _attend(home, now=switched + 700)
    assert Slots(home, "toy").target("current") == new  # the window is over
    code, out, _ = cli("status", f"local:{home.root}", "--journal")
    assert code == 0
    assert "install" in out
    assert "healthy" in out


def test_a_window_in_which_hardly_anything_was_predicted_ends_unjudged(
    old: str, multiply_bundle: Make, home: Home
) -> None:
    new = install(home, multiply_bundle("1.1.0", sleep_s=0.01), health=LIMITS).release
    _attend(home)
    _predict(3)
    _attend(home, now=Slots(home, "toy").entries()[-1].at + 601)
    assert Slots(home, "toy").target("current") == new
    assert _last(home).health == "too few predictions to judge: 3"


def test_a_release_that_comes_back_is_judged_by_what_it_does_now(old: str, multiply_bundle: Make, home: Home) -> None:
    slow = multiply_bundle("1.1.0", sleep_s=0.01)
    new = install(home, slow).release
    _predict(200)  # as slow as can be, long ago
    rollback(home, "toy")
    artifact = next((Slots(home, "toy").releases / new / "variants").iterdir())
    install(home, slow, health=LIMITS)
    artifact.write_text(json.dumps({"factor": 2.0}))  # whatever made it slow is gone
    _attend(home)
    _predict(60)
    _attend(home)
    assert Slots(home, "toy").target("current") == new


def test_without_limits_or_without_an_old_release_nothing_is_watched(multiply_bundle: Make, home: Home) -> None:
    install(home, multiply_bundle("1.0.0"), health=LIMITS)
    _predict(60)
    install(home, multiply_bundle("1.1.0", sleep_s=0.01))
    entries = Slots(home, "toy").entries()
    _predict(60)
    _attend(home)
    _attend(home)
    assert Slots(home, "toy").entries() == entries


def test_a_rollback_meant_for_another_release_changes_nothing(old: str, multiply_bundle: Make, home: Home) -> None:
    new = install(home, multiply_bundle("1.1.0")).release
    with pytest.raises(InstallError, match=r"is not at 0\.9\.0-dead any more"):
        rollback(home, "toy", leaving="0.9.0-dead")
    assert Slots(home, "toy").target("current") == new


def test_a_journal_that_grows_too_long_forgets_its_beginning(
    multiply_bundle: Make, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeward_runtimes.install.slots._JOURNAL_BYTES", 2000)
    monkeypatch.setattr("edgeward_runtimes.install.slots._KEPT_ENTRIES", 6)
    install(home, multiply_bundle("1.0.0"))
    install(home, multiply_bundle("1.1.0"))
    for _ in range(10):
        rollback(home, "toy")
    slots = Slots(home, "toy")
    assert slots.journal_size() < 4000
    assert journal.changes(slots.entries())[-1].action == "rollback"


def test_more_releases_are_kept_when_asked_for(multiply_bundle: Make, home: Home) -> None:
    releases = [install(home, multiply_bundle(f"1.{number}.0"), keep=4).release for number in range(5)]
    assert {folder.name for folder in Slots(home, "toy").releases.iterdir()} == set(releases[1:])
