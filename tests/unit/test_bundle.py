"""Bundles: damage and tampering of every kind is refused by name, and leaves nothing behind."""

import contextlib
import hashlib
import io
import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeward_runtimes import bundle as bundles
from edgeward_runtimes import errors
from edgeward_runtimes.bundle import Bundle
from edgeward_runtimes.samples import GoldenSamples
from tests.builders import bundle_content, seal, write_bundle

Rewrite = Callable[[dict[str, bytes]], None]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bundles") / "good.edge"
    write_bundle(path)
    return path


def _rewritten(good: Path, path: Path, rewrite: Rewrite) -> Path:
    """A bundle with other members, sealed correctly: only the members' own checks can refuse it."""
    with zipfile.ZipFile(good) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    rewrite(members)
    path.write_bytes(seal(members))
    return path


def _edit_manifest(edit: Callable[[dict], None]) -> Rewrite:
    def rewrite(members: dict[str, bytes]) -> None:
        manifest = json.loads(members["manifest.json"])
        edit(manifest)
        members["manifest.json"] = json.dumps(manifest).encode()

    return rewrite


def test_what_was_written_is_read_again(good: Path) -> None:
    manifest, contents = bundle_content()
    opened = Bundle.open(good)
    assert opened.manifest == manifest
    assert {path: opened.read(path) for path in contents} == contents
    assert opened.release_id == f"1.0.0-{opened.digest[:8]}"


def test_any_zip_tool_opens_it(good: Path) -> None:
    with zipfile.ZipFile(good) as archive:
        assert archive.testzip() is None
        assert "manifest.json" in archive.namelist()


def test_the_same_content_gives_the_same_bytes(tmp_path: Path) -> None:
    assert write_bundle(tmp_path / "a.edge").digest == write_bundle(tmp_path / "b.edge").digest
    assert (tmp_path / "a.edge").read_bytes() == (tmp_path / "b.edge").read_bytes()


