"""`local:DIR`: a device that lies in a folder of this machine. Its commands run as processes of their own."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from edgeward_runtimes.durable import fsync_folder, make_folder, write_atomically
from edgeward_runtimes.errors import DeviceError
from edgeward_runtimes.home import Home
from edgeward_targets.transports import Completed, FileStat, Place, Sending
from edgeward_targets.transports.sending import CHUNK_BYTES, Sent, describe, send


class LocalTransport:
    """See `edgeward_targets.transports.Transport`."""

    def __init__(self, folder: Path) -> None:
        """Use `folder` as the device's home; it is made when absent. Raises DeviceError when it cannot be."""
        home = Home.under(folder.absolute())
        self._root = home.root
        self.place = Place(str(home.root), sys.executable, home.environment)
        with self._explained():
            self._root.mkdir(parents=True, exist_ok=True)

    def run(self, command: Sequence[str], environment: Mapping[str, str] | None = None) -> Completed:
        """Run a program here."""
        with self._explained():
            process = subprocess.run(
                command,
                cwd="/",  # python -m puts the working directory first on the path: what lies in it is not ours
                env={**os.environ, **(environment or {})},
                capture_output=True,
                check=False,
            )
        return Completed(process.returncode, process.stdout, process.stderr)

    def put(self, local: Path, remote: str, sending: Sending | None = None) -> int:
        """Copy a file into the folder."""
        sent = Sent(sending)
        send(self, local, str(self._root / remote), sent)
        return sent.travelled

    def get(self, remote: str, local: Path) -> None:
        """Copy a file out of the folder."""
        with self._explained():
            write_atomically(local, (self._root / remote).read_bytes())

    def stat(self, remote: str) -> FileStat | None:
        """Size and digest."""
        path = self._root / remote
        return describe(path) if path.is_file() else None

    def extend(self, path: str, offset: int, stream: BinaryIO, sent: Sent) -> None:
        """See `sending.RemoteFiles`."""
        with self._explained():
            make_folder(Path(path).parent)
            with open(path, "ab", opener=_owner_only) as file:
                while chunk := stream.read(CHUNK_BYTES):
                    file.write(chunk)
                    sent.advance(len(chunk))
                file.flush()
                os.fsync(file.fileno())

    def publish(self, partial: str, path: str) -> None:
        """See `sending.RemoteFiles`."""
        with self._explained():
            Path(partial).replace(path)
            fsync_folder(Path(path).parent)

    def remove(self, remote: str) -> None:
        """Unlink the file."""
        with self._explained():
            (self._root / remote).unlink(missing_ok=True)

    def close(self) -> None:
        """Nothing is open."""

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise DeviceError(
                f"local:{self._root}: {error.filename or 'the folder'} cannot be used: {error.strerror or error}."
            ) from error


def _owner_only(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
