"""What a path is, told by its content; what cannot be read gets one line with what was tried."""

import io
import pickle
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeward_converters.sources.recognize import recognize, usable_name
from edgeward_runtimes.errors import SourceError
from edgeward_runtimes.manifest import NAME_PATTERN


def _zip(*names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, b"content")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("a.keras", _zip("metadata.json", "config.json", "model.weights.h5"), "keras"),
        ("renamed.zip", _zip("metadata.json", "config.json"), "keras"),
        ("a.h5", b"\x89HDF\r\n\x1a\n" + bytes(64), "keras"),
        ("a.pt2", _zip("a/archive_format", "a/models/model.json"), "torch"),
        ("a.tflite", b"\x1c\x00\x00\x00TFL3" + bytes(64), "tflite"),
        ("a.onnx", b"\x08\x09\x12\x07pytorch", "onnx"),
        ("model", b"\x08\x09\x12\x07pytorch", "onnx"),
    ],
)
def test_a_file_is_told_by_its_content(tmp_path: Path, name: str, content: bytes, kind: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    assert recognize(path, tmp_path).kind == kind
    assert recognize(str(path), tmp_path).path == path


def test_a_folder_with_a_saved_model_is_one(tmp_path: Path) -> None:
    (tmp_path / "saved_model.pb").write_bytes(b"")
    assert recognize(tmp_path, tmp_path, signature="classify").signature == "classify"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "a.txt",
            b"hello",
            r"a\.txt is not a model .*neither a zip \(\.keras, \.pt2\) nor HDF5.*edgeward reads \.keras",
        ),
        ("a.keras", b"", "the file is empty"),
        ("a.pt", _zip("a/data.pkl", "a/version"), r"it is a pickle of PyTorch.*torch\.export\.save"),
        ("a.bin", _zip("word/document.xml"), "it is a zip, damaged or of something else"),
    ],
)
def test_what_is_no_model_says_what_was_tried(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceError, match=message) as caught:
        recognize(tmp_path / name, tmp_path)
    assert "\n" not in str(caught.value)


def test_what_is_not_there_or_an_ordinary_folder_says_so(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="does not exist"):
        recognize(tmp_path / "none.keras", tmp_path)
    with pytest.raises(SourceError, match=r"no SavedModel: it holds no saved_model\.pb"):
        recognize(tmp_path, tmp_path)


def test_only_saved_models_take_a_signature(tmp_path: Path) -> None:
    (tmp_path / "a.tflite").write_bytes(b"\x1c\x00\x00\x00TFL3")
    with pytest.raises(SourceError, match="Only SavedModels have signatures"):
        recognize(tmp_path / "a.tflite", tmp_path, signature="serve")


def test_a_function_is_recognized_and_a_file_of_that_name_wins(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    source = recognize("package.models:make.small", tmp_path)
    assert (source.kind, source.function, source.path.name) == ("torch", "package.models:make.small", "small")
    Path("a:b").write_bytes(b"\x1c\x00\x00\x00TFL3")
    assert recognize("a:b", tmp_path).kind == "tflite"


@given(st.binary(max_size=200))
def test_any_bytes_are_a_model_or_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "any"
    path.write_bytes(content)
    try:
        recognize(path, tmp_path)
    except SourceError as error:
        message = str(error)
    else:
        return
    assert "\n" not in message


@given(st.text())
def test_any_name_becomes_a_usable_one(name: str) -> None:
    import re

    assert re.search(NAME_PATTERN, usable_name(name))


def test_a_pickle_is_never_read(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self):
            return (pytest.fail, ("a source was unpickled",))

    (tmp_path / "a.pkl").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(SourceError):
        recognize(tmp_path / "a.pkl", tmp_path)
