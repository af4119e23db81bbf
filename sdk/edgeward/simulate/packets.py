"""MQTT 3.1.1 packets, as far as a simulated device needs them (pure). Sections are those of the OASIS standard.

A library's client holds threads, pipes and locks for one connection; a simulated fleet has a hundred thousand of them.
"""

from collections.abc import Iterator

from msgspec import Struct

CONNACK, PUBLISH, PUBACK, SUBACK, PINGRESP = 2, 3, 4, 9, 13
PINGREQ = b"\xc0\x00"
DISCONNECT = b"\xe0\x00"
_LARGEST = 2**28 - 1


class Packet(Struct, frozen=True):
    """A packet: its type and flags (section 2.2), and what follows the fixed header."""

    kind: int
    flags: int
    body: bytes


class Publication(Struct, frozen=True):
    """A PUBLISH; `number` is there where it wants to be acknowledged."""

    topic: str
    payload: bytes
    number: int | None


class Will(Struct, frozen=True):
    """What the broker says for a client whose connection is lost; at QoS 1, not retained."""

    topic: str
    payload: bytes


def connect(
    client_id: str, keep_alive_s: int, will: Will, user: str | None = None, password: str | None = None
) -> bytes:
    """CONNECT with a clean session (section 3.1)."""
    flags = 0x02 | 0x04 | 0x08  # clean session, a will, of QoS 1
    content = _text(client_id) + _text(will.topic) + _field(will.payload)
    if user is not None:
        flags |= 0x80
        content += _text(user)
        if password is not None:
            flags |= 0x40
            content += _text(password)
    return _packet(0x10, _text("MQTT") + bytes((4, flags)) + keep_alive_s.to_bytes(2, "big") + content)


def subscribe(number: int, topic: str) -> bytes:
    """SUBSCRIBE to one topic at QoS 1 (section 3.8)."""
    return _packet(0x82, number.to_bytes(2, "big") + _text(topic) + b"\x01")


def publish(topic: str, payload: bytes) -> bytes:
    """PUBLISH at QoS 0, not retained (section 3.3)."""
    return _packet(0x30, _text(topic) + payload)


def acknowledge(number: int) -> bytes:
    """PUBACK (section 3.4)."""
    return b"\x40\x02" + number.to_bytes(2, "big")


def publication(packet: Packet) -> Publication:
    """Read a PUBLISH. Raises ValueError for one that is none."""
    length = int.from_bytes(packet.body[:2], "big")
    rest = packet.body[2 + length :]
    topic = packet.body[2 : 2 + length].decode()
    if not packet.flags & 0x06:
        return Publication(topic, rest, None)
    return Publication(topic, rest[2:], int.from_bytes(rest[:2], "big"))


class Incoming:
    """Bytes as they come, cut into packets."""

    def __init__(self) -> None:
        self._bytes = b""

    def feed(self, received: bytes) -> Iterator[Packet]:
        """Take bytes; give the packets that are whole. Raises ValueError where a length cannot be one."""
        self._bytes += received
        while (header := _header(self._bytes)) is not None:
            start, length = header
            if len(self._bytes) < start + length:
                return
            first, body = self._bytes[0], self._bytes[start : start + length]
            self._bytes = self._bytes[start + length :]
            yield Packet(first >> 4, first & 0x0F, body)


def _header(received: bytes) -> tuple[int, int] | None:
    """Where the body begins and how long it is (section 2.2.3), if that has come."""
    length = 0
    for place in range(1, 5):
        if place >= len(received):
            return None
        length |= (received[place] & 0x7F) << 7 * (place - 1)
        if received[place] < 0x80:
            return place + 1, length
    raise ValueError("not an MQTT packet: its length takes more than four bytes")


def _packet(first: int, body: bytes) -> bytes:
    if len(body) > _LARGEST:
        raise ValueError(f"an MQTT packet holds {_LARGEST} bytes, not {len(body)}")
    length, encoded = len(body), bytearray()
    while True:
        length, low = divmod(length, 128)
        encoded.append(low | (0x80 if length else 0))
        if not length:
            return bytes((first,)) + bytes(encoded) + body


def _field(content: bytes) -> bytes:
    return len(content).to_bytes(2, "big") + content


def _text(text: str) -> bytes:
    return _field(text.encode())
