"""Alerts without a store: the life of one, storms, the rules' file, quantiles of many, signatures."""

import hmac
import re
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeward.monitor.alerts import rules, webhook, wording
from edgeward.monitor.alerts.latencies import quantiles
from edgeward.monitor.alerts.lifecycle import Status, Timing, Zone, step, zone_of
from edgeward.monitor.alerts.outbox import Told, Word
from edgeward.monitor.alerts.storms import Subject, storms
from edgeward_runtimes.errors import ConfigError
from edgeward_runtimes.latency.histogram import Histogram
from tests.conftest import REPOSITORY

ZONES = st.sampled_from(list(Zone))
TIMINGS = st.builds(Timing, st.sampled_from([0.0, 3.0, 10.0]), st.sampled_from([0.0, 4.0, 10.0]))
# What is seen, and how many seconds after the look before; now and then the clock goes backwards.
LOOKS = st.lists(st.tuples(ZONES, st.sampled_from([1.0, 2.0, 5.0, -3.0]), st.booleans()), max_size=60)


def _lives(looks: list[tuple[Zone, float, bool]], timing: Timing) -> list[tuple[float, Zone, bool, Status | None]]:
    now, status, seen = 1000.0, None, []
    for zone, later, held in looks:
        now += later
        status = step(status, zone, now, timing, held=held)
        seen.append((now, zone, held, status))
    return seen


@given(LOOKS, TIMINGS)
def test_an_alert_fires_only_after_its_condition_lasted_without_a_break(looks, timing: Timing) -> None:
    before = None
    for now, zone, held, status in _lives(looks, timing):
        if status is not None and status.fired_at is not None and (before is None or before.fired_at is None):
            assert zone is Zone.BAD
            assert not held
            assert now - status.since >= timing.for_s
        before = status


@given(LOOKS, TIMINGS)
def test_it_is_resolved_once_and_only_after_the_condition_was_gone_for_long_enough(looks, timing: Timing) -> None:
    fired = resolved = 0
    before: Status | None = None
    for now, zone, _held, status in _lives(looks, timing):
        was = "none" if before is None else before.state
        state = "none" if status is None else status.state
        allowed = {
            "none": {"none", "pending", "firing"},
            "pending": {"none", "pending", "firing"},
            "firing": {"firing", "resolved"},
            "resolved": {"none", "pending", "firing", "resolved"},
        }
        assert state in allowed[was]
        fired += state == "firing" and was != "firing"
        if state == "resolved" and was != "resolved":
            resolved += 1
            assert zone is Zone.GOOD
            assert now - status.clear_since >= timing.resolve_after_s
        before = status
    assert fired - resolved == (before is not None and before.state == "firing")


@given(LOOKS, TIMINGS)
def test_every_firing_is_resolved_once_the_condition_stays_gone(looks, timing: Timing) -> None:
    looks = [*looks, *[(Zone.GOOD, 5.0, False)] * 4]
    last = _lives(looks, timing)[-1][3]
    assert last is None or last.state == "resolved"


@given(st.lists(st.floats(75, 84.9), max_size=50), TIMINGS)
def test_a_value_that_wanders_between_the_levels_changes_nothing(values: list[float], timing: Timing) -> None:
    firing = Status(0.0, fired_at=1.0)
    for number, value in enumerate(values):
        zone = zone_of(value, threshold=85, resolve=75)
        assert step(None, zone, 10.0 + number, timing) is None
        assert step(firing, zone, 10.0 + number, timing) == firing


@given(ZONES, TIMINGS)
def test_what_is_unknown_changes_nothing(zone: Zone, timing: Timing) -> None:
    for status in (None, Status(5.0), Status(5.0, 6.0), Status(5.0, 6.0, 7.0)):
        assert step(status, Zone.UNKNOWN, 100.0, timing) == status


def test_levels() -> None:
    found = [zone_of(value, 80, 75) for value in (80, 79.9, 75, 74.9, None)]
    assert found == [Zone.BAD, Zone.BETWEEN, Zone.BETWEEN, Zone.GOOD, Zone.UNKNOWN]


@given(st.integers(1, 400), st.integers(0, 400), st.integers(0, 400))
def test_a_fleet_whose_devices_are_gone_in_numbers_is_one_storm(total: int, gone: int, alone: int) -> None:
    devices = [Subject("f", f"d{number}") for number in range(total)]
    gone_now, alone_now = devices[: min(gone, total)], devices[: min(alone, gone, total)]
    storm = storms(devices, gone_now, alone_now, at_least=5, share=0.2)["f"]
    assert storm.gone == len(gone_now) - len(alone_now)
    assert (storm.zone is Zone.BAD) == (storm.gone >= 5 and storm.gone >= 0.2 * total)
    assert storm.zone is not Zone.GOOD or storm.gone < max(5, 0.2 * total) / 2


