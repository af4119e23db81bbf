"""A simulated device's connection: CONNECT with the will, its commands subscribed, births, data, rebirths on demand."""

import asyncio
from collections.abc import Callable

from edgeward.simulate import packets
from edgeward.simulate.packets import Incoming, Packet, Will
from edgeward_runtimes.agent.config import BrokerAddress
from edgeward_runtimes.sparkplug import codec, metrics
from edgeward_runtimes.sparkplug.session import EdgeNode, Message

_MOST_WAITING = 256 * 1024  # bytes that the broker has not taken yet


class Link(asyncio.Protocol):
    """One connection; `born` becomes true when the broker accepted it and the node may speak."""

    def __init__(
        self,
        node: EdgeNode,
        client_id: str,
        broker: BrokerAddress,
        will: Message,
        keep_alive_s: int,
        on_accepted: Callable[[], None],
        on_rebirth: Callable[[], None],
        on_lost: Callable[[], None],
    ) -> None:
        self._node = node
        self._hello = packets.connect(
            client_id, keep_alive_s, Will(will.topic, will.payload), broker.user, broker.password
        )
        self._on_accepted, self._on_rebirth, self._on_lost = on_accepted, on_rebirth, on_lost
        self._incoming = Incoming()
        self._transport: asyncio.Transport | None = None
        self.refusal: str | None = None

    @property
    def is_full(self) -> bool:
        """Whether the broker is so slow that what is said now would only pile up here."""
        return self._transport is None or self._transport.get_write_buffer_size() > _MOST_WAITING

    def publish(self, messages: list[Message]) -> None:
        """Say messages, in their order."""
        if self._transport is not None:
            self._transport.write(b"".join(packets.publish(each.topic, each.payload) for each in messages))

    def leave(self, farewell: Message) -> None:
        """Say NDEATH and DISCONNECT, so that the will is not needed."""
        if self._transport is not None:
            self.publish([farewell])
            self._transport.write(packets.DISCONNECT)
            self._transport.close()

    def drop(self) -> None:
        """Be gone without a word, as a device without power: the broker says the will."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio: the socket is open."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 (of a stream)
        self._transport = transport
        transport.write(self._hello)

    def connection_lost(self, error: Exception | None) -> None:
        """asyncio: the socket is closed, by whomever."""
        self._transport = None
        self._on_lost()

    def data_received(self, data: bytes) -> None:
        """asyncio: bytes came."""
        try:
            for packet in self._incoming.feed(data):
                self._handle(packet)
        except ValueError:
            self.drop()

    def _handle(self, packet: Packet) -> None:
        if packet.kind == packets.CONNACK:
            self._accepted(packet.body[1] if len(packet.body) == 2 else 255)
        elif packet.kind == packets.PUBLISH and self._transport is not None:
            told = packets.publication(packet)
            if told.number is not None:
                self._transport.write(packets.acknowledge(told.number))
            if any(self._is_rebirth(metric) for metric in codec.decode(told.payload).metrics):
                self._on_rebirth()

    def _accepted(self, code: int) -> None:
        if code != 0 or self._transport is None:
            self.refusal = f"the broker refuses devices (CONNACK {code})"
            self.drop()
            return
        self._transport.write(packets.subscribe(1, self._node.command_topic))
        self._on_accepted()

    def _is_rebirth(self, metric: codec.Metric) -> bool:
        return self._node.name_of(metric) == metrics.REBIRTH and metric.value is True
