"""docs/sparkplug.md names tests that are there."""

import re

from tests.conftest import REPOSITORY

_ROW = re.compile(r"^\| (?P<ids>[^|]+) \| (?P<file>\S+\.py)::(?P<test>\w+) \|$", re.MULTILINE)


def test_every_assertion_that_the_documentation_lists_has_its_test() -> None:
    text = (REPOSITORY / "docs" / "sparkplug.md").read_text()
    rows = list(_ROW.finditer(text))
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    assert len(rows) == len(lines) - 2 > 25, "all but the table's head"
    for row in rows:
        source = (REPOSITORY / "tests" / row["file"]).read_text()
        assert f"def {row['test']}(" in source, row["test"]
