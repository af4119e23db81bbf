"""What a rollout does next, as a pure function: rollout, facts and time in; rollout, requests and events out.

Rules:

- A stage's devices are the first of a fixed order; nothing beyond them is ever asked.
- What counts is the release that a device tells to run; its answers only explain it, and may be lost.
- A stage is complete once every device of it that is online has settled. Those that are away hold nothing up for
  long: they are asked when they return, and after the rollout's end by their group's desired release.
- The next stage begins when this one has been complete for the soak, and both all devices that run the release and
  those that this stage added keep the gates (`gates`). What it waits for is its `reason`.
- An exceeded gate, a failed self-test, a device that went back by itself, or too many that did not take the release
  end it (`returning`). A pause stops new requests, but not that.
- A step is repeated as it was, with the same ids, until it has been written down together with what it asks.
"""

import hashlib
from collections.abc import Iterator, Mapping

from msgspec.structs import replace

from edgeward.monitor.rollouts.gates import Verdict, judge
from edgeward.monitor.rollouts.returning import roll_back
from edgeward.monitor.rollouts.state import AGAIN_AFTER_S, ATTEMPTS, AWAY, Ask, Fact, Member, Rollout, Step
from edgeward.monitor.rollouts.terms import is_release_of, stage_sizes
from edgeward_runtimes.errors import MonitorError

SELF_TEST = "does not work on this device"  # what a device's self-test says of a release that it refuses

Facts = Mapping[str, Fact]


def order(rollout_id: str, devices: Mapping[str, bool]) -> list[str]:
    """The order in which devices (id → online now) are reached: those online first, then by a hash.

    The hash is of the rollout's and the device's id: for anybody the same, for every rollout other canaries.
    """
    return sorted(devices, key=lambda each: (not devices[each], _digest(rollout_id, each)))


def request_id(rollout_id: str, member: Member) -> str:
    """The id of a member's latest attempt: the same whoever asks, and however often."""
    return f"{rollout_id}-{_digest(rollout_id, member.device_id)[:16]}-{member.command}-{member.attempt}"


def step(rollout: Rollout, facts: Facts, now: float) -> Step:
    """One step; `facts` are by device id, and a device without any is away."""
    if rollout.state not in ("running", "paused"):
        return _with_requests(rollout, roll_back(rollout, facts, now))
    members = tuple(_observed(rollout, each, facts.get(each.device_id, AWAY), now) for each in rollout.members)
    seen = replace(rollout, members=members)
    failure = _failure(seen, facts)
    if failure is not None:
        return _with_requests(rollout, fail(seen, failure), f"stage {rollout.stage + 1} failed: {failure}")
    if rollout.state == "paused":
        return Step(seen)
    return _with_requests(rollout, *_go_on(seen, facts, now))


def pause(rollout: Rollout) -> Rollout:
    """Ask nothing new. Raises MonitorError unless it is running."""
    _must_be(rollout, "paused", "running")
    return replace(rollout, state="paused", reason="paused")


def resume(rollout: Rollout) -> Rollout:
    """Go on; the soak begins anew. Raises MonitorError unless it is paused."""
    _must_be(rollout, "resumed", "paused")
    return replace(rollout, state="running", complete_at=None, reason="")


def abort(rollout: Rollout, who: str) -> Rollout:
    """Bring every touched device back. Raises MonitorError when it is ending already."""
    _must_be(rollout, "aborted", "running", "paused")
    return replace(rollout, state="rolling_back", outcome="aborted", reason=f"aborted by {who}", complete_at=None)


def fail(rollout: Rollout, reason: str) -> Rollout:
    """Bring every touched device back, because of something."""
    return replace(rollout, state="rolling_back", outcome="failed", reason=reason, complete_at=None)


def _must_be(rollout: Rollout, what: str, *states: str) -> None:
    if rollout.state not in states:
        raise MonitorError(
            f"Rollout {rollout.id} is {rollout.state} and cannot be {what}: only a {' or '.join(states)} one can."
        )


