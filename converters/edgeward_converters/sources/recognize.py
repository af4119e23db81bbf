"""What a path or an object is, told by content, so that what is wrong is said before a framework is asked.

No framework is imported: an object of one is there only when its framework is, too.
"""

import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from msgspec import Struct

from edgeward_runtimes.errors import SourceError

Kind = Literal["keras", "saved_model", "torch", "onnx", "tflite"]

_HDF5 = b"\x89HDF\r\n\x1a\n"
_FUNCTION = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")
_READ = (
    "edgeward reads .keras and .h5 files, SavedModel folders, .pt2 files (torch.export.save), module:function, "
    ".onnx and .tflite files"
)


class Given(Struct, frozen=True):
    """A source to be read. `function` is `module:function` where one makes the model, and `path` its place holder.

    `signature` is the SavedModel's signature to take; None for its only one or `serving_default`.
    """

    kind: Kind
    path: Path
    function: str | None = None
    signature: str | None = None

    @property
    def named(self) -> str:
        """How errors speak of it."""
        return self.function or str(self.path)


def recognize(given: Any, folder: Path, signature: str | None = None) -> Given:
    """Tell what was given; a live model is saved into `folder`. Raises SourceError that says what was tried."""
    if isinstance(given, str) and _FUNCTION.fullmatch(given) and not Path(given).exists():
        name = given.rpartition(":")[2].rpartition(".")[2]
        return Given("torch", Path(name), function=given)
    if isinstance(given, str | Path):
        path = Path(given)
        kind = _kind_of(path)
        if signature is not None and kind != "saved_model":
            raise SourceError(f"Only SavedModels have signatures to choose from, and {path} is none; leave it out.")
        return Given(kind, path, signature=signature)
    return _saved(given, folder)


def usable_name(given: str) -> str:
    """The name nearest to `given` that a model may have on a device (manifest.Name)."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", given).lstrip(".-")[:64] or "model"


def _saved(given: Any, folder: Path) -> Given:
    """A live object, saved as a file of its kind."""
    if any(base.__name__ == "Model" and base.__module__.startswith("keras.") for base in type(given).__mro__):
        from edgeward_converters.sources import keras

        return Given("keras", keras.save(given, folder))
    is_program = any(base.__name__ == "ExportedProgram" for base in type(given).__mro__)
    if isinstance(given, tuple) or is_program or callable(given):
        from edgeward_converters.sources import torch

        return Given("torch", torch.save(given, folder))
    raise SourceError(
        "Expected a path, a keras.Model, or (module, example_inputs) of PyTorch as the source; "
        f"a {type(given).__name__} came."
    )


def _kind_of(path: Path) -> Kind:
    if not path.exists():
        raise SourceError(f"The source model {path} does not exist.")
    if path.is_dir():
        return _folder_kind(path)
    try:
        with path.open("rb") as stream:
            head = stream.read(64)
    except OSError as error:
        raise SourceError(f"The source model {path} cannot be read: {error.strerror}.") from error
    for kind, fits in _TESTS.items():
        if fits(path, head):
            return kind
    raise SourceError(f"{path} is not a model that edgeward can read: {_why_not(path, head)}. {_READ}.")


def _folder_kind(path: Path) -> Kind:
    if (path / "saved_model.pb").is_file() or (path / "saved_model.pbtxt").is_file():
        return "saved_model"
    raise SourceError(f"The folder {path} is no SavedModel: it holds no saved_model.pb. {_READ}.")


def _is_keras(path: Path, head: bytes) -> bool:
    return head.startswith(_HDF5) or "config.json" in _members(path) or (path.suffix == ".keras" and head[:2] == b"PK")


def _is_torch(path: Path, head: bytes) -> bool:
    return any(name.endswith(("archive_format", "serialized_exported_program.json")) for name in _members(path))


def _is_tflite(path: Path, head: bytes) -> bool:
    return head[4:8] == b"TFL3"


def _is_onnx(path: Path, head: bytes) -> bool:
    """A ModelProto has no magic number: its suffix says it, or else its first field, ir_version, a small varint."""
    return (path.suffix == ".onnx" and bool(head)) or (len(head) > 8 and head[0] == 0x08 and 3 <= head[1] < 32)


_TESTS: dict[Kind, Callable[[Path, bytes], bool]] = {
    "keras": _is_keras,
    "torch": _is_torch,
    "tflite": _is_tflite,
    "onnx": _is_onnx,
}


def _members(path: Path) -> list[str]:
    """The names in a zip; none when the file is no zip, or a damaged one."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError):
        return []


def _why_not(path: Path, head: bytes) -> str:
    if not head:
        return "the file is empty"
    if any(name.endswith("data.pkl") for name in _members(path)):
        return (
            "it is a pickle of PyTorch, which may run any code when loaded; export the module with "
            "torch.export.save(torch.export.export(module, example_inputs), 'model.pt2')"
        )
    if head.startswith(b"PK"):
        return "it is a zip, damaged or of something else"
    return "it is neither a zip (.keras, .pt2) nor HDF5 (.h5), and no .onnx or .tflite file"
