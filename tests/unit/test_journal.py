"""The install journal: what a torn or interrupted one means."""

from hypothesis import given
from hypothesis import strategies as st

from edgeward_runtimes.install import journal
from edgeward_runtimes.install.journal import Entry, Recovery

STEPS = ("begin", "unpacked", "tested", "placed", "switched", "done")
ENTRIES = [
    Entry(float(at), step, "2.0-b", "install", current="1.0-a" if step == "begin" else None)  # type: ignore[arg-type]
    for at, step in enumerate(STEPS)
]


def test_nothing_is_left_to_do_after_an_end() -> None:
    assert journal.recovery([], None) is None
    assert journal.recovery(ENTRIES, "2.0-b") is None
    assert journal.recovery([*ENTRIES[:2], Entry(9.0, "failed", "2.0-b", "install", reason="full")], "1.0-a") is None


@given(st.integers(1, len(STEPS) - 1), st.sampled_from(["1.0-a", "2.0-b", None]))
def test_the_links_come_back_unless_the_new_release_is_current_already(written: int, current: str | None) -> None:
    found = journal.recovery(ENTRIES[:written], current)
    assert found == Recovery("2.0-b", "install", restore_links=current != "2.0-b", current="1.0-a", previous=None)


@given(st.data())
def test_a_journal_cut_anywhere_reads_as_a_prefix_of_what_was_written(data: st.DataObject) -> None:
    content = b"".join(map(journal.encode, ENTRIES))
    cut = content[: data.draw(st.integers(0, len(content)))]
    entries = journal.decode(cut)
    assert entries == ENTRIES[: len(entries)]


@given(st.binary(max_size=60))
def test_what_is_written_after_a_torn_line_is_read(torn: bytes) -> None:
    content = journal.encode(ENTRIES[0]) + torn + journal.encode(ENTRIES[1])
    entries = journal.decode(content)
    assert entries[0] == ENTRIES[0]
    assert entries[-1] == ENTRIES[1]
