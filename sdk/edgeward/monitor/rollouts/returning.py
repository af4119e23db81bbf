"""How a rollout that failed or was aborted brings its devices back. Pure.

Every device that has the new release, or may yet get it, is asked to go back to what it had; the request of one that is
away waits for its return, however long that takes. The rollout has ended when those that are online are back.
"""

from collections.abc import Mapping

from msgspec.structs import replace

from edgeward.monitor.rollouts.state import AGAIN_AFTER_S, ATTEMPTS, AWAY, TOUCHED, Fact, Member, Rollout
from edgeward.monitor.rollouts.terms import is_release_of


def roll_back(rollout: Rollout, facts: Mapping[str, Fact], now: float) -> Rollout:
    """The rollout after one more look at its devices."""
    members = tuple(_next(rollout, each, facts.get(each.device_id, AWAY), now) for each in rollout.members)
    rollout = replace(rollout, members=members)
    left = [each for each in members if each.state in TOUCHED]
    if rollout.state != "rolling_back" or any(facts.get(each.device_id, AWAY).online for each in left):
        return rollout
    stuck = sum(each.state == "stuck" for each in members)
    notes = (
        rollout.reason,
        f"{stuck} devices could not be brought back" if stuck else "",
        f"{len(left)} devices follow when they return" if left else "",
    )
    return replace(rollout, state=rollout.outcome or "failed", reason="; ".join(filter(None, notes)))


def _next(rollout: Rollout, member: Member, fact: Fact, now: float) -> Member:
    runs_it = fact.release is not None and is_release_of(fact.release, rollout.terms.version)
    if member.state == "returning":
        return _returning(rollout, member, fact, now, runs_it=runs_it)
    # Whatever a device was asked for and answered: when it has the release while we bring back, it shall go back.
    came_late = rollout.state == "rolling_back" and member.state in ("returned", "refused", "waiting") and runs_it
    if member.state not in TOUCHED and not (came_late and member.attempt):
        return member
    if member.before is None:
        keeps = "it had no release before, so it keeps this one"
        return replace(member, state="stuck" if runs_it else "returned", message=keeps if runs_it else "")
    return _asked(member, now, refusals=0)


def _returning(rollout: Rollout, member: Member, fact: Fact, now: float, *, runs_it: bool) -> Member:
    """A device that was asked to go back: is it, must it be asked again, or is there no use in it?"""
    reply = fact.reply
    if reply is not None and reply.ok and fact.release is not None and not runs_it:
        return replace(member, state="returned", refusals=0, message="")
    waited_s = now - member.asked_at
    refused = reply is not None and not reply.ok and waited_s >= AGAIN_AFTER_S
    if not fact.online or not (refused or waited_s > rollout.terms.answer_within_s):
        return member
    late = f"it is not back on {member.before} after {rollout.terms.answer_within_s:.0f} s"
    why = reply.message if reply is not None and not reply.ok else late
    if member.refusals + 1 < ATTEMPTS:
        return replace(_asked(member, now, refusals=member.refusals + 1), message=why)
    return replace(member, state="stuck" if runs_it else "returned", message=why)


def _asked(member: Member, now: float, *, refusals: int) -> Member:
    attempt = member.attempt + 1
    return replace(member, state="returning", attempt=attempt, refusals=refusals, asked_at=now, message="")
