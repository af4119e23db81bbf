"""Finished trials in Optuna's journal file, and what to try next.

The journal, `DIR/trials.log`, holds finished trials alone, each appended at once: a process that is killed loses the
trial that it was at. `optuna-dashboard` and Optuna's own functions read it.

Trials are asked for in batches of a fixed size, by a sampler whose seed is made of the study's and the batch's number,
and which sees the trials of earlier batches only. So the same seed gives the same trials, however many workers there
are, in whatever order they finish, and however often the search was interrupted.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec
import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from edgeward_converters.tune import space
from edgeward_converters.tune.trials import Result
from edgeward_runtimes.errors import ConfigError

BATCH = 4
_STUDY = "edgeward"
_DIRECTIONS: tuple[Literal["minimize"], ...] = (
    "minimize",
    "minimize",
)  # drop and size: latency is never twice the same, and would steer the search
_STARTUP = 8


class Journal:
    """The study in a folder."""

    def __init__(self, folder: Path, about: dict[str, Any], variants: Sequence[str], *, has_steps: bool) -> None:
        """Open or begin it.

        Args:
            folder: Where `trials.log` lies.
            about: What the study is of; that of a folder that has one must be equal.
            variants: The ids to choose from.
            has_steps: Whether steps may go before the variants.

        Raises:
            ConfigError: When the folder holds another study.
        """
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        folder.mkdir(parents=True, exist_ok=True)
        storage = JournalStorage(JournalFileBackend(str(folder / "trials.log")))
        self._study = optuna.create_study(
            storage=storage, study_name=_STUDY, directions=_DIRECTIONS, load_if_exists=True
        )
        said = json.dumps(about, sort_keys=True)
        if self._study.user_attrs.get("about", said) != said:
            raise ConfigError(
                f"{folder} holds the trials of another source, other data or other options; name another folder by -o."
            )
        self._study.set_user_attr("about", said)
        self._asked: dict[int, Any] = {}
        self._seed, self._variants, self._has_steps = int(about["seed"]), list(variants), has_steps

    def results(self) -> dict[int, Result]:
        """What is finished, by place."""
        found = [msgspec.convert(json.loads(each.user_attrs["result"]), Result) for each in self._study.trials]
        return {each.place: each for each in found}

    def ask(self, batch: int) -> list[dict[str, Any]]:
        """The recipes of a batch; those before it must be finished."""
        asking, places = self._before(batch)
        first = space.known(self._variants, has_steps=self._has_steps)
        recipes = []
        for place in places:
            if place < len(first):
                asking.enqueue_trial(first[place])
            self._asked[place] = asking.ask()
            recipes.append(space.suggest(self._asked[place], self._variants, has_steps=self._has_steps))
        return recipes

    def tell(self, result: Result) -> None:
        """Append a finished trial that was asked for."""
        self._study.add_trial(_finished(self._asked.pop(result.place), result))

    def _before(self, batch: int) -> tuple[Any, range]:
        """A study in memory of all trials before a batch, in their order, and the batch's places."""
        seed = (self._seed * 1_000_003 + batch) % 2**32
        sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=_STARTUP)
        asking = optuna.create_study(directions=_DIRECTIONS, sampler=sampler)
        earlier = sorted(self._study.trials, key=_place)
        asking.add_trials([each for each in earlier if _place(each) < batch * BATCH])
        return asking, range(batch * BATCH, (batch + 1) * BATCH)


def _place(trial: Any) -> int:
    return int(trial.user_attrs["place"])


def _finished(trial: Any, result: Result) -> Any:
    """The trial as it goes into the journal: one entry, values and all."""
    return optuna.trial.create_trial(
        state=optuna.trial.TrialState.FAIL if result.drop is None else optuna.trial.TrialState.COMPLETE,
        params=trial.params,
        distributions=trial.distributions,
        values=None if result.drop is None else [result.drop, float(result.size_bytes or 0)],
        user_attrs={"place": result.place, "result": msgspec.json.encode(result).decode()},
    )
