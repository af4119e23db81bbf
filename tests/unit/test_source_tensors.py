"""Names that every format takes: whatever a source calls its tensors, each keeps one name of its own."""

import re

from hypothesis import given
from hypothesis import strategies as st

from edgeward_converters.sources.tensors import clean_names


@given(st.lists(st.sampled_from(["decoder", "decoder:0", "scope/x", "scope_x", "decoder_1", "decoder_1_", ":", ""])))
def test_names_are_usable_and_unique(names: list[str]) -> None:
    cleaned = clean_names(names)
    assert len(set(cleaned)) == len(cleaned) == len(names)
    assert all(re.fullmatch(r"\w+", name, re.ASCII) for name in cleaned)


def test_two_tensors_of_one_name_are_numbered() -> None:
    assert clean_names(["decoder", "decoder"]) == ["decoder_0", "decoder_1"]
