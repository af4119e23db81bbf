"""The embedded MQTT broker: rumqttd, from the iotcore wheel, as `python -m edgeward.monitor.broker URL`."""

import logging
import signal
import socket
import sys
import time
from typing import Any

from iotcore import IotCoreBroker

from edgeward_runtimes.agent.config import broker_address
from edgeward_runtimes.errors import EdgewardError, MonitorError

_LARGEST_PAYLOAD = 2**20
_READY_WITHIN_S = 10.0
_REACHABLE_WITHIN_S = 1.0


def check(url: str) -> None:
    """Make sure that a broker can listen at its URL. Raises MonitorError."""
    _make(url)


def is_reachable(url: str) -> bool:
    """Whether something accepts connections there."""
    address = broker_address(url, tls=True)
    try:
        socket.create_connection((address.host, address.port), timeout=_REACHABLE_WITHIN_S).close()
    except OSError:
        return False
    return True


def await_reachable(url: str) -> None:
    """Wait until a broker that was started accepts connections. Raises MonitorError when it does not come up."""
    deadline = time.monotonic() + _READY_WITHIN_S
    while not is_reachable(url):
        if time.monotonic() > deadline:
            raise MonitorError(f"The embedded broker does not answer at {url} within {_READY_WITHIN_S:.0f} s.")
        time.sleep(0.05)


def main() -> int:
    """Run until SIGTERM."""
    # rumqttd reports every packet at level ERROR.
    logging.getLogger("rumqttd").setLevel(logging.CRITICAL)
    # Ctrl-C reaches every process of a terminal, but ingest still has to say goodbye: the monitor stops us after it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        broker = _make(sys.argv[1])
    except EdgewardError as error:
        print(error, file=sys.stderr)
        return 2
    broker.run_forever()
    return 0


def _make(url: str) -> Any:
    """A broker that is about to listen at a URL, and at no other interface than that."""
    address = broker_address(url)
    try:
        family, *_, where = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)[0]
        # rumqttd wants an IP address as it stands in a URL: a name is a ValueError to it.
        listen = f"[{where[0]}]" if family == socket.AF_INET6 else where[0]
        broker = IotCoreBroker(listen=listen, port=address.port, max_payload_size=_LARGEST_PAYLOAD)
        broker.check_ports()
    except (OSError, ValueError, RuntimeError) as error:
        raise MonitorError(
            f"The embedded broker cannot listen on {address.host}:{address.port}: {error}. "
            "Set another [broker] url in monitor.toml, or use a broker that runs already with embedded = false."
        ) from error
    return broker


if __name__ == "__main__":
    sys.exit(main())
