"""Network namespaces: a hub with a bridge, and devices that hang on it by a link each. Needs root and `ip`."""

import subprocess
from types import TracebackType

HUB = "edgeward-hub"
ADDRESS = "10.77.0.1"
_BRIDGE = "bridge0"


class Network:
    """The hub and so many devices, from entering the context to leaving it."""

    def __init__(self, devices: int) -> None:
        self._names = [HUB, *(namespace(number) for number in range(devices))]

    def __enter__(self) -> "Network":
        self._remove()
        _ip("netns", "add", HUB)
        _ip("-n", HUB, "link", "set", "lo", "up")
        _ip("-n", HUB, "link", "add", _BRIDGE, "type", "bridge")
        _ip("-n", HUB, "address", "add", f"{ADDRESS}/16", "dev", _BRIDGE)
        _ip("-n", HUB, "link", "set", _BRIDGE, "up")
        for number in range(len(self._names) - 1):
            self._add(number)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._remove()

    def set_link(self, number: int, *, up: bool) -> None:
        """Cut a device's link, or mend it."""
        _ip("-n", namespace(number), "link", "set", "eth0", "up" if up else "down")

    def _add(self, number: int) -> None:
        name, port = namespace(number), f"port{number}"
        _ip("netns", "add", name)
        _ip("-n", HUB, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", name)
        _ip("-n", HUB, "link", "set", port, "master", _BRIDGE, "up")
        _ip("-n", name, "address", "add", f"10.77.1.{number + 1}/16", "dev", "eth0")
        _ip("-n", name, "link", "set", "lo", "up")
        _ip("-n", name, "link", "set", "eth0", "up")

    def _remove(self) -> None:
        for name in self._names:
            subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)


def namespace(number: int) -> str:
    """A device's namespace."""
    return f"edgeward-device-{number}"


def inside(name: str, *command: str) -> list[str]:
    """A command as it is run in a namespace."""
    return ["ip", "netns", "exec", name, *command]


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)
