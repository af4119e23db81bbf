"""Arrays by name in an .npz: the same arrays give the same bytes, and nothing is ever unpickled."""

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeward_runtimes.errors import InputError

_EPOCH = (1980, 1, 1, 0, 0, 0)  # fixed member times: the same content gives the same bytes


def encode(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Write arrays as a compressed .npz."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            member = io.BytesIO()
            np.save(member, array, allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy", _EPOCH), member.getvalue(), zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def decode(content: bytes) -> dict[str, NDArray[Any]]:
    """Read an .npz, or an .npy as the one array `x`. Raises ValueError for anything else, damaged or with objects."""
    try:
        loaded = np.load(io.BytesIO(content), allow_pickle=False)
        arrays = {"x": loaded} if isinstance(loaded, np.ndarray) else {name: loaded[name] for name in loaded.files}
    except Exception as error:  # numpy, zipfile, zlib and tokenize each raise their own for a damaged byte
        raise ValueError(str(error)) from error
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray):
            raise ValueError(f"its member {name!r} is no array")
    return arrays


def read(path: Path, what: str = "input") -> dict[str, NDArray[Any]]:
    """Read a file of arrays as `decode` does; `what` names its purpose. Raises InputError."""
    try:
        return decode(path.read_bytes())
    except OSError as error:
        raise InputError(f"The {what} file {path} cannot be read: {error.strerror or error}.") from error
    except ValueError as error:
        raise InputError(f"The {what} file {path} is not a whole .npz or .npy of plain arrays: {error}.") from error
