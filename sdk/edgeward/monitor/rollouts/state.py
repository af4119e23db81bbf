"""A rollout as it is kept: what it shall do, how far it is, and how far each of its devices is.

running ⇄ paused                                   stage by stage
running → done
running, paused → rolling_back → failed, aborted

waiting → asked → installed                        a device on its way to the new release
asked → waiting, refused, overdue                  it did not take it: asked again, asked no more, no word in time
waiting → present                                  it had the release before anybody asked
asked, overdue, installed → returning → returned   and back
returning → stuck                                  it could not be brought back
"""

from math import inf
from typing import Literal

from msgspec import Struct

from edgeward.monitor.rollouts.gates import Compared
from edgeward.monitor.rollouts.terms import Gates

State = Literal["running", "paused", "rolling_back", "done", "failed", "aborted"]
Progress = Literal[
    "waiting", "asked", "installed", "present", "refused", "overdue", "returning", "returned", "stuck"
]  # fmt: skip
Outcome = Literal["failed", "aborted"]
Command = Literal["install", "rollback"]

ACTIVE: frozenset[State] = frozenset({"running", "paused", "rolling_back"})
TOUCHED: frozenset[Progress] = frozenset({"asked", "overdue", "installed", "returning"})  # has it, or may yet get it
ATTEMPTS = 3  # before a device that refuses is left alone
AGAIN_AFTER_S = 5.0


class Member(Struct, frozen=True):
    """A device of a rollout.

    Attributes:
        device_id: `fleet/device`.
        state: How far it is.
        before: The release that it had when it was first asked, to go back to; None: the model was not installed.
        attempt: How often it was asked for anything; each attempt is a request of its own.
        refusals: How many of those in a row failed.
        asked_at: Unix seconds of the latest.
        message: What it last said, or why it is where it is.
    """

    device_id: str
    state: Progress = "waiting"
    before: str | None = None
    attempt: int = 0
    refusals: int = 0
    asked_at: float = 0.0
    message: str = ""

    @property
    def command(self) -> Command:
        """What its latest attempt was for."""
        return "rollback" if self.state in ("returning", "returned", "stuck") else "install"


class Terms(Struct, frozen=True, kw_only=True):
    """What a rollout was told to do.

    Attributes:
        model: The model's name.
        version: What is installed: a version, or one release of it.
        group: Whose devices get it.
        stages: Shares of the devices, rising to 1.
        soak_s: How long a stage must have been complete before the next begins, in seconds.
        gates: What the release must keep.
        samples: How many calls of the new release it takes to judge a gate.
        max_failed: The share of the devices asked which may not take the release, 0 to 1.
        at_once: How many devices may be installing at a time.
        answer_within_s: How long a device that is online may take for one attempt, and for how long a stage waits for
            one that has gone, in seconds.
        registry: Where devices get it from; None: where each is told to.
    """

    model: str
    version: str
    group: str
    stages: tuple[float, ...] = (0.05, 0.25, 1.0)
    soak_s: float = 600.0
    gates: Gates = Gates()
    samples: int = 200
    max_failed: float = 0.1
    at_once: int = 100
    answer_within_s: float = 900.0
    registry: str | None = None


class Rollout(Struct, frozen=True, kw_only=True):
    """A rollout at one moment.

    Attributes:
        id: Random, as devices remember requests whose ids are made of it.
        members: In the order in which they are reached.
        stage: Which stage it is in, from 0.
        complete_at: Since when the stage is complete, Unix seconds; None: it is not.
        outcome: What rolling back ends in.
        reason: What it waits for, or why it ended.
    """

    id: str
    terms: Terms
    members: tuple[Member, ...]
    state: State = "running"
    stage: int = 0
    complete_at: float | None = None
    outcome: Outcome | None = None
    reason: str = ""

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to do: it ended, and no device is still on its way back."""
        if self.state in ACTIVE:
            return False
        return self.state == "done" or not any(each.state in TOUCHED for each in self.members)


class Reply(Struct, frozen=True):
    """A device's answer to its latest attempt."""

    ok: bool
    message: str = ""


class Fact(Struct, frozen=True):
    """What the monitor knows of a device at this moment.

    Attributes:
        online: Whether it is there.
        release: The release of the model that it tells to run; None: none, or it has not told since its birth.
        reply: The answer to its latest attempt, if there is one.
        compared: What the old and the new release did there, as far as somebody wants to judge it.
        away_s: For how long it has not been heard of, where it is not online.
    """

    online: bool
    release: str | None = None
    reply: Reply | None = None
    compared: Compared | None = None
    away_s: float = inf


AWAY = Fact(online=False)


class Ask(Struct, frozen=True):
    """A request to a device. Repeated, it has the same id."""

    id: str
    device_id: str
    command: Command
    arguments: dict[str, str]


class Step(Struct, frozen=True):
    """What follows: the rollout from now on, requests to take back, then requests to make; what the audit shall say."""

    rollout: Rollout
    cancels: tuple[str, ...] = ()
    asks: tuple[Ask, ...] = ()
    events: tuple[str, ...] = ()
