"""Every family from every source predicts on every engine what its own framework answers.

`make test` runs one family a source. The rest is marked `matrix`, takes some ten minutes, and is run by
`make matrix`, which writes docs/conversions.md, or by `pytest -m matrix`.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeward_converters.worker import Worker
from tests.families import FAMILIES, SOURCES, Family, SourceKind, cells, writing

_IN_MAKE_TEST = {
    ("embedding_lstm", "keras"),
    ("seq2seq_step", "saved_model"),
    ("detector", "torch"),
    ("autoencoder", "onnx"),
}


def _rows() -> Iterator[object]:
    for family in FAMILIES:
        for source in SOURCES:
            marks = [] if (family.name, source) in _IN_MAKE_TEST else [pytest.mark.matrix]
            yield pytest.param(family, source, marks=marks, id=f"{family.name}-{source}")


@pytest.fixture(scope="session")
def families(test_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where what was trained is kept for this session."""
    return tmp_path_factory.mktemp("families")


@pytest.mark.parametrize(("family", "source"), _rows())
def test_every_engine_predicts_what_the_source_answers(
    worker: Worker, families: Path, family: Family, source: SourceKind
) -> None:
    made = worker.run(writing.write, family, source, families)
    empty = [f"{cell.engine}: {cell.reason}" for cell in cells.convert(made, worker) if cell.reason is not None]
    assert not empty, "\n".join(empty)
