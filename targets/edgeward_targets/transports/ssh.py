"""`ssh://…`: a device with an OpenSSH (or other) server. Keys alone, hosts that are known alone.

A connection is made when it is first needed. When it breaks while a file travels, it is made again and the transfer
goes on; a command that was begun is never begun twice, so there the break is an error.
"""

import asyncio
import contextlib
import shlex
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import asyncssh

from edgeward_runtimes.durable import write_atomically
from edgeward_runtimes.errors import DeviceError
from edgeward_targets.transports import Completed, Sending, host_keys, loop
from edgeward_targets.transports.address import Hop, SshAddress
from edgeward_targets.transports.sending import CHUNK_BYTES, Sent, send
from edgeward_targets.transports.shell import ShellDevice

_CONNECT_S = 20
_ALIVE_EVERY_S = 10  # three without an answer: the line is dead
_PART_BYTES = 32 * 1024
_ATTEMPTS = 5
_FIRST_PAUSE_S = 0.2


class LineLostError(DeviceError):
    """The connection broke; what was under way may be tried again."""


class SshTransport(ShellDevice):
    """See `edgeward_targets.transports.Transport`."""

    def __init__(self, url: str, address: SshAddress) -> None:
        """Connects to nothing yet."""
        super().__init__(url, address.home, address.python)
        self._address = address
        self._connections: list[asyncssh.SSHClientConnection] = []  # through the jumps, the device's own last
        self._is_closed = False

    def execute(self, command: Sequence[str]) -> Completed:
        """Run a program there."""
        return loop.wait(self._execute(shlex.join(command)))

    def put(self, local: Path, remote: str, sending: Sending | None = None) -> int:
        """Copy a file there, over as many connections as it takes."""
        sent = Sent(sending)
        path = self.absolute(remote)  # a device that cannot be reached at all is not tried again
        pause_s = _FIRST_PAUSE_S
        for attempt in range(_ATTEMPTS):
            before = sent.travelled
            try:
                send(self, local, path, sent)
                break
            except LineLostError:
                if attempt == _ATTEMPTS - 1:
                    raise
                time.sleep(pause_s)
                pause_s = _FIRST_PAUSE_S if sent.travelled > before else 2 * pause_s
        return sent.travelled

    def get(self, remote: str, local: Path) -> None:
        """Copy a file from there."""
        write_atomically(local, loop.wait(self._read(self.absolute(remote))))

    def extend(self, path: str, offset: int, stream: BinaryIO, sent: Sent) -> None:
        """See `sending.RemoteFiles`: by SFTP, every write at its own offset."""
        self.make_folder_of(path)
        loop.wait(self._extend(path, offset, stream, sent))

    def close(self) -> None:
        """Hang up, for good: whatever still runs over this line ends with an error."""
        self._is_closed = True
        loop.wait(self._hang_up())

    async def _execute(self, line: str) -> Completed:
        connection = await self._connected()
        with self._explained():
            process = await connection.run(line, encoding=None, check=False, stdin=asyncssh.DEVNULL)
        if process.exit_status is None and process.exit_signal is None:
            raise LineLostError(f"{self._url}: the connection broke while a command ran there. See: edgeward status")
        exit_code = process.exit_status if process.exit_status is not None else -1
        return Completed(exit_code, _raw(process.stdout), _raw(process.stderr))

    async def _extend(self, path: str, offset: int, stream: BinaryIO, sent: Sent) -> None:
        connection = await self._connected()
        flags = asyncssh.FXF_WRITE | asyncssh.FXF_CREAT
        owner_only = asyncssh.SFTPAttrs(permissions=0o600)
        with self._explained():
            async with (
                connection.start_sftp_client() as sftp,
                sftp.open(path, flags, owner_only, encoding=None) as file,
            ):
                while chunk := stream.read(CHUNK_BYTES):
                    await _write(file, chunk, offset)
                    offset += len(chunk)
                    sent.advance(len(chunk))

    async def _read(self, path: str) -> bytes:
        connection = await self._connected()
        with self._explained():
            async with connection.start_sftp_client() as sftp, sftp.open(path, "rb") as file:
                return _raw(await file.read())

    async def _connected(self) -> asyncssh.SSHClientConnection:
        if self._connections and not self._connections[-1].is_closed():
            return self._connections[-1]
        if self._is_closed:
            raise DeviceError(f"{self._url}: interrupted.")
        await self._hang_up()
        for hop in (*self._address.jumps, self._address.hop):
            self._connections.append(await self._connect(hop, self._connections[-1] if self._connections else None))
        return self._connections[-1]

    async def _connect(self, hop: Hop, tunnel: asyncssh.SSHClientConnection | None) -> asyncssh.SSHClientConnection:
        watchful = host_keys.Watchful()
        known = host_keys.files(self._address.known_hosts)
        options = asyncssh.SSHClientConnectionOptions(
            client_factory=lambda: watchful,
            known_hosts=known or b"",
            preferred_auth=["publickey"],
            connect_timeout=_CONNECT_S,
            keepalive_interval=_ALIVE_EVERY_S,
            **({} if hop.user is None else {"username": hop.user}),
            **({} if self._address.key is None else {"client_keys": [self._key()]}),
            **({} if tunnel is None else {"tunnel": tunnel}),
        )
        try:
            port = () if hop.port is None else hop.port
            with self._explained():
                return await asyncssh.connect(hop.host, port, options=options)
        except asyncssh.HostKeyNotVerifiable:
            raise host_keys.refusal(hop, watchful.refused, self._address.known_hosts) from None

    def _key(self) -> str:
        path = Path(self._address.key or "").expanduser()
        if not path.is_file():
            raise DeviceError(f"{path}, named as key in {self._url}, is not there.")
        return str(path)

    async def _hang_up(self) -> None:
        connections, self._connections = self._connections, []
        for connection in reversed(connections):
            connection.close()
            with contextlib.suppress(OSError, asyncssh.Error):
                await connection.wait_closed()

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """What asyncssh and the system say, as our errors."""
        try:
            yield
        except asyncssh.HostKeyNotVerifiable:
            raise
        except asyncssh.PermissionDenied as error:
            raise DeviceError(
                f"{self._url} does not take the keys that were shown ({error.reason}). "
                "Put yours there with ssh-copy-id, or name another: ?key=FILE"
            ) from error
        except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError) as error:
            raise DeviceError(f"{self._url}: a key cannot be used: {error}. Load it into ssh-agent.") from error
        except asyncssh.ChannelOpenError as error:
            raise DeviceError(
                f"{self._url} opened no channel ({error.reason}). Does its SSH server offer SFTP (openssh-sftp-server)?"
            ) from error
        except (asyncssh.SFTPNoSuchFile, asyncssh.SFTPPermissionDenied, asyncssh.SFTPFailure) as error:
            raise DeviceError(f"{self._url}: {error.reason} (is there room on its disk?)") from error
        except (asyncssh.Error, OSError, EOFError) as error:
            raise LineLostError(f"{self._url} is out of reach: {str(error) or type(error).__name__}.") from error


async def _write(file: "asyncssh.SFTPClientFile", chunk: bytes, offset: int) -> None:
    """Write a chunk as many requests at once, of a size that every server takes; raises the first failure of them."""
    parts = range(0, len(chunk), _PART_BYTES)
    writes = (file.write(chunk[part : part + _PART_BYTES], offset + part) for part in parts)
    for failure in await asyncio.gather(*writes, return_exceptions=True):
        if isinstance(failure, BaseException):
            raise failure


def _raw(said: bytes | str | None) -> bytes:
    """What a program said; it is bytes, as no encoding was asked for."""
    return said if isinstance(said, bytes) else b""
