"""The worker's end of the pipe: what every back-end program is built on.

It needs only the standard library. Requests are worked on one at a time by the main thread, while another thread reads
on, so that a cancellation is seen in the middle of the work and a closed pipe ends the process even then.
"""

import os
import queue
import threading
from collections.abc import Callable, Mapping
from typing import Any

from stream.speech.wire import Message, Unpacker, pack

NICENESS = 10
_READ_BYTES = 1 << 16


class Refused(Exception):  # noqa: N818 - an answer, not a failure of the worker
    """The request cannot be done as asked; the worker goes on."""


class Channel:
    """Messages in and out. Whatever a library prints goes to standard error instead of into the pipe."""

    def __init__(self) -> None:
        self._out = os.dup(1)
        os.dup2(2, 1)
        self._requests: queue.Queue[Message] = queue.Queue(16)
        self._cancelled = 0
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        unpacker = Unpacker()
        while data := os.read(0, _READ_BYTES):
            for message in unpacker.feed(data):
                if message.kind == "cancel":
                    self._cancelled = int(message.fields["request"])
                else:
                    self._requests.put(message)
        # The engine is gone. The main thread may be deep in a library, which nothing else would end.
        os._exit(0)

    def next_request(self) -> Message:
        """Wait for the next request."""
        return self._requests.get()

    def cancelled(self, request: int) -> bool:
        """Whether the request was cancelled. They are numbered in order, and an earlier one is never wanted again."""
        return request <= self._cancelled

    def send(self, fields: Mapping[str, Any], body: bytes = b"") -> None:
        """Write one message; waits as long as the engine does not read."""
        rest = memoryview(pack(fields, body))
        while rest:
            rest = rest[os.write(self._out, rest) :]


class Answer:
    """Where the work on one request puts what it has so far."""

    def __init__(self, channel: Channel, request: int) -> None:
        self._channel = channel
        self._request = request

    @property
    def cancelled(self) -> bool:
        """Nobody waits for the rest: stop."""
        return self._channel.cancelled(self._request)

    def send(self, kind: str, body: bytes = b"", **fields: Any) -> None:  # noqa: ANN401 - what JSON holds
        """Send a part of the answer, unless it was cancelled."""
        if not self.cancelled:
            self._channel.send({"kind": kind, "request": self._request, **fields}, body)


Handler = Callable[[Message, Answer], None]


def serve(channel: Channel, ready: Mapping[str, Any], handlers: Mapping[str, Handler]) -> None:
    """Announce the worker and work on requests until the pipe is closed.

    Args:
        channel: The pipe.
        ready: What the worker is and can do.
        handlers: What to do for each kind of request. One that raises `Refused` is answered so; anything else that is
            raised ends the worker, and the engine starts it anew.
    """
    # Pictures have a deadline every 40 ms, words have none: on a full machine the lips go first.
    os.nice(NICENESS)
    channel.send({"kind": "ready", **ready})
    while True:
        message = channel.next_request()
        request = int(message.fields["request"])
        answer = Answer(channel, request)
        try:
            if not answer.cancelled:
                handlers[message.kind](message, answer)
        except Refused as refusal:
            answer.send("refused", reason=str(refusal))
        answer.send("done")