@given(st.data())
def test_a_tampered_byte_anywhere_is_refused(good: Path, tmp_path_factory, data: st.DataObject) -> None:
    content = bytearray(good.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= data.draw(st.integers(1, 255))
    path = tmp_path_factory.getbasetemp() / "tampered.edge"
    path.write_bytes(content)
    with pytest.raises(errors.BundleError):
        Bundle.open(path)


@pytest.mark.parametrize("opened", [Bundle.open, Bundle.open_sealed])
def test_every_single_byte_matters(good: Path, tmp_path: Path, opened: Callable[[Path], Bundle]) -> None:
    content = good.read_bytes()
    path = tmp_path / "tampered.edge"
    for place in range(len(content)):
        path.write_bytes(content[:place] + bytes([content[place] ^ 0x01]) + content[place + 1 :])
        with pytest.raises(errors.BundleError):
            opened(path)


@given(st.data())
def test_a_bundle_cut_short_is_truncated(good: Path, tmp_path_factory, data: st.DataObject) -> None:
    content = good.read_bytes()
    kept = data.draw(st.integers(2, len(content) - 1))
    path = tmp_path_factory.getbasetemp() / "short.edge"
    path.write_bytes(content[:kept])
    with pytest.raises((errors.TruncatedBundleError, errors.DigestError)):
        Bundle.open(path)


@given(st.binary(max_size=300).filter(lambda content: not content.startswith(b"PK")))
def test_what_is_no_zip_is_said_to_be_none(tmp_path_factory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "noise.edge"
    path.write_bytes(content)
    with pytest.raises(errors.NotABundleError, match="not a bundle"):
        Bundle.open(path)


def _swap_variant(members: dict[str, bytes]) -> None:
    members["variants/litert-fp32.tflite"] = b"other bytes, same len"[: len(members["variants/litert-fp32.tflite"])]


def _lengthen_variant(members: dict[str, bytes]) -> None:
    members["variants/litert-fp32.tflite"] += b"\0" * 1000


def _drop_variant(members: dict[str, bytes]) -> None:
    del members["variants/litert-fp32.tflite"]


def _drop_manifest(members: dict[str, bytes]) -> None:
    del members["manifest.json"]


def _with_a_folder_within(members: dict[str, bytes]) -> None:
    members["variants/./litert-fp32.tflite"] = b"?"


def _named_with_nothing_between(members: dict[str, bytes]) -> None:
    members["variants//evil"] = b"?"


def _from_the_future(manifest: dict) -> None:
    manifest["schema"] = 2


def _without_files(manifest: dict) -> None:
    manifest["variants"][0]["files"] = []


def _named_with_a_line_break(manifest: dict) -> None:
    manifest["name"] = "toy\n"


def _misspelled(manifest: dict) -> None:
    manifest["varients"] = []


def _golden_of_another(manifest: dict) -> None:
    manifest["golden"]["tolerance"]["openvino-fp32"] = {"y": {"max_abs_error": 1.0, "cosine": 0.0}}


@pytest.mark.parametrize(
    ("rewrite", "error", "message"),
    [
        (_swap_variant, errors.DigestError, "litert-fp32.tflite"),
        (_lengthen_variant, errors.OversizeError, "larger than the"),
        (_drop_variant, errors.MissingFileError, "litert-fp32.tflite"),
        (_drop_manifest, errors.MissingFileError, "manifest.json"),
        (lambda members: members.update({"extra.txt": b"?"}), errors.UndeclaredFileError, "extra.txt"),
        (lambda members: members.update({"../evil": b"?"}), errors.UnsafePathError, "evil"),
        (lambda members: members.update({"/etc/evil": b"?"}), errors.UnsafePathError, "evil"),
        (lambda members: members.update({"a\\..\\evil": b"?"}), errors.UnsafePathError, "evil"),
        (lambda members: members.update({"golden.npz/evil": b"?"}), errors.UnsafePathError, "evil"),
        (_with_a_folder_within, errors.UnsafePathError, "litert-fp32"),
        (_named_with_nothing_between, errors.UnsafePathError, "evil"),
        (_edit_manifest(_without_files), errors.SchemaError, "length >= 1"),
        (_edit_manifest(_named_with_a_line_break), errors.SchemaError, "matching regex"),
        (_edit_manifest(_from_the_future), errors.SchemaError, "schema 2"),
        (_edit_manifest(_misspelled), errors.SchemaError, "varients"),
        (_edit_manifest(_golden_of_another), errors.SchemaError, "openvino-fp32"),
        (lambda members: members.update({"manifest.json": b"{"}), errors.SchemaError, "not a valid manifest"),
        (lambda members: members.update({"manifest.json": b"\xff\xfe"}), errors.SchemaError, "not a valid manifest"),
    ],
)
def test_each_kind_of_bad_bundle_has_its_own_error(good, tmp_path, rewrite, error, message) -> None:
    path = _rewritten(good, tmp_path / "bad.edge", rewrite)
    for opened in (Bundle.open, _opened_and_read):
        with pytest.raises(error, match=message) as caught:
            opened(path)
        assert type(caught.value) is error
        assert list(tmp_path.iterdir()) == [path]


def _opened_and_read(path: Path) -> None:
    """What `load` does, with every member."""
    opened = Bundle.open_sealed(path)
    for file in opened.manifest.files():
        opened.read(file.path)


@pytest.mark.parametrize("character", ["\0", "\r", "é"])
def test_a_name_that_zip_tools_take_in_different_ways_is_refused(good: Path, tmp_path: Path, character: str) -> None:
    path = _rewritten(good, tmp_path / "bad.edge", lambda members: members.update({"extraXX.txt": b"?"}))
    encoded = f"extra{character}".encode().ljust(7, b"X")
    content = path.read_bytes()[:-64].replace(b"extraXX", encoded)
    path.write_bytes(content + hashlib.sha256(content).hexdigest().encode())
    with pytest.raises(errors.BundleError):
        Bundle.open(path)


def test_a_member_of_another_size_than_declared_is_refused_before_any_is_read(good: Path, tmp_path: Path) -> None:
    longer, shorter = tmp_path / "longer.edge", tmp_path / "shorter.edge"
    _rewritten(good, longer, _lengthen_variant)
    _rewritten(good, shorter, lambda members: members.update({"golden.npz": members["golden.npz"][:-1]}))
    with pytest.raises(errors.OversizeError, match=r"litert-fp32\.tflite"):
        Bundle.open_sealed(longer)
    with pytest.raises(errors.DigestError, match=r"golden\.npz"):
        Bundle.open_sealed(shorter)


def test_a_zip_bomb_is_not_inflated(good: Path, tmp_path: Path) -> None:
    bomb = b"\0" * (64 * 2**20)
    path = _rewritten(good, tmp_path / "bomb.edge", lambda members: members.update({"golden.npz": bomb}))
    assert path.stat().st_size < 200_000
    with pytest.raises(errors.OversizeError):
        Bundle.open(path)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_member_packed_in_another_way_is_not_touched(tmp_path: Path, method: int) -> None:
    path = tmp_path / "bomb.edge"
    path.write_bytes(seal({"manifest.json": b"\0" * 2**20}, method))
    with pytest.raises(errors.BundleError, match="neither stored nor deflated"):
        Bundle.open(path)


@given(st.data())
def test_a_sealed_bundle_of_damaged_members_is_a_bundle_error(
    good: Path, tmp_path_factory, data: st.DataObject
) -> None:
    content = bytearray(good.read_bytes()[:-64])
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=3)):
        content[place] ^= data.draw(st.integers(1, 255))
    path = tmp_path_factory.getbasetemp() / "resealed.edge"
    path.write_bytes(bytes(content) + hashlib.sha256(content).hexdigest().encode())
    with contextlib.suppress(errors.BundleError):
        Bundle.open(path).golden()
    with contextlib.suppress(errors.BundleError):
        _opened_and_read(path)


