"""What a rollout promises, whatever devices, operators and processes do: a world by hypothesis around `plan.step`."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from edgeward.monitor.rollouts import plan
from edgeward.monitor.rollouts.gates import Calls, Compared
from edgeward.monitor.rollouts.state import TOUCHED, Ask, Fact, Member, Reply, Rollout, Step, Terms
from edgeward.monitor.rollouts.terms import Gates, stage_sizes
from edgeward_runtimes.errors import MonitorError
from edgeward_runtimes.latency.histogram import Histogram

OLD, NEW = "1.0.0-00000000", "1.1.0-11111111"
FAST = Histogram.of([1_000_000] * 1000)
SLOW = Histogram.of([2_000_000] * 1000)
SELF_TEST = "toy does not work on this device. multiply-fp32: y is off by 3."


class World:
    """Devices that do what they are asked when their turn comes, and a rollout that is stepped and saved."""

    def __init__(self, count: int, **terms: object) -> None:
        self.now = 1000.0
        self.online = {f"f/d{number}": True for number in range(count)}
        self.releases: dict[str, str | None] = dict.fromkeys(self.online, OLD)
        self.latency = {OLD: FAST, NEW: FAST}
        self.errors = {OLD: 0, NEW: 0}
        self.away_s = float("inf")  # of those who are not online
        self.refuses: dict[str, str] = {}
        self.pending: dict[str, list[Ask]] = {each: [] for each in self.online}
        self.replies: dict[str, Reply] = {}
        self.asked: dict[str, Ask] = {}
        self.cancelled: set[str] = set()
        self.reached: set[str] = set()
        self.events: list[str] = []
        given = {"model": "toy", "version": "1.1.0", "group": "g", "soak_s": 10.0, "gates": Gates(p95=1.1, errors=0.01)}
        members = tuple(Member(each) for each in plan.order("r", self.online))
        self.rollout = Rollout(id="r", terms=Terms(**(given | terms)), members=members)  # type: ignore[arg-type]

    def facts(self) -> dict[str, Fact]:
        return {member.device_id: self._fact(member) for member in self.rollout.members}

    def step(self) -> Step:
        """One step, saved together with what it asks; an earlier attempt that died before that left no trace."""
        step = plan.step(self.rollout, self.facts(), self.now)
        assert step == plan.step(self.rollout, self.facts(), self.now), "repeated, it is the same"
        for taken_back in step.cancels:
            if taken_back not in self.replies:
                self.cancelled.add(taken_back)
                self.replies[taken_back] = Reply(False, "cancelled")
        for ask in step.asks:
            assert ask.id not in self.asked, "an attempt is asked for once"
            self.asked[ask.id] = ask
            self.pending[ask.device_id].append(ask)
            self.reached.add(ask.device_id)
        self.rollout = step.rollout
        self.events += step.events
        return step

    def obey(self, device: str) -> None:
        """A device that is online does the first thing that it was asked for."""
        if not (self.online[device] and self.pending[device]):
            return
        ask = self.pending[device].pop(0)
        if ask.id in self.cancelled:
            return
        if ask.command == "install" and device in self.refuses:
            self.replies[ask.id] = Reply(False, self.refuses[device])
            return
        self.releases[device] = NEW if ask.command == "install" else ask.arguments["to"]
        self.replies[ask.id] = Reply(True)

    def run(self, until: Callable[[], bool], ticks: int = 200) -> None:
        """Steps of a second in which everybody online obeys."""
        for _ in range(ticks):
            if until():
                return
            self.step()
            for device in self.online:
                self.obey(device)
            self.now += 1
        pytest.fail(f"not within {ticks} steps: {self.rollout.state}, {self.rollout.reason}")

    def state(self, device: str) -> str:
        return next(each.state for each in self.rollout.members if each.device_id == device)

    def ends(self) -> None:
        self.run(lambda: self.rollout.state in ("done", "failed", "aborted"))

    def _fact(self, member: Member) -> Fact:
        device = member.device_id
        release = self.releases[device]
        new = Calls(self.latency[NEW], self.errors[NEW]) if release == NEW else Calls()
        reply = self.replies.get(plan.request_id("r", member)) if member.attempt else None
        return Fact(
            self.online[device], release, reply, Compared(Calls(self.latency[OLD], self.errors[OLD]), new), self.away_s
        )


def test_a_good_release_reaches_every_device_stage_by_stage() -> None:
    world = World(40)
    world.run(lambda: world.rollout.stage == 1)
    assert len(world.reached) == 2, "5 % of 40"
    world.run(lambda: world.rollout.stage == 2)
    assert len(world.reached) == 10
    world.ends()
    assert world.rollout.state == "done"
    assert set(world.releases.values()) == {NEW}
    assert world.events == ["stage 1 of 3 passed", "stage 2 of 3 passed", "done: every device runs it"]
    assert {each.attempt for each in world.rollout.members} == {1}


def test_a_slow_release_ends_with_the_canaries() -> None:
    world = World(40)
    world.latency[NEW] = SLOW
    world.ends()
    assert world.rollout.state == "failed"
    assert "p95 is 2.04 ms, 2.00 of the old release's 1.02 ms, over 2000 predictions" in world.rollout.reason
    assert len(world.reached) == 2
    assert set(world.releases.values()) == {OLD}


def test_a_release_that_fails_its_self_test_ends_at_once() -> None:
    world = World(40)
    world.refuses = dict.fromkeys(world.online, SELF_TEST)
    world.ends()
    assert world.rollout.reason.endswith(SELF_TEST)
    assert len(world.asked) == 2, "asked once each"
    assert set(world.releases.values()) == {OLD}


def test_an_install_that_fails_otherwise_is_tried_three_times() -> None:
    world = World(2, stages=(0.5, 1.0))
    canary = world.rollout.members[0].device_id
    world.refuses[canary] = "UpdateError: the registry does not answer."
    world.ends()
    assert "1 of 1 devices did not take it" in world.rollout.reason
    assert [each.command for each in world.asked.values()] == ["install"] * 3


def test_a_few_devices_that_do_not_take_it_do_not_end_it() -> None:
    world = World(40, max_failed=0.5)
    world.refuses[world.rollout.members[1].device_id] = "InstallError: the disk is full."
    world.ends()
    assert world.rollout.state == "done"
    assert world.rollout.reason == "1 devices are left to the group's desired release"


def test_a_device_that_went_back_by_itself_ends_it() -> None:
    world = World(4, stages=(0.5, 1.0))
    world.run(lambda: world.rollout.complete_at is not None)
    canary, other = (each.device_id for each in world.rollout.members[:2])
    world.releases[canary] = OLD
    world.ends()
    assert f"{canary}: it went back to {OLD} by itself" in world.rollout.reason
    assert world.releases[other] == OLD


def test_a_device_that_has_told_nothing_since_its_birth_has_not_gone_back() -> None:
    world = World(4)
    world.run(lambda: world.rollout.complete_at is not None)
    world.releases[world.rollout.members[0].device_id] = None
    world.step()
    assert world.rollout.state == "running"


def test_devices_that_are_away_hold_nothing_up_and_are_asked_when_they_return() -> None:
    world = World(10, stages=(0.5, 1.0))
    away = world.rollout.members[2].device_id
    world.online[away] = False
    world.run(lambda: world.rollout.stage == 1)
    assert world.state(away) == "waiting"
    world.online[away] = True
    world.ends()
    assert world.rollout.state == "done"
    assert world.releases[away] == NEW


def test_a_device_that_has_gone_just_now_is_waited_for_a_while() -> None:
    world = World(10, stages=(0.5, 1.0))
    away = world.rollout.members[2].device_id
    world.online[away], world.away_s = False, 30.0
    world.run(lambda: world.rollout.reason.startswith("1 of 5"))
    world.step()
    assert (
        world.rollout.reason == "1 of 5 devices of the stage are still to install it; 1 of them went offline just now"
    )
    world.away_s = 901.0
    world.run(lambda: world.rollout.stage == 1)


def test_a_stage_waits_while_nobody_of_it_is_there() -> None:
    world = World(10, stages=(0.1, 1.0))
    world.online[world.rollout.members[0].device_id] = False
    for _ in range(100):
        world.step()
        world.now += 60
    assert world.rollout.reason == "no device of the stage is online"
    assert not world.asked


def test_devices_that_took_it_and_vanished_hold_the_next_stage_up() -> None:
    world = World(10, stages=(0.2, 1.0))
    world.run(lambda: world.rollout.complete_at is not None)
    world.online[world.rollout.members[0].device_id] = False
    world.now += 3600
    world.step()
    assert world.rollout.stage == 0
    assert world.rollout.reason == "1 of the 2 devices that took it are offline"


def test_it_waits_for_enough_calls_and_says_so() -> None:
    world = World(10, samples=5000)
    world.step()
    assert world.rollout.reason == "what the first stage's devices run has 1000 of the 5000 calls to compare with"
    assert not world.asked
    world.latency[OLD] = FAST.merge(FAST).merge(FAST).merge(FAST).merge(FAST)
    world.run(lambda: world.rollout.complete_at is not None)
    world.now += 3600
    world.step()
    assert world.rollout.reason == "too little is counted yet: 1000 of 5000 calls that p95 takes"


def test_a_device_away_during_the_rollback_goes_back_when_it_returns() -> None:
    world = World(4, stages=(1.0,), max_failed=1.0)
    world.run(lambda: world.rollout.complete_at is not None)
    away = world.rollout.members[3].device_id
    world.online[away] = False
    world.errors[NEW] = 1000
    world.ends()
    assert "1 devices follow when they return" in world.rollout.reason
    assert world.releases[away] == NEW
    assert not world.rollout.is_over
    world.online[away] = True
    world.run(lambda: world.rollout.is_over)
    assert set(world.releases.values()) == {OLD}


def test_an_install_that_was_under_way_is_taken_back() -> None:
    world = World(2, stages=(1.0,))
    world.step()
    busy = world.rollout.members[0].device_id
    world.online[busy] = False
    world.rollout = plan.abort(world.rollout, "kim")
    world.ends()
    world.online[busy] = True
    world.run(lambda: world.rollout.is_over)
    assert world.rollout.reason.startswith("aborted by kim")
    assert set(world.releases.values()) == {OLD}
    assert any("install" in each for each in world.cancelled)


def test_a_device_without_a_release_before_keeps_the_new_one_and_says_so() -> None:
    world = World(1, stages=(1.0,), gates=Gates())
    (device,) = world.online
    world.releases[device] = None
    world.run(lambda: world.rollout.complete_at is not None)
    world.rollout = plan.abort(world.rollout, "kim")
    world.ends()
    assert world.state(device) == "stuck"
    assert "1 devices could not be brought back" in world.rollout.reason


def test_a_device_that_has_the_release_already_is_never_asked() -> None:
    world = World(4, stages=(1.0,))
    has_it = world.rollout.members[0].device_id
    world.releases[has_it] = NEW
    world.run(lambda: world.rollout.complete_at is not None)
    world.errors[NEW] = 1000
    world.ends()
    assert world.state(has_it) == "present"
    assert world.releases[has_it] == NEW


def test_a_paused_rollout_asks_nothing_but_still_watches_its_gates() -> None:
    world = World(10, stages=(0.5, 1.0))
    world.run(lambda: world.rollout.complete_at is not None)
    world.rollout = plan.pause(world.rollout)
    world.now += 3600
    asked = len(world.asked)
    for _ in range(5):
        world.step()
    assert len(world.asked) == asked
    world.errors[NEW] = 1000
    world.ends()
    assert world.rollout.state == "failed"


def test_what_is_over_cannot_be_paused_resumed_or_aborted() -> None:
    world = World(1)
    world.ends()
    for change in (plan.pause, plan.resume, lambda rollout: plan.abort(rollout, "kim")):
        with pytest.raises(MonitorError, match="Rollout r is done and cannot be"):
            change(world.rollout)


def test_no_more_devices_install_at_a_time_than_allowed() -> None:
    world = World(10, stages=(1.0,), at_once=3)
    world.step()
    assert len(world.asked) == 3
    world.ends()
    assert set(world.releases.values()) == {NEW}


ACTIONS = st.one_of(
    st.sampled_from(["step", "obey"]),
    st.sampled_from(["online", "refuse", "slow", "fail", "pause", "resume", "abort", "wait"]),
)


@settings(max_examples=300)
@given(
    count=st.integers(1, 12),
    stages=st.sampled_from([(1.0,), (0.05, 0.25, 1.0), (0.3, 0.6, 1.0)]),
    actions=st.lists(st.tuples(ACTIONS, st.integers(0, 11)), max_size=60),
)
def test_whatever_happens_the_promises_are_kept(
    count: int, stages: tuple[float, ...], actions: list[tuple[str, int]]
) -> None:
    world = World(count, stages=stages, soak_s=3.0)
    for action, number in actions:
        _act(world, action, f"f/d{number % count}")
        _promises(world)
    # In the end everybody is there, nobody refuses, and it comes to its end.
    world.online = dict.fromkeys(world.online, True)
    world.refuses.clear()
    if world.rollout.state == "paused":
        world.rollout = plan.resume(world.rollout)
    world.run(lambda: world.rollout.is_over, 400)
    _promises(world)
    for device in world.online:  # what was sent before the end and came after it changes nothing
        while world.pending[device]:
            world.obey(device)
    if world.rollout.state != "done":
        assert set(world.releases.values()) == {OLD}
    elif not world.refuses:
        assert all(world.releases[each.device_id] == NEW for each in world.rollout.members if each.state == "installed")


def _act(world: World, action: str, device: str) -> None:
    match action:
        case "step":
            world.step()
        case "obey":
            world.obey(device)
        case "online":
            world.online[device] = not world.online[device]
        case "refuse":
            world.refuses[device] = SELF_TEST if device.endswith("1") else "InstallError: no room"
        case "slow":
            world.latency[NEW] = SLOW
        case "fail":
            world.errors[NEW] = 500
        case "wait":
            pass
        case _:
            try:
                change = {"pause": plan.pause, "resume": plan.resume}.get(action, lambda each: plan.abort(each, "kim"))
                world.rollout = change(world.rollout)
            except MonitorError:
                pass
    world.now += 1


def _promises(world: World) -> None:
    rollout = world.rollout
    reached = stage_sizes(rollout.terms.stages, len(rollout.members))[rollout.stage]
    beyond = {each.device_id for each in rollout.members[reached:]}
    assert not beyond & world.reached, "a device beyond the stage was asked"
    if rollout.state in ("failed", "aborted"):
        asked_back = {each.device_id for each in world.asked.values() if each.command == "rollback"}
        for member in rollout.members:
            assert member.state not in TOUCHED or member.device_id in asked_back
            assert world.releases[member.device_id] == OLD or member.state in TOUCHED


@given(st.dictionaries(st.text(min_size=1, max_size=8), st.booleans(), max_size=20), st.text(max_size=8))
def test_the_order_is_the_same_for_everybody_and_begins_with_those_online(
    devices: dict[str, bool], rollout_id: str
) -> None:
    found = plan.order(rollout_id, devices)
    assert sorted(found) == sorted(devices)
    assert found == plan.order(rollout_id, dict(reversed(devices.items())))
    assert [devices[each] for each in found] == sorted(devices.values(), reverse=True)


def test_other_rollouts_have_other_canaries() -> None:
    devices = {f"f/d{number}": True for number in range(20)}
    assert len({plan.order(f"rollout-{number}", devices)[0] for number in range(20)}) > 5


def test_an_id_fits_into_a_request() -> None:
    member = replace(Member("f/" + "d" * 200), attempt=999, state="returning")
    assert len(plan.request_id("0123456789ab", member)) <= 64
