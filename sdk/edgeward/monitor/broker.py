"""The embedded MQTT broker: rumqttd, from the iotcore wheel, in a child process on loopback."""

from collections.abc import Iterator
from contextlib import contextmanager

from iotcore import Broker

from edgeward.monitor.config import BrokerConfig
from edgeward_runtimes.agent.config import broker_address
from edgeward_runtimes.errors import MonitorError

_LARGEST_PAYLOAD = 2**20


@contextmanager
def running(config: BrokerConfig) -> Iterator[None]:
    """Have the broker run for as long as the context; nothing to do for one that is not embedded.

    Raises:
        MonitorError: When its port is taken, or it does not come up.
    """
    if not config.embedded:
        yield
        return
    address = broker_address(config.url)
    # Left to itself, iotcore listens on all interfaces.
    broker = Broker(listen=address.host, port=address.port, max_payload_size=_LARGEST_PAYLOAD)
    try:
        broker.start()
    except (OSError, RuntimeError) as error:
        raise MonitorError(
            f"The embedded broker cannot listen on {address.host}:{address.port}: {error}. "
            "Set another [broker] url in monitor.toml, or use a broker that runs already with embedded = false."
        ) from error
    try:
        yield
    finally:
        broker.stop()