def test_a_file_cut_while_it_is_read_is_truncated(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "shrinking.edge"
    write_bundle(path, artifacts={"litert-fp32": np.random.default_rng(0).bytes(100_000)})
    monkeypatch.setattr(bundles, "_CHUNK", 1024)
    cut = []

    class Cutting:
        def __init__(self, size_bytes: int) -> None:
            self.digest = hashlib.sha256()

        def update(self, chunk: bytes) -> None:
            self.digest.update(chunk)
            if not cut:
                os.truncate(path, 100)
                cut.append(True)

        def hexdigest(self) -> str:
            return self.digest.hexdigest()

    monkeypatch.setattr(bundles.digests, "sha256", Cutting)
    with pytest.raises(errors.TruncatedBundleError, match="was cut while it was read"):
        Bundle.open(path)


def test_no_room_to_unpack_is_a_bundle_error(good: Path, monkeypatch) -> None:
    monkeypatch.setenv("TMPDIR", "/nowhere/at/all")
    with pytest.raises(errors.BundleError, match=r"cannot be unpacked: .* set TMPDIR"), Bundle.open(good).unpacked():
        pass


def test_a_zip_by_someone_else_has_no_seal(tmp_path: Path) -> None:
    path = tmp_path / "plain.edge"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("manifest.json", "{}")
        archive.writestr("padding", b"x" * 200)
    with pytest.raises(errors.DigestError, match="no edgeward seal"):
        Bundle.open(path)


def test_an_absent_bundle_is_named(tmp_path: Path) -> None:
    with pytest.raises(errors.BundleError, match=r"nowhere\.edge cannot be read"):
        Bundle.open(tmp_path / "nowhere.edge")


def test_writing_what_the_manifest_does_not_declare_leaves_no_file(tmp_path: Path) -> None:
    manifest, contents = bundle_content()
    with pytest.raises(errors.UndeclaredFileError):
        bundles.write(tmp_path / "bad.edge", manifest, {**contents, "surprise": b"?"})
    assert list(tmp_path.iterdir()) == []


def test_unpacked_files_are_those_declared(good: Path, tmp_path: Path) -> None:
    release = Bundle.open(good).unpack(tmp_path / "release")
    for file in release.manifest.files():
        content = (tmp_path / "release" / file.path).read_bytes()
        assert hashlib.sha256(content).hexdigest() == file.sha256
    assert release.artifact(release.manifest.variants[0]).name == "litert-fp32.tflite"


def test_a_bundle_changed_after_opening_is_not_unpacked(good: Path, tmp_path: Path) -> None:
    path = tmp_path / "changing.edge"
    path.write_bytes(good.read_bytes())
    opened = Bundle.open(path)
    _rewritten(good, path, _swap_variant)
    with pytest.raises(errors.DigestError):
        opened.unpack(tmp_path / "release")


def test_golden_samples_survive_their_file() -> None:
    golden = GoldenSamples({"x": np.arange(6.0).reshape(2, 3)}, {"y": np.array([1, 2])})
    again = GoldenSamples.decode(golden.encode(), bundle_content()[0], "here")
    np.testing.assert_array_equal(again.inputs["x"], golden.inputs["x"])
    np.testing.assert_array_equal(again.outputs["y"], golden.outputs["y"])


_ARRAY = np.ones((2, 2), np.float32)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PK",
        b"not an npz at all",
        GoldenSamples({"x": _ARRAY}, {}).encode(),
        GoldenSamples({"x": _ARRAY}, {"z": _ARRAY}).encode(),
        GoldenSamples({"x": _ARRAY[:0]}, {"y": _ARRAY[:0]}).encode(),
        None,
    ],
)
def test_damaged_or_incomplete_golden_samples_are_refused(content: bytes | None) -> None:
    if content is None:  # a pickle inside is never loaded
        buffer = io.BytesIO()
        np.savez(buffer, **{"inputs/x": np.array([object()], dtype=object)})
        content = buffer.getvalue()
    with pytest.raises(errors.BundleError):
        GoldenSamples.decode(content, bundle_content()[0], "here")
