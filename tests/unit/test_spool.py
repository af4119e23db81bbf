"""The spool: what is kept survives kill -9 and torn writes, stays within its bounds, and never raises for the disk."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeward_runtimes.agent import spool
from edgeward_runtimes.agent.spool import Spool
from edgeward_runtimes.sparkplug import metrics
from edgeward_runtimes.sparkplug.session import LogLine, ModelReading, Reading

_MANY = {"rows": 1_000, "size_bytes": 10_000_000}
numbers = st.none() | st.floats(allow_nan=False) | st.integers(-(2**63), 2**64 - 1)
readings = st.builds(
    Reading,
    st.integers(0, 2**53),
    st.dictionaries(st.sampled_from([*metrics.HEALTH, *metrics.SENSORS]), numbers | st.text(max_size=9)),
    st.dictionaries(
        st.text(max_size=9),
        st.builds(ModelReading, st.dictionaries(st.sampled_from(["predictions", "p50_ms"]), st.floats()), st.just(())),
    ),
    st.lists(st.builds(LogLine, st.integers(0, 2**53), st.text(max_size=9)), max_size=3).map(tuple),
)


def _reading(at: int, **node: float) -> Reading:
    return Reading(at, {"cpu_percent": float(at), **node}, {"m": ModelReading({"predictions": at}, ())})


def _kept(opened: Spool) -> list[int]:
    return [reading.timestamp for _, reading in opened.oldest(10_000)]


@given(readings.filter(lambda reading: "nan" not in repr(reading)))
def test_a_reading_comes_back_as_it_was_kept(reading: Reading) -> None:
    assert spool.unpack(spool.pack(reading)) == reading


def test_what_comes_with_every_birth_is_not_kept() -> None:
    reading = Reading(1, {"target": "pi", "cpu_percent": 1.0}, {"m": ModelReading({"release": "r", "errors": 2}, ())})
    kept = spool.unpack(spool.pack(reading))
    assert kept.node == {"cpu_percent": 1.0}
    assert kept.models["m"].values == {"errors": 2}


def test_every_reading_is_synced_to_the_disk(tmp_path: Path) -> None:
    opened = Spool(tmp_path / "spool.db", **_MANY)
    assert opened._connection is not None
    settings = {
        name: opened._connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")
    }
    assert settings == {"journal_mode": "wal", "synchronous": 2}


def test_what_was_kept_before_kill_9_is_there_in_order(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from tests.unit.test_spool import _MANY, _reading, Spool\n"
        "kept = Spool(Path(sys.argv[1]), **_MANY)\n"
        "for at in range(10**9): kept.append(_reading(at)); print(at, flush=True)"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "spool.db")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        said = [int(writer.stdout.readline()) for _ in range(40)]
        os.kill(writer.pid, signal.SIGKILL)
        said += [int(line) for line in writer.stdout]
    kept = _kept(Spool(tmp_path / "spool.db", **_MANY))
    assert kept[: len(said)] == said
    assert len(kept) <= len(said) + 1, "one may be kept that was not said yet"


@settings(max_examples=40)
@given(st.data())
def test_a_log_torn_by_power_loss_leaves_the_readings_before_the_tear(tmp_path: Path, data: st.DataObject) -> None:
    folder = tmp_path / "torn"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    opened = Spool(folder / "spool.db", **_MANY)
    for at in range(8):
        opened.append(_reading(at))
    shutil.copy(folder / "spool.db", folder / "after.db")
    wal = (folder / "spool.db-wal").read_bytes()
    opened.close()
    end = data.draw(st.integers(0, len(wal)))
    garbage = data.draw(st.binary(max_size=100))
    (folder / "after.db-wal").write_bytes(wal[:end] + garbage)
    after = Spool(folder / "after.db", **_MANY)
    kept = _kept(after)
    assert kept == list(range(len(kept)))
    if end == len(wal):
        assert len(kept) == 8
    after.append(_reading(99))
    assert _kept(after)[-1] == 99
    after.close()


def test_beyond_its_rows_the_oldest_go_and_are_counted_over_restarts(tmp_path: Path) -> None:
    opened = Spool(tmp_path / "spool.db", rows=20, size_bytes=10_000_000)
    for at in range(50):
        opened.append(_reading(at))
    kept = _kept(opened)
    assert kept == list(range(50 - len(kept), 50))
    assert 18 <= len(kept) <= 20
    assert opened.dropped == 50 - len(kept)
    opened.close()
    again = Spool(tmp_path / "spool.db", rows=20, size_bytes=10_000_000)
    assert (again.rows, again.dropped) == (len(kept), 50 - len(kept))


def test_the_file_stays_within_its_bytes(tmp_path: Path) -> None:
    limit = 300_000
    opened = Spool(tmp_path / "spool.db", rows=1_000_000, size_bytes=limit)
    for at in range(3_000):
        opened.append(_reading(at, load_1m=0.1 * at))
        if at % 500 == 0:
            assert (tmp_path / "spool.db").stat().st_size <= limit
    kept = _kept(opened)
    assert kept[-1] == 2_999
    assert len(kept) > 500
    assert len(kept) + opened.dropped == 3_000
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= limit + 400_000, "with the log beside it"


def test_a_reading_that_is_larger_than_the_spool_is_dropped_alone(tmp_path: Path) -> None:
    opened = Spool(tmp_path / "spool.db", rows=10, size_bytes=100_000)
    opened.append(_reading(1))
    opened.append(Reading(2, {}, {}, tuple(LogLine(2, "x" * 1_000) for _ in range(100))))
    assert _kept(opened) == [1]
    assert opened.dropped == 1


def test_readings_are_forgotten_up_to_an_id(tmp_path: Path) -> None:
    opened = Spool(tmp_path / "spool.db", **_MANY)
    for at in range(10):
        opened.append(_reading(at))
    opened.forget(opened.oldest(4)[-1][0])
    assert _kept(opened) == [4, 5, 6, 7, 8, 9]
    assert (opened.rows, opened.dropped) == (6, 0)


@pytest.mark.parametrize("content", [b"", b"no database at all" * 1_000, b"SQLite format 3\0" + bytes(3_000)])
def test_a_damaged_file_is_set_aside_and_a_new_one_begun(tmp_path: Path, content: bytes, caplog) -> None:
    (tmp_path / "spool.db").write_bytes(content)
    opened = Spool(tmp_path / "spool.db", **_MANY)
    opened.append(_reading(1))
    assert _kept(opened) == [1]
    if content:
        assert (tmp_path / "spool.db.damaged").read_bytes() == content
        assert "spool.db.damaged" in caplog.text


def test_a_file_that_is_damaged_while_it_is_open_does_not_end_the_agent(tmp_path: Path) -> None:
    opened = Spool(tmp_path / "spool.db", **_MANY)
    for at in range(200):
        opened.append(_reading(at))
    opened.close()
    path = tmp_path / "spool.db"
    content = bytearray(path.read_bytes())
    content[4096:] = os.urandom(len(content) - 4096)
    path.write_bytes(content)
    opened.append(_reading(1_000))
    assert _kept(opened) == [1_000]
    assert (tmp_path / "spool.db.damaged").exists()


def test_a_row_that_makes_no_sense_is_dropped_and_counted(tmp_path: Path) -> None:
    opened = Spool(tmp_path / "spool.db", **_MANY)
    opened.append(_reading(1))
    opened.close()
    with sqlite3.connect(tmp_path / "spool.db") as connection:
        connection.execute("INSERT INTO readings (content) VALUES (?), ('text')", (b"\xc1",))
    opened.append(_reading(2))
    assert _kept(opened) == [1, 2]
    assert (opened.rows, opened.dropped) == (2, 2)


def test_a_folder_that_cannot_be_written_is_survived(tmp_path: Path, caplog) -> None:
    (tmp_path / "file").write_text("not a folder")
    opened = Spool(tmp_path / "file" / "spool.db", **_MANY)
    opened.append(_reading(1))
    assert (opened.oldest(5), opened.dropped) == ([], 1)
    assert "cannot be used" in caplog.text
