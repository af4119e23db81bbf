"""Commands about releases on their way through a fleet.

All of them ask the monitor. `rollout --wait` is made for pipelines: 0 when every device runs the release, 3 when the
rollout failed or was aborted and the devices are back on the old one.
"""

import time
from typing import Annotated, Any

import typer
from rich.text import Text

from edgeward.cli.bundles import Json
from edgeward.cli.rest import DEFAULT_URL, MonitorUrl, Token

ROLLED_BACK = 3
_ENDS = ("done", "failed", "aborted")
_LOOK_EVERY_S = 1.0
_PATIENCE_S = 300.0

RolloutId = Annotated[str, typer.Argument(metavar="ID", help="As edgeward fleet rollouts shows it.")]
GroupName = Annotated[str, typer.Argument(metavar="GROUP", help="The group's name.")]


def register(fleet: typer.Typer) -> None:
    """Add the commands to `edgeward fleet`."""
    for command in (rollout, rollouts, pause, resume, abort):
        fleet.command()(command)
    group = typer.Typer(no_args_is_help=True)
    group.command("set")(set_group)
    group.command("list")(list_groups)
    group.command("show")(show_group)
    group.command("desire")(desire)
    fleet.add_typer(group, name="group", help="Names for devices, and what those should run.")


def rollout(
    name: Annotated[str, typer.Argument(help="The model's name.")],
    version: Annotated[str, typer.Argument(help="A version in the registry.")],
    group: Annotated[str, typer.Option(help="Whose devices get it.")],
    stages: Annotated[str, typer.Option(help="Shares of the devices, one after the other.")] = "5%,25%,100%",
    soak: Annotated[str, typer.Option(help="How long each stage must be well before the next.")] = "10m",
    gate: Annotated[
        str,
        typer.Option(
            help="Against the old release: p95 at most so many times, so many more errors; drift at most. '' for none."
        ),
    ] = "p95=1.10,errors=0.1%,drift=0.2",
    samples: Annotated[int, typer.Option(min=1, help="How many predictions it takes to judge a gate.")] = 200,
    max_failed: Annotated[str, typer.Option(help="The share of devices that may fail to take it.")] = "10%",
    at_once: Annotated[int, typer.Option(min=1, help="How many devices install at a time.")] = 100,
    answer_within: Annotated[str, typer.Option(help="How long a device that is online may take.")] = "15m",
    registry: Annotated[str | None, typer.Option(help="Another registry than the devices'.")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Until it has ended: exit code 0, or 3 if it failed.")] = False,
    monitor: MonitorUrl = DEFAULT_URL,
    token: Token = None,
    json: Json = False,
) -> None:
    """Roll a release out, stage by stage, and back where it is worse than the old one.

    Example: edgeward fleet rollout digits 1.1.0 --group factory-1 --stages 5%,25%,100% --wait
    """
    from edgeward.cli.output import answer_json
    from edgeward.cli.rest import Monitor

    there = Monitor(monitor, token)
    wanted: dict[str, object] = {"name": name, "version": version, "group": group, "stages": stages, "soak": soak}
    wanted |= {"gate": gate, "samples": samples, "max_failed": max_failed, "at_once": at_once}
    found = there.ask("POST", "/api/rollouts", {**wanted, "answer_within": answer_within, "registry": registry})
    if wait:
        found = _wait(there, found["rollout"]["id"])
    if json:
        answer_json(found)
    else:
        _show(found)
    if wait and found["rollout"]["state"] != "done":
        raise typer.Exit(ROLLED_BACK)


def rollouts(
    rollout_id: Annotated[str | None, typer.Argument(metavar="[ID]", help="One of them, in full.")] = None,
    monitor: MonitorUrl = DEFAULT_URL,
    token: Token = None,
    json: Json = False,
) -> None:
    """List rollouts, or show one: its devices, what its gates see, what was done.

    Example: edgeward fleet rollouts
    """
    from edgeward.cli.output import answer_json, table
    from edgeward.cli.rest import Monitor

    there = Monitor(monitor, token)
    if rollout_id is not None:
        found = there.ask("GET", f"/api/rollouts/{rollout_id}")
        answer_json(found) if json else _show(found)
        return
    listed = there.ask("GET", "/api/rollouts")
    if json:
        answer_json({"rollouts": listed})
        return
    rows = [
        (each["id"], each["model"], each["version"], each["group"], _state(each), _how_far(each)) for each in listed
    ]
    table("Rollouts", ("id", "model", "version", "group", "", ""), rows)


def pause(rollout_id: RolloutId, monitor: MonitorUrl = DEFAULT_URL, token: Token = None, json: Json = False) -> None:
    """Ask no more devices for now. Gates are still watched."""
    _change("pause", rollout_id, monitor, token, json)


def resume(rollout_id: RolloutId, monitor: MonitorUrl = DEFAULT_URL, token: Token = None, json: Json = False) -> None:
    """Go on with a paused rollout."""
    _change("resume", rollout_id, monitor, token, json)


def abort(rollout_id: RolloutId, monitor: MonitorUrl = DEFAULT_URL, token: Token = None, json: Json = False) -> None:
    """End a rollout, and bring every device that it touched back to its old release."""
    _change("abort", rollout_id, monitor, token, json)


def set_group(
    name: GroupName,
    patterns: Annotated[list[str], typer.Argument(metavar="PATTERN...", help="Device ids, or e.g. 'factory-1/*'.")],
    monitor: MonitorUrl = DEFAULT_URL,
    token: Token = None,
    json: Json = False,
) -> None:
    """Make a group, or change which devices it has. New devices join the groups that they match.

    Example: edgeward fleet group set presses 'factory-1/press-*'
    """
    from edgeward.cli.rest import Monitor

    _show_group(Monitor(monitor, token).ask("PUT", f"/api/groups/{name}", {"patterns": patterns}), json)


def list_groups(monitor: MonitorUrl = DEFAULT_URL, token: Token = None, json: Json = False) -> None:
    """List all groups, and what they should run."""
    from edgeward.cli.output import answer_json, table
    from edgeward.cli.rest import Monitor

    there = Monitor(monitor, token)
    groups, desired = there.ask("GET", "/api/groups"), there.ask("GET", "/api/desired")
    if json:
        answer_json({"groups": groups, "desired": desired})
        return
    rows = []
    for group in groups:
        wanted = [f"{each['model']} {each['version']}" for each in desired if each["group"] == group["name"]]
        rows.append((group["name"], " ".join(group["patterns"]), str(len(group["devices"])), ", ".join(wanted) or "–"))
    table("Groups", ("group", "patterns", "devices", "should run"), rows)


def show_group(name: GroupName, monitor: MonitorUrl = DEFAULT_URL, token: Token = None, json: Json = False) -> None:
    """Show the devices of a group."""
    from edgeward.cli.rest import Monitor

    _show_group(Monitor(monitor, token).ask("GET", f"/api/groups/{name}"), json)


def desire(
    name: GroupName,
    model: Annotated[str, typer.Argument(help="The model's name.")],
    version: Annotated[str | None, typer.Argument(help="What the group should run; nothing: whatever it runs.")] = None,
    registry: Annotated[str | None, typer.Option(help="Another registry than the devices'.")] = None,
    monitor: MonitorUrl = DEFAULT_URL,
    token: Token = None,
    json: Json = False,
) -> None:
    """Say what a group should run, at once and without stages. A rollout that is done says it by itself.

    Example: edgeward fleet group desire presses digits 1.1.0
    """
    from edgeward.cli.output import answer_json, people
    from edgeward.cli.rest import Monitor

    there, path = Monitor(monitor, token), f"/api/desired/{name}/{model}"
    if version is None:
        found = there.ask("DELETE", path)
    else:
        found = there.ask("PUT", path, {"version": version, "registry": registry})
    if json:
        answer_json({"desired": found})
    else:
        people.print(f"{name} should run {model} {version or 'as it is'}.", markup=False)


def _change(change: str, rollout_id: str, monitor: str, token: str | None, json: bool) -> None:
    from edgeward.cli.output import answer_json
    from edgeward.cli.rest import Monitor

    found = Monitor(monitor, token).ask("POST", f"/api/rollouts/{rollout_id}/{change}")
    answer_json(found) if json else _show(found)


def _wait(there: Any, rollout_id: str) -> dict[str, Any]:
    """Look until it has ended, and tell on stderr how it goes. A monitor that is away for a while is waited for."""
    from edgeward.cli.output import chatter
    from edgeward.cli.rest import UnreachableError

    heard_at = time.monotonic()
    with chatter.status("…") as status:
        while True:
            try:
                found: dict[str, Any] = there.ask("GET", f"/api/rollouts/{rollout_id}", members=0)
            except UnreachableError:
                if time.monotonic() - heard_at > _PATIENCE_S:
                    raise
            else:
                heard_at, summary = time.monotonic(), found["rollout"]
                if summary["state"] in _ENDS:
                    return there.ask("GET", f"/api/rollouts/{rollout_id}")  # type: ignore[no-any-return]
                status.update(Text(f"{summary['state']}, {_how_far(summary)}"))
            time.sleep(_LOOK_EVERY_S)


def _show(found: dict[str, Any]) -> None:
    from edgeward.cli.output import number, people, table

    summary, judged = found["rollout"], found["judged"]
    people.print(
        Text.assemble(
            (f"{summary['model']} {summary['version']}", "bold"),
            f" to {summary['group']}: ",
            _state(summary),
            f", {_how_far(summary)} (rollout {summary['id']})",
        )
    )
    if judged["new_calls"]:
        rows = [
            (each, str(judged[f"{each}_calls"]), str(judged[f"{each}_errors"]), number(judged[f"{each}_p95_ms"]))
            for each in ("old", "new")
        ]
        table("On the devices that run it", ("release", "calls", "errors", "p95 ms"), rows)
    members = [
        (each["device_id"], str(each["stage"]), each["state"], each["release"] or "–", each["message"])
        for each in found["members"]
        if each["state"] != "waiting"
    ]
    if members:
        table("Devices", ("device", "stage", "", "runs", ""), members)


def _show_group(group: dict[str, Any], json: bool) -> None:
    from edgeward.cli.output import answer_json, people

    if json:
        answer_json(group)
        return
    people.print(f"{group['name']}: {' '.join(group['patterns'])}", markup=False)
    for device in group["devices"]:
        people.print(f"  {device}", markup=False)


def _state(summary: dict[str, Any]) -> Text:
    styles = {"done": "green", "failed": "red", "aborted": "red", "rolling_back": "yellow", "paused": "yellow"}
    return Text(summary["state"].replace("_", " "), styles.get(summary["state"], "bold"))


def _how_far(summary: dict[str, Any]) -> str:
    taken = summary["progress"].get("installed", 0) + summary["progress"].get("present", 0)
    how_far = f"{taken} of {summary['devices']} devices"
    if summary["state"] not in _ENDS:
        how_far = f"stage {summary['stage']} of {len(summary['stages'])}, {how_far}"
    return f"{how_far}: {summary['reason']}" if summary["reason"] else how_far
