"""An environment of its own for onnx2tf, which pins other versions of numpy, onnx and onnxruntime than edgeward has.

Made on first use in the user's cache folder, from any Python that onnx2tf runs on, with the packages that
`onnx2tf_requirements.txt` pins; reused ever after. It counts as made once its last file, the mark, says so: an
environment whose making was cut short is made anew. A lock keeps two processes from making it at once.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgeward_runtimes.errors import ConversionError

VERSION = "2.6.9"
VARIABLE = "EDGEWARD_ONNX2TF_PYTHON"
_OLDEST = (3, 12)
# The versions that the pinned packages were tried with come first.
_ON_PATH = ("python3.12", "python3.13", "python3.14", "python3")
_BESIDE = (".pyenv/versions/3.1[2-9]*/bin/python", ".local/share/uv/python/cpython-3.1[2-9]*/bin/python3")
_REQUIREMENTS = Path(__file__).with_name("onnx2tf_requirements.txt")
_MARK = "made-of"
_ASK = "import sys, venv, ensurepip; print(*sys.version_info[:2], sep='.')"


def python() -> Path:
    """The Python of onnx2tf's environment; takes half a minute and the network where that has to be made first.

    Raises:
        ConversionError: When no Python is found to make it from, or pip cannot install it; says what mends it.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgeward"
    name = f"onnx2tf-{VERSION}-py"
    if not os.environ.get(VARIABLE):
        for folder in sorted(cache.glob(f"{name}3.*")):
            if _is_made(folder):
                return _python_of(folder)
    base, version = _base()
    folder = cache / f"{name}{version}"
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with _locked(cache / f"{folder.name}.lock"):
            if not _is_made(folder):
                _make(folder, base)
    except OSError as error:
        raise ConversionError(
            f"Cannot make onnx2tf's environment {folder}: {error.strerror or error}. Name another folder with "
            "XDG_CACHE_HOME."
        ) from error
    return _python_of(folder)


def clean_environment() -> dict[str, str]:
    """The variables for that Python's processes: none that would lead it to the packages of this one."""
    quiet = {"TQDM_DISABLE": "1", "CUDA_VISIBLE_DEVICES": "-1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")} | quiet


def _python_of(folder: Path) -> Path:
    return folder / "bin" / "python"


def _digest() -> str:
    return hashlib.sha256(_REQUIREMENTS.read_bytes()).hexdigest()


def _is_made(folder: Path) -> bool:
    """Whether it is whole, of the packages wanted now, and its Python is still there (a link to the base's)."""
    mark = folder / _MARK
    return mark.is_file() and mark.read_text() == _digest() and _python_of(folder).exists()


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock; the system takes it from a process that dies."""
    with path.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _make(folder: Path, base: str) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    _run([base, "-I", "-m", "venv", str(folder)], f"{base} cannot make an environment", f"Name another with {VARIABLE}")
    interpreter = str(_python_of(folder))
    pip = [interpreter, "-I", "-m", "pip", "install", "--quiet", "--no-input"]
    _run(
        # Wheels alone: building OpenCV takes an hour, and then fails.
        [*pip, "--no-deps", "--only-binary=:all:", "--requirement", str(_REQUIREMENTS)],
        f"pip cannot install onnx2tf {VERSION} into {folder}",
        f"See that `{interpreter} -m pip download --no-deps onnx2tf=={VERSION}` works, then convert again",
    )
    (folder / _MARK).write_text(_digest())


def _run(command: list[str], failure: str, remedy: str) -> None:
    result = subprocess.run(command, env=clean_environment(), capture_output=True, text=True, check=False)
    if result.returncode:
        said = [line.strip() for line in (result.stdout + result.stderr).splitlines() if line.strip()]
        reason = next((line for line in said if line.startswith("ERROR")), said[-1] if said else "no reason given")
        raise ConversionError(f"{failure}: {reason[:300]}. {remedy}.")


def _base() -> tuple[str, str]:
    """A Python to make the environment from, and its version."""
    named = os.environ.get(VARIABLE)
    if named:
        version = _version(named)
        if version is None:
            raise ConversionError(
                f"{VARIABLE} names {named}, which is no Python of {_text(_OLDEST)} or later with the modules venv and "
                "ensurepip. Name one that is, or unset it."
            )
        return named, version
    for candidate in _candidates():
        version = _version(candidate)
        if version is not None:
            return candidate, version
    raise ConversionError(
        f"ONNX → LiteRT needs a Python of {_text(_OLDEST)} or later for onnx2tf; there is none on PATH, in pyenv or in "
        "uv. Get one with `apt-get install python3.12-venv` or `pyenv install 3.12`, or name one with "
        f"{VARIABLE}=/path/to/python3.12."
    )


def _candidates() -> Iterator[str]:
    if sys.version_info[:2] >= _OLDEST:
        yield sys.executable
    yield from filter(None, map(shutil.which, _ON_PATH))
    places = [(Path.home(), pattern) for pattern in _BESIDE]
    if "PYENV_ROOT" in os.environ:
        places.insert(0, (Path(os.environ["PYENV_ROOT"]), _BESIDE[0].removeprefix(".pyenv/")))
    for root, pattern in places:
        yield from map(str, sorted(root.glob(pattern)))


def _version(interpreter: str) -> str | None:
    """Its version, such as `3.12`, or None where it is too old, lacks a module that it needs, or does not run."""
    try:
        result = subprocess.run(
            [interpreter, "-I", "-c", _ASK], env=clean_environment(), capture_output=True, text=True, check=False
        )
    except OSError:
        return None
    version = result.stdout.strip()
    if result.returncode or tuple(map(int, version.split("."))) < _OLDEST:
        return None
    return version


def _text(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))
