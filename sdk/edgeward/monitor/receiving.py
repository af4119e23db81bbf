"""paho's MQTT client, reading many messages at once.

paho asks the socket for every packet three times, for its first byte, its length and its content, and does what it does
for one message before it looks at the next: 21 µs a message, on the machine of docs/performance.md, of the 50 that a
core has at 20,000 messages a second. Here one read takes all that has come, and publications at QoS 0, which is what
Sparkplug's data travel at, are cut out of it. Everything else goes the way it goes in paho: connecting and TLS,
keep-alive, acknowledgements, publications at QoS 1. Should a later paho read in another way, `_packet_read` is no
longer called, and everything goes that way.

What came with one read is handed over as one list, in the order of the connection.
"""

import time
from collections.abc import Callable
from typing import Any

import paho.mqtt.client as mqtt
from msgspec import Struct
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.exception import MalformedPacket

_AT_ONCE = 256 * 1024
_A_FEW = 4096  # bytes: more than that is a stream
_PAUSE_S = 0.004
_PUBLISH_AT_QOS_0 = 0x30  # the fixed header's first byte but for DUP and RETAIN (MQTT 3.1.1, section 3.3.1)


class Arrived(Struct, frozen=True, gc=False):
    """A message as it came; `at` is Unix seconds."""

    topic: str
    payload: bytes
    at: float
    is_retained: bool = False


class Subscriber(mqtt.Client):
    """A client that gives messages by the list."""

    def __init__(self, client_id: str, on_arrived: Callable[[list[Arrived]], None]) -> None:
        """`on_arrived` is called on paho's thread; while it waits, nothing is read."""
        super().__init__(CallbackAPIVersion.VERSION2, client_id=client_id)
        self._on_arrived = on_arrived
        self._arrived: list[Arrived] = []
        self._unread = b""
        self.on_message = self._take
        self.on_socket_open = self._begin

    def _begin(self, client: mqtt.Client, userdata: Any, socket: Any) -> None:
        """What the connection before left half read is worth nothing."""
        self._unread = b""

    def _take(self, client: mqtt.Client, userdata: Any, message: mqtt.MQTTMessage) -> None:
        """A message that came through paho."""
        self._arrived.append(Arrived(message.topic, bytes(message.payload), time.time(), message.retain))

    def loop_read(self, max_packets: int = 1) -> MQTTErrorCode:
        """paho: the socket is readable."""
        result = super().loop_read(max_packets)
        if self._arrived:
            arrived, self._arrived = self._arrived, []
            self._on_arrived(arrived)
        return result

    def _packet_read(self) -> MQTTErrorCode:
        """paho: read a packet."""
        try:
            received = self._sock_recv(_AT_ONCE)
        except BlockingIOError:
            return MQTTErrorCode.MQTT_ERR_AGAIN
        except OSError:
            return MQTTErrorCode.MQTT_ERR_CONN_LOST
        if not received:
            return MQTTErrorCode.MQTT_ERR_CONN_LOST
        with self._msgtime_mutex:
            self._last_bytes_received = time.monotonic()
        if len(received) > _A_FEW:
            time.sleep(_PAUSE_S)  # more comes at once then; every turn of this thread is one that the writing one waits
        return self._cut(self._unread + received if self._unread else received)

    def _cut(self, received: bytes) -> MQTTErrorCode:
        """Take whole packets off, and keep the rest."""
        now, end, place = time.time(), len(received), 0
        while (found := _header(received, place, end)) is not None:
            start, length = found
            if length < 0:
                return MQTTErrorCode.MQTT_ERR_PROTOCOL
            stop = start + length
            if stop > end:
                break
            first = received[place]
            if first & 0xF6 == _PUBLISH_AT_QOS_0:
                topic_stop = start + 2 + int.from_bytes(received[start : start + 2], "big")
                if topic_stop > stop:
                    return MQTTErrorCode.MQTT_ERR_PROTOCOL
                topic = received[start + 2 : topic_stop].decode(errors="replace")
                self._arrived.append(Arrived(topic, received[topic_stop:stop], now, bool(first & 1)))
            elif (result := self._hand_over(first, received[start:stop])) != MQTTErrorCode.MQTT_ERR_SUCCESS:
                return result
            place = stop
        self._unread = received[place:]
        return MQTTErrorCode.MQTT_ERR_SUCCESS

    def _hand_over(self, first: int, body: bytes) -> MQTTErrorCode:
        """Let paho handle a packet as if it had read it."""
        self._in_packet = {
            **self._in_packet,
            "command": first,
            "remaining_length": len(body),
            "packet": bytearray(body),
            "pos": 0,
        }
        try:
            return self._packet_handle()
        except MalformedPacket:
            return MQTTErrorCode.MQTT_ERR_PROTOCOL
        finally:
            self._in_packet["command"] = 0


def _header(received: bytes, place: int, end: int) -> tuple[int, int] | None:
    """Where a packet's content starts, and how long it is (section 2.2.3); a length below 0 for one that cannot be.

    None when the header has not come whole.
    """
    length = 0
    for digit in range(4):
        at = place + 1 + digit
        if at >= end:
            return None
        byte = received[at]
        length |= (byte & 0x7F) << 7 * digit
        if byte < 0x80:
            return at + 1, length
    return place, -1
