"""A real OpenSSH server on loopback: its own configuration, keys and port; and a line to it that can be cut."""

import contextlib
import getpass
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

import pytest

from tests.conftest import accepts, wait_for

_CONFIG = """\
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host_key
PidFile {folder}/sshd.pid
AuthorizedKeysFile {folder}/authorized_keys
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
PermitRootLogin prohibit-password
AllowTcpForwarding yes
MaxStartups 100
PermitUserEnvironment no
SetEnv {environment}
Subsystem sftp internal-sftp
"""


@dataclass(frozen=True)
class Sshd:
    """A running server."""

    folder: Path
    port: int
    user: str

    def url(self, home: Path | None, *, python: str | None = None, port: int | None = None, **options: str) -> str:
        """A device that lies in a folder behind this server."""
        query = {"known_hosts": str(self.folder / "known_hosts"), "key": str(self.folder / "key"), **options}
        if home is not None:
            query["home"] = str(home)
        if python is not None:
            query["python"] = python
        return f"ssh://{self.user}@127.0.0.1:{port or self.port}?{urlencode(query)}"

    def know(self, port: int, host_key: Path | None = None) -> None:
        """Add a port's host key to known_hosts."""
        kind, key, *_ = (host_key or self.folder / "host_key.pub").read_text().split()
        with (self.folder / "known_hosts").open("a") as file:
            file.write(f"[127.0.0.1]:{port} {kind} {key}\n")


@contextlib.contextmanager
def running_sshd(folder: Path, port: int, **environment: str) -> Iterator[Sshd]:
    """Start one; skips the test where OpenSSH is not installed."""
    program = shutil.which("sshd", path=os.environ.get("PATH", "") + ":/usr/sbin")
    if program is None:
        pytest.skip("sshd is not installed: apt-get install openssh-server")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where its unprivileged half lives
    for key in ("host_key", "key", "other_key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / key], check=True)
    shutil.copy(folder / "key.pub", folder / "authorized_keys")
    settings = " ".join(f'"{name}={value}"' for name, value in environment.items()) or '"EDGEWARD_TEST=1"'
    (folder / "sshd_config").write_text(_CONFIG.format(folder=folder, port=port, environment=settings))
    log = (folder / "sshd.log").open("wb")
    server = subprocess.Popen([program, "-D", "-e", "-f", folder / "sshd_config"], stderr=log)
    try:
        wait_for(lambda: accepts(port), "sshd to listen")
        sshd = Sshd(folder, port, getpass.getuser())
        (folder / "known_hosts").touch()
        sshd.know(port)
        yield sshd
    finally:
        server.terminate()
        server.wait()
        log.close()


class Line:
    """A TCP line to a port that is cut, both ways at once, after so many bytes towards it; once, or never (None)."""

    def __init__(self, to: int, cut_after: int | None) -> None:
        self._to = to
        self._left = cut_after
        self.cuts = 0
        self.carried = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(("127.0.0.1", self._to))
                for source, sink, counted in ((near, far, True), (far, near, False)):
                    threading.Thread(target=self._carry, args=(source, sink, counted), daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket, counted: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if counted:
                    self.carried += len(data)
                    if self._left is not None:
                        self._left -= len(data)
                        if self._left <= 0:
                            self._left = None
                            self.cuts += 1
                            break
                sink.sendall(data)
        for each in (source, sink):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
