"""What a host asks of this device beyond its metrics: requests in, answers out, each request done once.

- Only what is in `handlers` can be asked for, and each checks its own arguments: nobody names a program or a path.
- A request is written down before it is done, and its answer afterwards. Asked again with the same id, it is answered
  again; one that was cut off by a restart is answered with an error, and is not begun a second time.
- One request is done at a time, on a thread of its own, so that reporting goes on.
- Answers go out in parts. How fast, is the caller's business: `next_part` gives one after the other, and what was given
  begins anew after `tell_again`, unless it had `arrived`.
"""

import hashlib
import logging
import queue
import threading
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from edgeward_runtimes.durable import write_atomically
from edgeward_runtimes.errors import EdgewardError, of_system
from edgeward_runtimes.sparkplug.requests import LARGEST_PART, Answer, Request

_log = logging.getLogger("edgeward.agent")
_REMEMBERED = 100  # requests; of the latest few, the content as well
_CONTENTS = 4
_WAITING = 16
_LONGEST = 2000


class Reply(Struct, frozen=True):
    """What a handler says: a sentence, and perhaps content, as bytes or as a file that then belongs to the answer."""

    message: str
    content: bytes | Path = b""


Handler = Callable[[dict[str, Any]], Reply]


class Done(Struct, frozen=True):
    """How a request went; `ok` is None while it is being done. `size` is that of its content, in bytes."""

    id: str
    command: str
    ok: bool | None
    message: str = ""
    size: int = 0


class Obeyer:
    """Does requests and has their answers."""

    def __init__(self, folder: Path, handlers: Mapping[str, Handler], wake: Callable[[], None]) -> None:
        """Keep what was done in `folder`; `wake` is called on any thread when there is an answer to be told."""
        self._folder, self._handlers, self._wake = folder, dict(handlers), wake
        self._known: dict[str, Done] = self._load()
        self._changing = threading.Lock()
        self._waiting: queue.Queue[Request | None] = queue.Queue(_WAITING)
        self._thread: threading.Thread | None = None
        self._answers: deque[tuple[Done, int]] = deque()  # and the part that comes next
        self._given: list[Done] = []  # to their last part, which may not have arrived

    def take(self, request: Request) -> None:
        """Begin to do what is asked, or tell again how it went."""
        with self._changing:
            known = self._known.get(request.id)
            if known is not None:
                if known.ok is not None:
                    self._tell(known)
                return
            if request.command not in self._handlers:
                able = ", ".join(sorted(self._handlers))
                self._tell(Done(request.id, request.command, False, f"This device does {able}; not {request.command}."))
                return
            if self._waiting.full():
                self._tell(
                    Done(request.id, request.command, False, "This device is busy with others. Ask again later.")
                )
                return
            try:
                self._note(Done(request.id, request.command, None))
            except OSError as error:  # what could be done twice is not done
                self._tell(Done(request.id, request.command, False, of_system(error)))
                return
        self._waiting.put(request)
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="edgeward-obey", daemon=True)
            self._thread.start()

    def next_part(self) -> Answer | None:
        """The next part to be told, or None when there is none."""
        with self._changing:
            if not self._answers:
                return None
            done, part = self._answers.popleft()
            parts = max(1, -(-done.size // LARGEST_PART))
            if part + 1 < parts:
                self._answers.appendleft((done, part + 1))
            else:
                self._given.append(done)
        content = self._read_part(done, part)
        if content is None:
            lost = "What was to be answered is not kept any more. Ask anew, with another id."
            self._forget_parts(done)
            return Answer(done.id, False, lost)
        return Answer(done.id, done.ok is True, done.message, part, parts, content)

    def arrived(self) -> None:
        """The broker has had all parts so far."""
        with self._changing:
            self._given.clear()

    def tell_again(self) -> None:
        """The connection is gone: what had not arrived begins at its first part."""
        with self._changing:
            again = dict.fromkeys((*self._given, *(done for done, _ in self._answers)))
            self._answers, self._given = deque((done, 0) for done in again), []

    def close(self) -> None:
        """End when what is being done is done, or after a moment."""
        if self._thread is not None:
            self._waiting.put(None)
            self._thread.join(2.0)

    def _work(self) -> None:
        while (request := self._waiting.get()) is not None:
            done = self._do(request)
            with self._changing:
                try:
                    self._note(done)
                except OSError as error:
                    _log.error("the answer to a request cannot be kept: %s", error)
                self._tell(done)

    def _do(self, request: Request) -> Done:
        _log.info("doing what was asked: %s", request.command)
        ok, size = True, 0
        try:
            reply = self._handlers[request.command](request.arguments)
            message, size = reply.message, self._keep(request.id, reply.content)
        except EdgewardError as error:
            ok, message = False, str(error)
        except OSError as error:
            ok, message = False, of_system(error)
        except msgspec.ValidationError as error:
            ok, message = False, f"The arguments of {request.command} are wrong: {error}."
        except Exception as error:  # whatever a handler does not foresee must not end the agent
            _log.exception("%s failed", request.command)
            ok, message = False, f"{request.command} failed: {type(error).__name__}: {error}"
        return Done(request.id, request.command, ok, message[:_LONGEST], size)

    def _tell(self, done: Done) -> None:
        if all(told.id != done.id for told, _ in self._answers):
            self._answers.append((done, 0))
        self._wake()

    def _forget_parts(self, done: Done) -> None:
        with self._changing:
            self._answers = deque(each for each in self._answers if each[0].id != done.id)

    def _keep(self, request_id: str, content: bytes | Path) -> int:
        """Keep the content of an answer, and only that of the latest few; gives its size in bytes."""
        if not content:
            return 0
        path = self._path(request_id)
        if isinstance(content, Path):
            content.replace(path)
        else:
            write_atomically(path, content, mode=0o600)
        kept = sorted(self._folder.glob("*.content"), key=lambda each: each.stat().st_mtime)
        for old in kept[:-_CONTENTS]:
            old.unlink(missing_ok=True)
        return path.stat().st_size

    def _read_part(self, done: Done, part: int) -> bytes | None:
        if not done.size:
            return b""
        try:
            with self._path(done.id).open("rb") as stream:
                stream.seek(part * LARGEST_PART)
                return stream.read(LARGEST_PART)
        except OSError:
            return None

    def _path(self, request_id: str) -> Path:
        """Ids come from elsewhere: no file is named by one."""
        return self._folder / f"{hashlib.sha256(request_id.encode()).hexdigest()[:32]}.content"

    def _note(self, done: Done) -> None:
        """Keep how a request went. Raises OSError."""
        known = {**self._known, done.id: done}
        self._known = dict(list(known.items())[-_REMEMBERED:])
        write_atomically(self._folder / "done.msgpack", msgspec.msgpack.encode(list(self._known.values())), mode=0o600)

    def _load(self) -> dict[str, Done]:
        try:
            known = msgspec.msgpack.decode((self._folder / "done.msgpack").read_bytes(), type=list[Done])
        except (FileNotFoundError, msgspec.MsgspecError, UnicodeDecodeError):
            return {}
        stopped = "The agent was stopped while it did this; it is not begun again. Look, and ask anew with another id."
        return {done.id: done if done.ok is not None else Done(done.id, done.command, False, stopped) for done in known}
