"""Where things lie on a device (DESIGN section 6).

$EDGEWARD_HOME   models, counters, trust, agent.toml: survives a reboot
$EDGEWARD_RUN    latency files of running processes: may be lost at a reboot
"""

import os
from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from pathlib import Path

LATENCY = "latency"


def roots() -> tuple[str, str]:
    """`Home.default` as the paths of its two folders: pathlib takes 4 ms, and a plain prediction can do without."""
    is_root = os.geteuid() == 0
    root = os.environ.get("EDGEWARD_HOME") or ("/var/lib/edgeward" if is_root else "~/.local/share/edgeward")
    # Not $XDG_RUNTIME_DIR: an agent started by cron or systemd has none where the user's applications have.
    run = os.environ.get("EDGEWARD_RUN") or ("/run/edgeward" if is_root else f"{root}/run")
    return os.path.expanduser(root), os.path.expanduser(run)


class Home(Struct, frozen=True):
    """The two folders of one device."""

    root: "Path"
    run: "Path"

    @classmethod
    def default(cls) -> "Home":
        """From the environment, else the system's folders for root, else the user's own."""
        from pathlib import Path

        root, run = roots()
        return cls(Path(root), Path(run))

    @classmethod
    def under(cls, folder: "Path") -> "Home":
        """A device that lies wholly in one folder, as `local:DIR` has it."""
        return cls(folder, folder / "run")

    @property
    def models(self) -> "Path":
        """One folder per installed model."""
        return self.root / "models"

    @property
    def latency(self) -> "Path":
        """The latency files."""
        return self.run / LATENCY

    @property
    def environment(self) -> dict[str, str]:
        """What a child process needs to find the same device."""
        return {"EDGEWARD_HOME": str(self.root), "EDGEWARD_RUN": str(self.run)}
