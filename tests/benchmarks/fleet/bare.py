"""What ingest is compared with: paho-mqtt, subscribed to all data, with an empty callback.

`python -m tests.benchmarks.fleet.bare PORT SECONDS` prints "ready", waits for a line, and prints what it took a second.
"""

import sys
import threading
import time

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion


class Counting(mqtt.Client):
    """Counts the calls of its callback by the messages that it took off: the callback itself is empty."""

    taken = 0

    def _handle_on_message(self, message: mqtt.MQTTMessage) -> None:
        self.taken += 1
        super()._handle_on_message(message)


def main() -> None:
    port, seconds = int(sys.argv[1]), float(sys.argv[2])
    subscribed = threading.Event()
    client = Counting(CallbackAPIVersion.VERSION2)
    client.on_message = lambda *_: None
    client.on_subscribe = lambda *_: subscribed.set()
    client.connect("127.0.0.1", port)
    client.subscribe("spBv1.0/+/DDATA/+/+", 1)
    client.loop_start()
    subscribed.wait(20)
    print("ready", flush=True)
    sys.stdin.readline()
    time.sleep(1)  # the generator begins
    before, began = client.taken, time.monotonic()
    time.sleep(seconds)
    print((client.taken - before) / (time.monotonic() - began), flush=True)
    client.disconnect()


if __name__ == "__main__":
    main()
