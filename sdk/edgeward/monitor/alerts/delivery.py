"""Brings notifications to their channels, each in a thread of its own: a receiver that hangs delays nobody else."""

import logging
import threading
import time
from collections.abc import Mapping

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from edgeward.monitor.alerts import mail, outbox, webhook
from edgeward.monitor.alerts.channels import Channel, Mqtt, RefusedError, Smtp, Webhook
from edgeward.monitor.alerts.link import BrokerLink
from edgeward.monitor.alerts.outbox import Due, Word
from edgeward_runtimes.errors import one_line

_log = logging.getLogger("edgeward.alerts")
_LOOK_EVERY_S = 1.0


class Delivery:
    """Delivers what is due, from entering the context to leaving it."""

    def __init__(self, engine: Engine, channels: Mapping[str, Channel], link: BrokerLink) -> None:
        self._engine = engine
        self._channels = channels
        self._link = link
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=each, name=f"tell {each[0]}", daemon=True)
            for each in channels.items()
        ]

    def __enter__(self) -> "Delivery":
        outbox.abandon(self._engine, self._channels, time.time())
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def _run(self, name: str, channel: Channel) -> None:
        while not self._stopping.wait(_LOOK_EVERY_S):
            try:
                while not self._stopping.is_set() and (due := outbox.take(self._engine, name, time.time())):
                    self._deliver(channel, due)
            except SQLAlchemyError as error:
                _log.error("the store fails, trying again: %s", one_line(error))

    def _deliver(self, channel: Channel, due: Due) -> None:
        try:
            self._send(channel, due.word)
        except Exception as error:  # whatever a receiver or a library does, the next notification is to be told
            reason = one_line(error) or type(error).__name__
            final = outbox.failed(self._engine, due, reason, time.time(), for_good=isinstance(error, RefusedError))
            outcome = "given up" if final else "trying again"
            _log.error("%s could not be told (%s), %s: %s", due.channel, due.word.rule, outcome, reason)
        else:
            outbox.delivered(self._engine, due, time.time())

    def _send(self, channel: Channel, word: Word) -> None:
        match channel:
            case Webhook():
                webhook.deliver(channel, word)
            case Smtp():
                mail.deliver(channel, word)
            case Mqtt():
                self._link.deliver(channel, word)