def _observed(rollout: Rollout, member: Member, fact: Fact, now: float) -> Member:
    """Where a device that was asked is now, by what it tells."""
    runs_it = fact.release is not None and is_release_of(fact.release, rollout.terms.version)
    if member.state in ("asked", "overdue") and runs_it:
        return replace(member, state="installed", refusals=0, message="")
    if member.state == "asked" and fact.reply is not None and not fact.reply.ok:
        refusals = member.refusals + 1
        is_final = refusals >= ATTEMPTS or SELF_TEST in fact.reply.message
        return replace(
            member, state="refused" if is_final else "waiting", refusals=refusals, message=fact.reply.message
        )
    if member.state == "asked" and fact.online and now - member.asked_at > rollout.terms.answer_within_s:
        late = f"it does not run {rollout.terms.version} after {rollout.terms.answer_within_s:.0f} s"
        return replace(member, state="overdue", message=late)
    if member.state == "installed" and fact.release is not None and not runs_it:
        return replace(member, state="returned", message=f"it went back to {fact.release} by itself")
    return member


def _failure(rollout: Rollout, facts: Facts) -> str | None:
    """Why the rollout has failed, or None."""
    asked = [each for each in rollout.members if each.attempt]
    for each in asked:
        if each.state == "returned" or (each.state == "refused" and SELF_TEST in each.message):
            return f"{each.device_id}: {each.message}"
    without = [each for each in asked if each.state in ("refused", "overdue")]
    if len(without) > rollout.terms.max_failed * len(asked):
        first = without[0]
        return f"{len(without)} of {len(asked)} devices did not take it; {first.device_id}: {first.message}"
    return next((each.reason for each in _verdicts(rollout, facts) if each.state == "exceeded"), None)


def _verdicts(rollout: Rollout, facts: Facts) -> Iterator[Verdict]:
    """On all devices that run the release, and on those that this stage added."""
    begin, end = _stage(rollout)
    for members in (rollout.members[:end], rollout.members[begin:end]):
        installed = [facts.get(each.device_id, AWAY).compared for each in members if each.state == "installed"]
        if installed:
            yield judge(rollout.terms.gates, [each for each in installed if each is not None], rollout.terms.samples)


def _stage(rollout: Rollout) -> tuple[int, int]:
    """Where the stage's own members begin and end."""
    sizes = (0, *stage_sizes(rollout.terms.stages, len(rollout.members)))
    return sizes[rollout.stage], sizes[rollout.stage + 1]


def _go_on(rollout: Rollout, facts: Facts, now: float) -> tuple[Rollout, str]:
    """Ask the stage's devices; when they are complete, soaked and judged, begin the next stage or end."""
    obstacle = _obstacle(rollout, facts)
    if obstacle is not None:
        return replace(rollout, reason=obstacle), ""
    rollout = replace(rollout, members=tuple(_asked(rollout, facts, now)))
    unsettled = _unsettled(rollout, facts)
    if unsettled and rollout.complete_at is None:
        return replace(rollout, reason=unsettled), ""
    rollout = replace(rollout, complete_at=now if rollout.complete_at is None else rollout.complete_at)
    waits_for = _waits_for(rollout, facts, now)
    return (replace(rollout, reason=waits_for), "") if waits_for else _advance(rollout)


def _obstacle(rollout: Rollout, facts: Facts) -> str | None:
    """Why nothing can begin: what the first devices run has too few calls to compare with, and soon gets no more."""
    members = rollout.members[: _stage(rollout)[1]]
    known = [fact for each in members if (fact := facts.get(each.device_id, AWAY)).compared and fact.release]
    if rollout.terms.gates.p95 is None or not known or any(each.attempt for each in members):
        return None
    count = sum(fact.compared.old.histogram.count for fact in known if fact.compared)
    if count >= rollout.terms.samples:
        return None
    return f"what the first stage's devices run has {count} of the {rollout.terms.samples} calls to compare with"


