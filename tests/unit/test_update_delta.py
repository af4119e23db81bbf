"""A delta leads from the installed release to the very bytes of the new bundle, or it is an error."""

import io
from pathlib import Path

import msgspec
import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeward.registry import deltas
from edgeward_runtimes.bundle import Bundle
from edgeward_runtimes.errors import DeltaError
from edgeward_runtimes.update import delta
from edgeward_runtimes.update.published import Custom, Published, bundle_path
from tests.builders import write_bundle

# Weights hardly compress, text does: the first are stored in a bundle, the second is deflated.
WEIGHTS = np.random.default_rng(0).bytes(200_000)
TEXT = b"<layer type='Convolution'/>" * 3000


def published(bundle: Bundle) -> Published:
    size = sum(file.size_bytes for file in bundle.manifest.files()) + len(bundle.read("manifest.json"))
    custom = Custom("toy", bundle.manifest.version, bundle.release_id, bundle.digest, size)
    return Published(bundle_path("toy", bundle.release_id), bundle.path.stat().st_size, custom)


def patched(content: bytes, old: Bundle, new: Bundle, place: Path) -> bytes:
    folder = place / old.release_id
    if not folder.exists():
        old.unpack(folder)
    out = io.BytesIO()
    delta.apply(content, folder, published(new), out)
    return out.getvalue()


@pytest.fixture
def bundles(tmp_path: Path) -> tuple[Bundle, Bundle]:
    """Two releases that differ in the last hundredth of the weights, and in a line of the text."""
    old = {"litert-fp32": WEIGHTS, "openvino-fp32": TEXT}
    new = {"litert-fp32": WEIGHTS[:-2000] + bytes(2000), "openvino-fp32": TEXT.replace(b"Conv", b"conv", 1)}
    return (
        write_bundle(tmp_path / "old.edge", version="1.0.0", artifacts=old),
        write_bundle(tmp_path / "new.edge", version="1.1.0", artifacts=new),
    )


def test_only_what_changed_is_in_a_delta(bundles: tuple[Bundle, Bundle], tmp_path: Path) -> None:
    old, new = bundles
    content = deltas.make(old, new)
    assert patched(content, old, new, tmp_path) == new.path.read_bytes()
    assert len(content) < 0.05 * new.path.stat().st_size


@settings(max_examples=20)
@given(
    st.dictionaries(st.sampled_from(["litert-fp32", "onnxruntime-int8", "openvino-fp16"]), st.binary(), min_size=1),
    st.dictionaries(st.sampled_from(["litert-int8", "onnxruntime-int8", "openvino-fp16"]), st.binary(), min_size=1),
    st.integers(1, 3000),
)
def test_a_delta_between_any_two_releases_gives_the_exact_bundle(
    tmp_path_factory: pytest.TempPathFactory, before: dict[str, bytes], after: dict[str, bytes], repeated: int
) -> None:
    place = tmp_path_factory.mktemp("any")
    after = {name: content * repeated for name, content in after.items()}
    old = write_bundle(place / "old.edge", version="1.0.0", artifacts=before)
    new = write_bundle(place / "new.edge", version="1.1.0", artifacts=after)
    assert patched(deltas.make(old, new), old, new, place) == new.path.read_bytes()


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, Bundle, Bundle, Path]:
    """A delta, its two releases, and a folder that has the first."""
    place = tmp_path_factory.mktemp("small")
    old = write_bundle(place / "old.edge", version="1.0.0")
    new = write_bundle(place / "new.edge", version="1.1.0")
    return deltas.make(old, new), old, new, place


@given(st.data())
def test_a_damaged_delta_is_an_error_or_bytes_for_the_digest_to_judge(
    small: tuple[bytes, Bundle, Bundle, Path], data: st.DataObject
) -> None:
    whole, old, new, place = small
    content = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        patched(bytes(content[: data.draw(st.integers(0, len(content)))]), old, new, place)
    except DeltaError:
        return


def test_a_delta_that_would_become_more_than_was_signed_is_not_unpacked(
    bundles: tuple[Bundle, Bundle], tmp_path: Path
) -> None:
    old, new = bundles
    bomb = delta.Frame(2**30, zstandard.ZstdCompressor().compress(bytes(2**20)))
    honest = msgspec.msgpack.decode(deltas.make(old, new), type=delta.Delta)
    for harmful in (
        msgspec.structs.replace(honest, between=bomb),
        msgspec.structs.replace(honest, members=(delta.Member(0, bomb, deflated=True),)),
        msgspec.structs.replace(honest, between=delta.Frame(10, bomb.content)),
    ):
        with pytest.raises(DeltaError, match=r"becomes more|does not hold"):
            patched(delta.encode(harmful), old, new, tmp_path)


@pytest.mark.parametrize("reference", ["../../../etc/hostname", "/etc/hostname", "choice.json"])
def test_a_delta_reads_no_other_file_of_the_device(
    bundles: tuple[Bundle, Bundle], tmp_path: Path, reference: str
) -> None:
    old, new = bundles
    honest = msgspec.msgpack.decode(deltas.make(old, new), type=delta.Delta)
    harmful = msgspec.structs.replace(honest, between=msgspec.structs.replace(honest.between, reference=reference))
    with pytest.raises(DeltaError, match="no file of the installed release"):
        patched(delta.encode(harmful), old, new, tmp_path)
