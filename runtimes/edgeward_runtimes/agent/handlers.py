"""What a device does when a host asks: `install`, `rollback`, `collect_logs`, `capture`, `reset_observations`.

A handler takes the request's arguments, checks them as a struct, and gives a `Reply`; what goes wrong is an
EdgewardError. Others may be added where the agent is made (`Agent(config, home, handlers)`).
"""

import logging
import os
import subprocess
import sys
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from edgeward_runtimes.agent.config import UpdateConfig
from edgeward_runtimes.agent.logs import Recent
from edgeward_runtimes.agent.obeying import Handler, Reply
from edgeward_runtimes.errors import InstallError
from edgeward_runtimes.home import Home
from edgeward_runtimes.install.slots import Slots
from edgeward_runtimes.manifest import Name
from edgeward_runtimes.observation import settings
from edgeward_runtimes.observation.settings import Capture
from edgeward_runtimes.release import in_use

_log = logging.getLogger("edgeward.agent")


class _Arguments(Struct, frozen=True, forbid_unknown_fields=True):
    """Base of arguments: what is not known is refused."""


class _Logs(_Arguments, frozen=True):
    lines: Annotated[int, Meta(ge=1, le=10_000)] = 500


class _Named(_Arguments, frozen=True):
    name: Name


class _Install(_Arguments, frozen=True):
    """Without a version, the latest; without a registry, that of the enrollment."""

    name: Name
    version: Name | None = None
    registry: Annotated[str, Meta(pattern=r"\Ahttps?://", max_length=500)] | None = None


class _RollBack(_Arguments, frozen=True):
    """`to` is the release that is to run afterwards; empty: the previous one, whichever it is."""

    name: Name
    to: str = ""


class _Captured(_Arguments, frozen=True):
    """`on` with `settings` begins to capture and `off` ends it; `fetch` brings what was kept, `clear` removes it."""

    name: Name
    action: Literal["fetch", "on", "off", "status", "clear"] = "fetch"
    settings: Capture = Capture()


def of(home: Home, recent: Recent, update: UpdateConfig) -> dict[str, Handler]:
    """The handlers of a device."""
    return {
        "collect_logs": lambda given: _collect_logs(recent, msgspec.convert(given, _Logs)),
        "capture": lambda given: _capture(home, msgspec.convert(given, _Captured)),
        "reset_observations": lambda given: _reset(home, msgspec.convert(given, _Named)),
        "install": lambda given: _install(home, update, msgspec.convert(given, _Install)),
        "rollback": lambda given: _roll_back(home, msgspec.convert(given, _RollBack)),
    }


def _collect_logs(recent: Recent, given: _Logs) -> Reply:
    lines = recent.lines()[-given.lines :]
    return Reply(f"the agent's last {len(lines)} lines", "".join(f"{line}\n" for line in lines).encode())


def _reset(home: Home, given: _Named) -> Reply:
    in_use(str(home.root), given.name)  # raises for what is not installed
    settings.reset(home, given.name)
    return Reply(f"{given.name} is observed anew.")


def _install(home: Home, update: UpdateConfig, given: _Install) -> Reply:
    """In a process of its own, whose memory is given back: TUF and the installer take more than the agent does."""
    options = {"--version": given.version, "--registry": given.registry}
    options |= {"--limit": update.limit, "--health": update.health}
    command = [sys.executable, "-m", "edgeward_runtimes.update", given.name]
    command += [word for option, value in options.items() if value is not None for word in (option, value)]
    environment = {**os.environ, **home.environment}
    # -m puts the working directory first on the path: what lies in it must not be imported.
    done = subprocess.run(command, cwd="/", env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = done.stderr.strip().splitlines() or [f"it ended with {done.returncode} and no word"]
        _log.warning("an update of %s failed: %s", given.name, said[-1])  # which the fleet is told
        raise InstallError(said[-1])
    return Reply(f"{given.name} runs {Slots(home, given.name).current().name}.")


def _roll_back(home: Home, given: _RollBack) -> Reply:
    from edgeward_runtimes.install import installer  # what the agent need not hold for months

    slots = Slots(home, given.name)
    current, previous = slots.current().name, slots.target("previous")
    if given.to == current:
        return Reply(f"{given.name} runs {current}, as before.")
    if given.to not in ("", previous):
        raise InstallError(f"{given.name} cannot go back to {given.to}: the release before {current} is {previous}.")
    done = installer.rollback(home, given.name, leaving=current, reason="asked for by the fleet")
    return Reply(f"{done.name} runs {done.release} again, and no longer {done.replaced}.")


def _capture(home: Home, given: _Captured) -> Reply:
    from edgeward_runtimes.observation import captured

    in_use(str(home.root), given.name)
    match given.action:
        case "on":
            settings.set_capture(home, given.name, given.settings)
        case "off":
            settings.set_capture(home, given.name, None)
        case "clear":
            captured.clear(home, given.name)
        case "fetch":
            found = captured.collect(home, given.name)
            return Reply(found.message, found.path)
    return Reply(captured.status(home, given.name).sentence)
