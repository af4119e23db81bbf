"""The fleet that is measured with, as a process of its own.

`python -m tests.benchmarks.fleet.generator PORT DEVICES MODELS RATE SECONDS` says "ready" when every device is born,
waits for a line on stdin, sends, and prints as JSON what it sent and how many predictions that told. A rate of 0 sends
as fast as the broker takes it.
"""

import json
import socket
import sys
import time

from edgeward.simulate import packets
from tests.benchmarks.fleet.templates import Templates

_TICK_S = 0.01
_AT_ONCE = 500
_BIRTHS_A_SECOND = 3000


def main() -> None:
    port, devices, models = (int(each) for each in sys.argv[1:4])
    rate, seconds = float(sys.argv[4]), float(sys.argv[5])
    templates = Templates(devices, models)
    broker = _connect(port)
    _births(broker, templates)
    print("ready", flush=True)
    sys.stdin.readline()
    began = time.monotonic()
    sent, place = 0, 0
    while (passed := time.monotonic() - began) < seconds:
        due = int(rate * passed) - sent if rate else _AT_ONCE
        while due > 0:
            count = min(due, templates.keys - place, _AT_ONCE)
            broker.sendall(templates.next(place, place + count))
            place = (place + count) % templates.keys
            sent, due = sent + count, due - count
        if rate:
            time.sleep(_TICK_S)
    took = time.monotonic() - began
    print(json.dumps({"sent": sent, "seconds": took, "predictions": templates.predictions}), flush=True)
    sys.stdin.readline()  # the will is for later
    broker.sendall(packets.DISCONNECT)


def _connect(port: int) -> socket.socket:
    broker = socket.create_connection(("127.0.0.1", port))
    will = packets.Will("bench/will", b"")
    broker.sendall(packets.connect("generator", 0, will))
    assert broker.recv(4) == b"\x20\x02\x00\x00"
    return broker


def _births(broker: socket.socket, templates: Templates) -> None:
    began = time.monotonic()
    for device in range(templates.devices):
        for message in templates.births(device):
            broker.sendall(packets.publish(message.topic, message.payload))
        ahead = (device + 1) * (templates.models + 1) / _BIRTHS_A_SECOND - (time.monotonic() - began)
        if ahead > 0.02:
            time.sleep(ahead)


if __name__ == "__main__":
    main()
