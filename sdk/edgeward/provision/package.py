"""This edgeward as a wheel, made of the files that run here, whether installed from a wheel or from a checkout.

A wheel is a zip with a list of digests (https://packaging.python.org/specifications/binary-distribution-format/). The
same files give the same bytes, so a device that has them is not sent them again.
"""

import base64
import hashlib
import zipfile
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path

from edgeward_runtimes.errors import ConfigError

_PACKAGES = ("edgeward", "edgeward_converters", "edgeward_runtimes", "edgeward_targets")
_WHEEL = b"Wheel-Version: 1.0\nGenerator: edgeward\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
_EPOCH = (1980, 1, 1, 0, 0, 0)


def write_wheel(folder: Path) -> Path:
    """Write the wheel into `folder`. Raises ConfigError when this edgeward is a mere copy of its files."""
    try:
        installed = distribution("edgeward")
    except PackageNotFoundError:
        raise ConfigError("This edgeward was not installed, so it cannot be packed: pip install it first.") from None
    about = f"edgeward-{installed.version}.dist-info"
    members = {name: content for package in _PACKAGES for name, content in _files(package)}
    members[f"{about}/METADATA"] = (installed.read_text("METADATA") or "").encode()
    members[f"{about}/entry_points.txt"] = (installed.read_text("entry_points.txt") or "").encode()
    members[f"{about}/WHEEL"] = _WHEEL
    members[f"{about}/RECORD"] = _record(members, f"{about}/RECORD")
    path = folder / f"edgeward-{installed.version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        for name, content in members.items():
            wheel.writestr(zipfile.ZipInfo(name, _EPOCH), content, zipfile.ZIP_DEFLATED)
    return path


def _files(package: str) -> list[tuple[str, bytes]]:
    found = find_spec(package)
    if found is None or found.origin is None:
        raise ConfigError(f"This edgeward lacks its package {package}: install it anew.")
    root = Path(found.origin).parent
    paths = sorted(path for path in root.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return [(f"{package}/{path.relative_to(root).as_posix()}", path.read_bytes()) for path in paths]


def _record(members: dict[str, bytes], own_name: str) -> bytes:
    lines = []
    for name, content in members.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        lines.append(f"{name},sha256={digest},{len(content)}")
    return "\n".join([*lines, f"{own_name},,", ""]).encode()
