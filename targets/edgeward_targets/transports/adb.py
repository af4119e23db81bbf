"""`adb://serial`: an Android device (with a Python of its own, such as Termux's) through this machine's adb server.

A file travels in pieces, each pushed whole and then appended, so that a pulled cable costs one piece.
"""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit

from edgeward_runtimes.durable import write_atomically
from edgeward_runtimes.errors import DeviceError
from edgeward_targets.transports import Completed, Sending
from edgeward_targets.transports.address import parse_options
from edgeward_targets.transports.sending import Sent, send
from edgeward_targets.transports.shell import ShellDevice, script

_HOME = "/data/local/tmp/edgeward"  # what the shell's user may write to and run from
_PIECE_BYTES = 8 * 2**20
_APPEND = 'cat "$1" >> "$2" && rm -f "$1"'


class AdbTransport(ShellDevice):
    """See `edgeward_targets.transports.Transport`."""

    def __init__(self, url: str, device: Any = None) -> None:
        """`device` is adbutils' AdbDevice; None asks the adb server for the URL's serial when it is first needed."""
        options = dict(parse_options(url, ("home", "python")))
        super().__init__(url, options.get("home", _HOME), options.get("python"))
        self._serial = urlsplit(url).netloc
        if not self._serial:
            raise DeviceError(f"{url!r} names no device: adb devices lists the serials.")
        self._device = device

    def execute(self, command: Sequence[str]) -> Completed:
        """Run a program there."""
        answer = self._asked("shell2", list(command), timeout=None, encoding=None, v2=True)
        return Completed(answer.returncode, answer.stdout or b"", answer.stderr or b"")

    def put(self, local: Path, remote: str, sending: Sending | None = None) -> int:
        """Copy a file there."""
        sent = Sent(sending)
        send(self, local, self.absolute(remote), sent)
        return sent.travelled

    def get(self, remote: str, local: Path) -> None:
        """Copy a file from there."""
        write_atomically(local, self._asked("sync.read_bytes", self.absolute(remote)))

    def extend(self, path: str, offset: int, stream: BinaryIO, sent: Sent) -> None:
        """See `sending.RemoteFiles`."""
        self.make_folder_of(path)
        while piece := stream.read(_PIECE_BYTES):
            self._asked("sync.push", io.BytesIO(piece), f"{path}.piece", mode=0o600)
            self._told(script(_APPEND, f"{path}.piece", path))
            sent.advance(len(piece))

    def close(self) -> None:
        """Nothing stays open between commands."""

    def _asked(self, method: str, *arguments: Any, **options: Any) -> Any:
        """Call a method of adbutils' device. Raises DeviceError for what it raises."""
        import adbutils  # type: ignore[import-untyped]

        try:
            if self._device is None:
                self._device = adbutils.AdbClient().device(self._serial)
            called = self._device
            for name in method.split("."):
                called = getattr(called, name)
            return called(*arguments, **options)
        except (adbutils.AdbError, OSError) as error:
            raise DeviceError(
                f"{self._url} is out of reach: {error}. See adb devices: it is there and authorized?"
            ) from error
