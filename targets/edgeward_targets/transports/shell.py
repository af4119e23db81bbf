"""Devices with a POSIX shell: files asked for and renamed by commands that every Linux and Android has.

The scripts are constants; what they work on comes as arguments, which no shell looks into.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property

from edgeward_runtimes.errors import DeviceError
from edgeward_targets.transports import Completed, FileStat, Place

# As edgeward_runtimes.home has it, for a device on which no Python of ours may run yet.
_FIND = """
home=$1 python=$2
if [ -z "$home" ]; then home=${EDGEWARD_HOME:-}; fi
if [ -z "$home" ]; then
    if [ "$(id -u)" = 0 ]; then home=/var/lib/edgeward; else home=$HOME/.local/share/edgeward; fi
fi
if [ -z "$python" ]; then python=$home/venv/bin/python; [ -x "$python" ] || python=python3; fi
printf '%s\\n%s\\n' "$home" "$python"
"""
_STAT = 'if [ -f "$1" ]; then wc -c < "$1" && sha256sum < "$1"; fi'
_PUBLISH = 'sync "$1" 2>/dev/null || sync; chmod 600 "$1" && mv -f "$1" "$2"'
_FROM_ROOT = 'cd / && exec "$@"'  # python -m would import what lies in the working directory


def script(text: str, *arguments: str) -> list[str]:
    """A command that runs a constant script with arguments."""
    return ["sh", "-c", text, "sh", *arguments]


class ShellDevice:
    """What ssh and adb have in common; a subclass says how a command gets there, and how bytes do."""

    def __init__(self, url: str, home: str | None, python: str | None) -> None:
        self._url = url
        self._home = home
        self._python = python

    def execute(self, command: Sequence[str]) -> Completed:
        """Run a program there as it is. Raises DeviceError when the device is out of reach."""
        raise NotImplementedError

    @cached_property
    def place(self) -> Place:
        """See `Transport`."""
        home, python = self._told(script(_FIND, self._home or "", self._python or "")).splitlines()
        given = {"EDGEWARD_HOME": home, "EDGEWARD_RUN": f"{home}/run"} if self._home else {}
        return Place(home, python, given)

    def run(self, command: Sequence[str], environment: Mapping[str, str] | None = None) -> Completed:
        """See `Transport`."""
        settings = [f"{name}={value}" for name, value in (environment or {}).items()]
        return self.execute(script(_FROM_ROOT, *(["env", *settings] if settings else []), *command))

    def stat(self, remote: str) -> FileStat | None:
        """See `Transport`."""
        told = self._told(script(_STAT, self.absolute(remote))).split()
        return FileStat(int(told[0]), told[1]) if told else None

    def remove(self, remote: str) -> None:
        """See `Transport`."""
        self._told(["rm", "-f", self.absolute(remote)])

    def publish(self, partial: str, path: str) -> None:
        """See `sending.RemoteFiles`."""
        self._told(script(_PUBLISH, partial, path))

    def absolute(self, remote: str) -> str:
        """A remote path as the device itself calls it."""
        return remote if remote.startswith("/") else f"{self.place.home}/{remote}"

    def make_folder_of(self, path: str) -> None:
        """Make the folder that a file shall lie in."""
        self._told(["mkdir", "-p", path.rpartition("/")[0]])

    def _told(self, command: Sequence[str]) -> str:
        """What a command said; DeviceError when it failed."""
        completed = self.execute(command)
        if completed.exit_code != 0:
            reason = completed.stderr.decode(errors="replace").strip().splitlines()
            raise DeviceError(f"{self._url}: {reason[-1] if reason else f'exit code {completed.exit_code}'}")
        return completed.stdout.decode(errors="replace").strip()
