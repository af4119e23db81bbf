"""A systemd unit for the agent: it may read its device, write its two folders, talk to its broker, and nothing else.

It runs as the owner of the device's home, who owns the applications' latency files as well. Its memory is bounded, a
main loop that no longer turns is ended by the watchdog, and whatever ends it, it is started again.
"""

import grp
import pwd
import shutil
import subprocess
import sys
from pathlib import Path

from edgeward_runtimes.errors import ConfigError
from edgeward_runtimes.home import Home

_MEMORY_MAX = "1G"  # itself it takes 45 MB; an install is done below it, and tries every engine
_WATCHDOG_S = 120
_STEPS_SINCE = 254  # the systemd that can restart with growing pauses
_RUN = Path("/run")

_TEMPLATE = """\
# Written by `edgeward agent --print-unit`. Next:
#   edgeward agent --config {config} --print-unit | sudo tee /etc/systemd/system/edgeward-agent.service
#   sudo systemctl daemon-reload && sudo systemctl enable --now edgeward-agent
[Unit]
Description=edgeward agent: reports this device's health and its models' latency
Wants=network-online.target
After=network-online.target time-sync.target
StartLimitIntervalSec=0

[Service]
Type=notify
NotifyAccess=main
ExecStart={python} -m edgeward_runtimes.agent --config {config}
Environment={environment}
User={user}
{groups}WatchdogSec={watchdog}
TimeoutStopSec=20
Restart=always
{restart}
MemoryMax={memory}
TasksMax=256
OOMPolicy=stop
UMask=0027

{folders}
ProtectSystem=strict
ProtectHome=read-only
PrivateTmp=yes
PrivateDevices=yes
ProtectControlGroups=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectHostname=yes
ProtectProc=invisible
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
NoNewPrivileges=yes
RemoveIPC=yes
CapabilityBoundingSet=
AmbientCapabilities=
SystemCallArchitectures=native
# Not ProtectClock=: that would also forbid to ask how far the clock is off.
SystemCallFilter=@system-service adjtimex
SystemCallFilter=~@privileged @resources
SystemCallErrorNumber=EPERM

[Install]
WantedBy=multi-user.target
"""


def unit(config: Path, home: Home, systemd: int | None = None) -> str:
    """The unit's text.

    Args:
        config: The agent's `agent.toml`.
        home: The device.
        systemd: The version to write for; None asks the one that is here, and takes an old one where there is none.

    Raises:
        ConfigError: When the device lies under /tmp, of which the unit sees none but its own.
    """
    for folder in (home.root, home.run):
        if folder.absolute().parts[1:2] == ("tmp",) or folder.absolute().parts[1:3] == ("var", "tmp"):
            raise ConfigError(
                f"{folder} is in a folder for temporary files, which a service does not share with others: "
                "set EDGEWARD_HOME and EDGEWARD_RUN to where the device is to stay."
            )
    version = _systemd_version() if systemd is None else systemd
    return _TEMPLATE.format(
        config=_quoted(config.absolute()),
        python=_quoted(sys.executable),
        environment=" ".join(_quoted(f"{name}={value}") for name, value in home.environment.items()),
        user=_owner(home.root),
        groups="SupplementaryGroups=jtop\n" if _has_group("jtop") else "",
        watchdog=_WATCHDOG_S,
        restart=_restart(version),
        memory=_MEMORY_MAX,
        folders=_folders(home),
    )


def _restart(version: int) -> str:
    if version >= _STEPS_SINCE:
        return "RestartSec=2\nRestartSteps=6\nRestartMaxDelaySec=300"
    return "RestartSec=10"


def _folders(home: Home) -> str:
    """Where it may write. A folder under /run is made anew at every boot, and stays when the agent stops."""
    run = home.run.absolute()
    writable, lines = [home.root.absolute()], []
    if run.parent == _RUN:
        lines += [f"RuntimeDirectory={_quoted(run.name)}", "RuntimeDirectoryMode=0755", "RuntimeDirectoryPreserve=yes"]
    elif home.root.absolute() not in run.parents:
        writable.append(run)
    return "\n".join([f"ReadWritePaths={' '.join(map(_quoted, writable))}", *lines])


def _owner(folder: Path) -> str:
    """Who owns a folder, or the nearest one above that is there."""
    there = next(each for each in (folder.absolute(), *folder.absolute().parents) if each.exists())
    number = there.stat().st_uid
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def _has_group(name: str) -> bool:
    try:
        grp.getgrnam(name)
    except KeyError:
        return False
    return True


def _systemd_version() -> int:
    program = shutil.which("systemctl")
    if program is None:
        return 0
    try:
        said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False, timeout=10).stdout
        return int(said.split()[1])
    except (OSError, subprocess.SubprocessError, IndexError, ValueError):
        return 0


def _quoted(word: object) -> str:
    """A word of a unit file: `%` begins a specifier there, and a space another word."""
    text = str(word).replace("%", "%%").replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"' if any(sign in text for sign in " \t'\"") else text