def _asked(rollout: Rollout, facts: Facts, now: float) -> Iterator[Member]:
    """All members, those of them asked whose turn it is."""
    _, end = _stage(rollout)
    free = rollout.terms.at_once - sum(
        each.state == "asked" and facts.get(each.device_id, AWAY).online for each in rollout.members
    )
    for index, member in enumerate(rollout.members):
        fact = facts.get(member.device_id, AWAY)
        if index >= end or member.state != "waiting" or not fact.online:
            yield member
        elif fact.release is not None and is_release_of(fact.release, rollout.terms.version):
            yield replace(member, state="installed" if member.attempt else "present")
        elif free > 0 and now - member.asked_at >= AGAIN_AFTER_S * member.refusals:
            free -= 1
            before = member.before if member.attempt else fact.release
            yield replace(member, state="asked", before=before, attempt=member.attempt + 1, asked_at=now)
        else:
            yield member


def _unsettled(rollout: Rollout, facts: Facts) -> str:
    """What the stage is not complete without: its devices that are online, or have gone only lately."""
    members = rollout.members[: _stage(rollout)[1]]
    still_to = [facts.get(each.device_id, AWAY) for each in members if each.state in ("waiting", "asked")]
    online = sum(fact.online for fact in still_to)
    lately = sum(not fact.online and fact.away_s < rollout.terms.answer_within_s for fact in still_to)
    if online or lately:
        away = f"; {lately} of them went offline just now" if lately else ""
        return f"{online + lately} of {len(members)} devices of the stage are still to install it{away}"
    is_anybody_here = any(each.state == "installed" for each in members)
    return "no device of the stage is online" if still_to and not is_anybody_here else ""


def _waits_for(rollout: Rollout, facts: Facts, now: float) -> str:
    """What a complete stage still waits for; empty: nothing."""
    installed = [each for each in rollout.members if each.state == "installed"]
    gone = sum(not facts.get(each.device_id, AWAY).online for each in installed)
    if gone > rollout.terms.max_failed * len(installed):
        return f"{gone} of the {len(installed)} devices that took it are offline"
    unknown = next((each.reason for each in _verdicts(rollout, facts) if each.state == "unknown"), None)
    if unknown is not None:
        return f"too little is counted yet: {unknown}"
    return "the soak" if now < (rollout.complete_at or now) + rollout.terms.soak_s else ""


def _advance(rollout: Rollout) -> tuple[Rollout, str]:
    """The next stage, or the end; and what to say of it."""
    stages = len(rollout.terms.stages)
    if rollout.stage + 1 < stages:
        following = replace(rollout, stage=rollout.stage + 1, complete_at=None, reason="")
        return following, f"stage {rollout.stage + 1} of {stages} passed"
    left = sum(each.state not in ("installed", "present") for each in rollout.members)
    reason = f"{left} devices are left to the group's desired release" if left else "every device runs it"
    return replace(rollout, state="done", reason=reason), f"done: {reason}"


def _with_requests(before: Rollout, after: Rollout, event: str = "") -> Step:
    """The step between two states: new attempts are asked for; installs that are wanted no more, taken back."""
    cancels, asks = [], []
    for old, new in zip(before.members, after.members, strict=True):
        if old.state in ("asked", "overdue") and new.state in ("returning", "returned", "stuck"):
            cancels.append(request_id(before.id, old))
        if new.attempt > old.attempt:
            asks.append(_ask(after, new))
    if not event and before.state == "rolling_back" != after.state:
        event = f"{after.state}: {after.reason}"
    return Step(after, tuple(cancels), tuple(asks), (event,) if event else ())


def _ask(rollout: Rollout, member: Member) -> Ask:
    terms = rollout.terms
    arguments = {"name": terms.model}
    if member.command == "rollback":
        arguments["to"] = member.before or ""
    else:
        arguments["version"] = terms.version
        if terms.registry is not None:
            arguments["registry"] = terms.registry
    return Ask(request_id(rollout.id, member), member.device_id, member.command, arguments)


def _digest(rollout_id: str, device_id: str) -> str:
    return hashlib.sha256(f"{rollout_id}\n{device_id}".encode()).hexdigest()
