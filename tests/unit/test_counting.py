"""Latency files and their fold: whatever dies, every prediction is counted exactly once."""

import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeward_runtimes.errors import InstallError
from edgeward_runtimes.home import Home
from edgeward_runtimes.latency import fold as folding
from edgeward_runtimes.latency.counters import Counters
from edgeward_runtimes.latency.fold import CounterStore, State
from edgeward_runtimes.latency.histogram import Histogram
from edgeward_runtimes.latency.recorder import FILE_SIZE, Recorder, read_file


@pytest.fixture
def device(tmp_path: Path) -> Home:
    return Home.under(tmp_path)


def _totals(store: CounterStore, model: str = "toy") -> tuple[int, int]:
    rows = store.collect().get(model, ())
    return sum(row.predictions for row in rows), sum(row.errors for row in rows)


_COUNTING_APPLICATION = """
import sys
from pathlib import Path
from edgeward_runtimes.latency.recorder import Recorder
recorder = Recorder("toy", "1.0.0-abc", Path(sys.argv[1]))
for number in range(int(sys.argv[2])):
    recorder.success(1_000_000)
recorder.failure()
print("counted", flush=True)
sys.stdin.read()
"""


def _start_application(device: Home, predictions: int) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-c", _COUNTING_APPLICATION, str(device.latency), str(predictions)]
    application = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert application.stdout is not None
    assert application.stdout.readline() == b"counted\n"
    return application


def test_counts_survive_kill_9_of_the_application(device: Home) -> None:
    application = _start_application(device, 1234)
    store = CounterStore(device)
    assert _totals(store) == (1234, 1), "a living process is counted"
    assert len(list(device.latency.glob("*.latency"))) == 1
    application.send_signal(signal.SIGKILL)
    application.wait()
    assert _totals(store) == (1234, 1), "a dead one is folded"
    assert list(device.latency.iterdir()) == []
    assert _totals(store) == (1234, 1)
    store.close()
    assert _totals(CounterStore(device)) == (1234, 1), "and the totals are on the disk"


def test_counts_of_one_release_add_up_over_processes_and_releases_stay_apart(device: Home) -> None:
    store = CounterStore(device)
    for release, predictions in (("1.0.0-a", 3), ("1.0.0-a", 4), ("1.1.0-b", 5)):
        recorder = Recorder("toy", release, device.latency)
        for _ in range(predictions):
            recorder.success(2_000_000)
        recorder.close()
    assert {row.release: row.predictions for row in store.collect()["toy"]} == {"1.0.0-a": 7, "1.1.0-b": 5}


@pytest.mark.parametrize("dies_after", ["rename", "write", "nothing"])
def test_a_fold_that_dies_at_any_step_counts_nothing_twice(device: Home, monkeypatch, dies_after: str) -> None:
    for predictions in (10, 20):
        recorder = Recorder("toy", "r", device.latency)
        for _ in range(predictions):
            recorder.success(1_000)
        recorder.close()

    class Killed(BaseException):
        pass

    def die(*_: object, **__: object) -> None:
        raise Killed

    with pytest.MonkeyPatch.context() as patch:
        store = CounterStore(device)
        if dies_after == "rename":
            patch.setattr(store, "_write", die)
        elif dies_after == "write":
            patch.setattr(Path, "unlink", die)
        if dies_after == "nothing":
            store.collect()
        else:
            with pytest.raises(Killed):
                store.collect()
        store.close()
    again = CounterStore(device)
    assert _totals(again) == (30, 0)
    assert _totals(again) == (30, 0)
    assert list(device.latency.iterdir()) == []


def test_a_forked_child_counts_in_a_file_of_its_own(device: Home) -> None:
    recorder = Recorder("toy", "r", device.latency)
    recorder.success(1_000)

    def child() -> None:
        for _ in range(7):
            recorder.success(1_000)

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join()
    recorder.success(1_000)
    store = CounterStore(device)
    assert _totals(store) == (9, 0)
    assert len(list(device.latency.glob("*.latency"))) == 1, "the child's was folded, the parent's lives"


def test_only_one_process_folds_at_a_time(device: Home) -> None:
    store = CounterStore(device)
    with pytest.raises(InstallError, match="Another agent already counts"):
        CounterStore(device)
    store.close()
    CounterStore(device).close()


def test_after_a_damaged_store_only_what_is_new_is_told_in_a_new_epoch(device: Home) -> None:
    store = CounterStore(device)
    recorder = Recorder("toy", "r", device.latency)
    for _ in range(10):
        recorder.success(1_000)
    (before,) = store.collect()["toy"]
    store.close()
    (device.root / "counters.msgpack").write_bytes(b"\xc1garbage")
    recorder.success(1_000)
    for told in (0, 3):
        for _ in range(told):
            recorder.success(1_000)
        again = CounterStore(device)
        (after,) = again.collect()["toy"]
        again.close()
        assert after.epoch != before.epoch
        assert after.predictions == told
    recorder.close()
    assert _totals(CounterStore(device)) == (3, 0), "folded, and not counted from its beginning"
    assert (device.root / "counters.damaged").read_bytes() == b"\xc1garbage"