def test_a_storm_in_one_fleet_is_none_in_another() -> None:
    devices = [Subject(fleet, f"d{number}") for fleet in ("a", "b") for number in range(10)]
    found = storms(devices, devices[:10], (), at_least=5, share=0.5)
    assert (found["a"].zone, found["b"].zone) == (Zone.BAD, Zone.GOOD)


@given(
    st.lists(
        st.tuples(
            st.sampled_from("abc"), st.lists(st.integers(0, 2 * 10**12), max_size=30), st.sampled_from([0.5, 0.95])
        ),
        max_size=12,
    ),
    st.integers(1, 20),
)
def test_quantiles_of_many_are_those_of_each(rows, at_least: int) -> None:
    packed = [(device, "m", Histogram.of(latencies).encode()) for device, latencies, _ in rows]
    sums: dict[tuple[str, str], Histogram] = {}
    for device, model, content in packed:
        key = (device, model)
        sums[key] = sums.get(key, Histogram()).merge(Histogram.decode(content))
    for quantile in (0.5, 0.95):
        found = quantiles(packed, quantile, at_least)
        assert found == {
            key: pytest.approx(each.quantile_ms(quantile)) for key, each in sums.items() if each.count >= at_least
        }


def test_the_documented_example_is_a_valid_file(tmp_path: Path) -> None:
    [example] = re.findall(r"```toml\n# alerts.toml\n(.*?)```", (REPOSITORY / "docs" / "alerts.md").read_text(), re.S)
    path = tmp_path / "alerts.toml"
    path.write_text(example)
    config = rules.read(path)
    assert {rule.kind for rule in config.alert} == {rule.kind for rule in rules.AlertConfig().alert}
    assert {type(channel).__name__ for channel in config.channels.values()} == {"Webhook", "Smtp", "Mqtt"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('[[alert]]\nkind = "offline"\nthreshold = 3', "unknown field `threshold` - at `$.alert[0]`"),
        ('[[alert]]\nkind = "temperature"\nresolve = 99', "resolve: 99 is above the threshold, 80"),
        ('[[alert]]\nkind = "disk"\nfor = "soon"', "'soon' is not a duration such as 90s, 5m, 2h or 1d"),
        ('[[alert]]\nkind = "offline"\nfor = "1s"', "an offline rule waits 10s at least"),
        ('[[alert]]\nkind = "disk"\nnotify = ["me"]', "alert 'disk': no channel 'me' is in the file"),
        ('[[alert]]\nkind = "disk"\n[[alert]]\nkind = "disk"', "two rules are called 'disk'"),
        ('[webhook.a]\nurl = "ftp://x"', "matching regex"),
        ('[smtp.a]\nhost = "h"\nsender = "s"\nrecipients = ["r"]\ntls = "none"\nuser = "u"', "not sent without TLS"),
        ("[[alert", "alerts.toml is not a valid file of alert rules"),
    ],
)
def test_a_mistake_in_the_file_is_one_sentence(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "alerts.toml"
    path.write_text(content)
    with pytest.raises(ConfigError, match=re.escape(said)):
        rules.read(path)


def test_secrets_lie_beside_the_file(tmp_path: Path) -> None:
    path = tmp_path / "alerts.toml"
    path.write_text('[webhook.a]\nurl = "https://x"\nsecret_file = "s"\n')
    assert rules.read(path).webhook["a"].secret_file == str(tmp_path / "s")


def test_a_signature_is_of_the_time_and_the_body() -> None:
    expected = hmac.new(b"key", b'7.{"a":1}', sha256).hexdigest()
    assert webhook.signature("key", b'{"a":1}', 7) == f"t=7,v1={expected}"


def test_a_notification_reads_as_a_sentence() -> None:
    told = Told("1", "firing", "f", "d", "m", "drift score 0.40 (limit 0.25)", 0.4, 0.25, 1.0, 2.0, None)
    word = Word("x", "drift", "drift", "warning", 1, 0, (told,))
    assert wording.title(word) == "[warning] drift: 1 firing (f/d/m: drift score 0.40 (limit 0.25))"
    many = Word("x", "drift", "drift", "warning", 60, 2, (told,) * 50)
    assert wording.title(many) == "[warning] drift: 60 firing, 2 resolved"
    assert wording.text(many).splitlines()[-1] == "… and 12 more"
