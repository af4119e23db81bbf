"""Ends a revoked device's connection, if it has one open: Mosquitto looks at certificates only when one is made.

The authority issues itself a certificate in the device's name, good for a minute, and connects with it. On the devices'
port the user name is the client id, and of two connections of one client a broker closes the older one (MQTT 3.1.1,
section 3.1.4). The device comes back with its revoked certificate, and is refused.
"""

import tempfile
import threading
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
from cryptography import x509
from paho.mqtt.enums import CallbackAPIVersion

from edgeward.enrollment import authority
from edgeward.enrollment.folder import Fleet, utc_now, write
from edgeward_runtimes.agent.config import broker_address
from edgeward_runtimes.agent.tls import tls_context

_MINUTE = 1 / 1440  # in days
_WITHIN_S = 5.0


def cut(fleet: Fleet, device: str, password: str | None) -> bool:
    """Close the device's connection; False when the broker cannot be reached from here.

    Its certificate is not in the index: it never leaves this call.

    Raises:
        ConfigError: When the authority's key does not open.
    """
    ours = fleet.authority(password)
    made = authority.issue(ours, device, x509.random_serial_number(), utc_now(), _MINUTE)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder, {"c.pem": made.certificate, "c.key": made.key, "ca.pem": authority.pem(ours.certificate)})
        context = tls_context(str(folder / "ca.pem"), str(folder / "c.pem"), str(folder / "c.key"))
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=device)
    client.tls_set_context(context)
    accepted = threading.Event()

    def connected(_client: mqtt.Client, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if not reason.is_failure:
            accepted.set()

    client.on_connect = connected
    address = broker_address(fleet.settings.broker, tls=True)
    try:
        client.connect(address.host, address.port)
    except OSError:
        return False
    client.loop_start()
    done = accepted.wait(_WITHIN_S)
    client.disconnect()
    client.loop_stop()
    return done