@pytest.mark.parametrize("pid", [1, 255, 256, 512, 65536, 4194304])
def test_every_process_id_can_be_read_back(device: Home, monkeypatch, pid: int) -> None:
    monkeypatch.setattr(os, "getpid", lambda: pid)
    recorder = Recorder("toy", "r", device.latency)
    recorder.success(1_000)
    assert _totals(CounterStore(device)) == (1, 0)
    recorder.close()


def test_totals_that_no_host_was_told_are_kept_over_any_number_of_boots(device: Home, monkeypatch) -> None:
    store = CounterStore(device)

    def boot(number: int) -> None:
        monkeypatch.setattr("edgeward_runtimes.latency.recorder.boot_id", lambda: f"{number:08d}")
        recorder = Recorder("toy", "r", device.latency)
        recorder.success(1_000)
        recorder.close()
        store.collect()

    for number in range(100):
        boot(number)
    assert _totals(store) == (100, 0)
    store.told("toy", store.collect()["toy"])
    boot(100)
    assert len(store.collect()["toy"]) == 65, "the 64 kept, and the new one"


def test_what_is_no_latency_file_stops_nothing(device: Home) -> None:
    store = CounterStore(device)
    recorder = Recorder("toy", "r", device.latency)
    recorder.success(1_000)
    (device.latency / "folder.latency").mkdir()
    os.mkfifo(device.latency / "pipe.latency")
    (device.latency / "link.latency").symlink_to("/dev/zero")
    assert _totals(store) == (1, 0)
    recorder.close()
    assert _totals(store) == (1, 0)


def test_a_full_disk_does_not_hide_what_dead_processes_counted(device: Home, monkeypatch) -> None:
    store = CounterStore(device)
    recorder = Recorder("toy", "r", device.latency)
    recorder.success(1_000)
    recorder.close()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(folding, "write_atomically", full)
        assert _totals(store) == (1, 0)
    assert _totals(store) == (1, 0)
    assert list(device.latency.iterdir()) == []


def test_a_closed_recorder_can_still_be_read_and_counts_for_nobody(device: Home) -> None:
    recorder = Recorder("toy", "r", device.latency)
    recorder.success(1_000)
    recorder.close()
    recorder.success(1_000)
    assert recorder.read()[1].count == 2
    assert _totals(CounterStore(device)) == (1, 0)


@pytest.mark.parametrize("content", [b"", b"x" * FILE_SIZE, b"EWLAT\x00\x00\x02\x09" + b"\xc1" * (FILE_SIZE - 9)])
def test_a_damaged_latency_file_is_put_aside_and_the_others_count(device: Home, content: bytes) -> None:
    store = CounterStore(device)
    device.latency.mkdir(parents=True)
    (device.latency / "0.latency").write_bytes(content)
    recorder = Recorder("toy", "r", device.latency)
    recorder.success(1_000)
    assert _totals(store) == (1, 0)
    assert (device.latency / "0.damaged").exists()


def test_a_folder_that_cannot_be_written_warns_and_still_predicts(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.warns(RuntimeWarning, match="are not reported: .* Set EDGEWARD_RUN"):
        recorder = Recorder("toy", "r", tmp_path / "file" / "latency")
    recorder.success(1_000)
    assert recorder.read()[1].count == 1


def test_a_file_tells_whose_counts_it_holds(device: Home) -> None:
    recorder = Recorder("toy", "1.0.0-abc", device.latency)
    recorder.success(5_000_000)
    recorder.failure()
    (path,) = device.latency.iterdir()
    header, errors, histogram = read_file(path)
    assert (header.model, header.release, header.pid) == ("toy", "1.0.0-abc", os.getpid())
    assert (errors, histogram) == (1, Histogram.of([5_000_000]))
    recorder.close()


files = st.tuples(st.sampled_from("abcdef"), st.sampled_from(["r1", "r2"]), st.integers(0, 3))


@given(st.lists(files, max_size=30))
def test_folding_a_file_again_changes_nothing(folds: list[tuple[str, str, int]]) -> None:
    state, counted = State(id="s"), {}
    for file_id, release, errors in folds:
        counts = Counters(release, "e", errors, Histogram.of([1_000] * errors))
        state = folding.fold(state, file_id, "toy", counts)
        counted.setdefault(file_id, errors)
    rows = state.totals.get("toy", ())
    assert sum(row.predictions for row in rows) == sum(counted.values())
    assert folding.forget(state, counted) == state
    assert folding.forget(state, ()).folded == frozenset()
