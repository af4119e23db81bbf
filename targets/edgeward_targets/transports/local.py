"""`local:DIR`: a device that lies in a folder of this machine. Its commands run as processes of their own."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from edgeward_runtimes.durable import write_atomically
from edgeward_runtimes.errors import DeviceError
from edgeward_runtimes.home import Home
from edgeward_targets.transports import Completed, FileStat


class LocalTransport:
    """See `edgeward_targets.transports.Transport`."""

    def __init__(self, folder: Path) -> None:
        """Use `folder` as the device's home; it is made when absent."""
        self._home = Home.under(folder.absolute())
        try:
            self._home.root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DeviceError(f"local:{folder} cannot be used: {error.strerror}.") from error

    def run(self, command: Sequence[str], environment: Mapping[str, str] | None = None) -> Completed:
        """Run a device command with this Python."""
        process = subprocess.run(
            [sys.executable, "-m", "edgeward_runtimes", *command],
            cwd="/",  # -m puts the working directory first on the path: what lies in it must not be imported
            env={**os.environ, **self._home.environment, **(environment or {})},
            capture_output=True,
            check=False,
        )
        return Completed(process.returncode, process.stdout, process.stderr)

    def put(self, local: Path, remote: str) -> None:
        """Copy a file into the folder."""
        try:
            write_atomically(self._home.root / remote, local.read_bytes())
        except OSError as error:
            raise DeviceError(f"{local} could not be copied to {self._home.root}: {error.strerror}.") from error

    def get(self, remote: str, local: Path) -> None:
        """Copy a file out of the folder."""
        try:
            write_atomically(local, (self._home.root / remote).read_bytes())
        except OSError as error:
            raise DeviceError(f"{remote} could not be copied from {self._home.root}: {error.strerror}.") from error

    def stat(self, remote: str) -> FileStat | None:
        """Size and digest."""
        path = self._home.root / remote
        if not path.is_file():
            return None
        content = path.read_bytes()
        return FileStat(len(content), hashlib.sha256(content).hexdigest())

    def path(self, remote: str) -> str:
        """The absolute path."""
        return str(self._home.root / remote)

    def remove(self, remote: str) -> None:
        """Unlink the file."""
        (self._home.root / remote).unlink(missing_ok=True)
