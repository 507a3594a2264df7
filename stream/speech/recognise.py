"""A recogniser in a process of its own, whatever the program behind it.

The worker answers `push` (`pts_ns`, float32 samples at 16 kHz) and `flush` with one `heard` message: `heard_ns`, the
new `committed` words and the `tentative` ones as (text, start_ns, end_ns), `language` and `endpoint`.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from stream.clock import Clock
from stream.errors import BackEndError
from stream.frames import NS_PER_MS, NS_PER_S, AudioChunk
from stream.speech.host import Failure, Health, Host, Program
from stream.speech.protocol import Caps, Recognition, Word, read_caps
from stream.speech.wire import Message

RATE_HZ = 16_000
# Sound is handed over in pieces of this length: a message costs more than its samples.
_PIECE = RATE_HZ * 4 // 100


class ProcessRecogniser:
    """See `Recogniser`. The program starts with the first request.

    Args:
        program: What to run.
        clock: Measures its deadlines.
        on_failure: Told of every crash and hang, on the thread that listens.
    """

    def __init__(self, program: Program, clock: Clock, on_failure: Callable[[Failure], None] | None = None) -> None:
        self._host = Host(program, clock, on_failure)
        self._held: list[NDArray[np.float32]] = []
        self._held_from_ns = 0
        self._count = 0

    @property
    def caps(self) -> Caps:
        """See `Recogniser.caps`; starts the program.

        Raises:
            ConfigError: It is not installed.
            BackEndError: It failed.
        """
        return read_caps(self._host.start().fields)

    def push(self, chunk: AudioChunk) -> Sequence[Recognition]:
        """See `Recogniser.push`.

        Raises:
            ValueError: The chunk is not at 16 kHz.
        """
        if chunk.sample_rate_hz != RATE_HZ:
            raise ValueError(f"the chunk has {chunk.sample_rate_hz} Hz, expected {RATE_HZ}")
        follows_ns = self._held_from_ns + self._count * NS_PER_S // RATE_HZ
        ended = [] if not self._held or abs(chunk.pts_ns - follows_ns) <= NS_PER_MS else [*self._hand_over()]
        if not self._held:
            self._held_from_ns = chunk.pts_ns
        self._held.append(chunk.samples)
        self._count += len(chunk.samples)
        return [*ended, *(self._hand_over() if self._count >= _PIECE else ())]

    def flush(self) -> Sequence[Recognition]:
        """See `Recogniser.flush`."""
        return [*self._hand_over(), *self._ask("flush", b"")]

    def health(self) -> Health:
        """How its process is."""
        return self._host.health()

    def close(self) -> None:
        """See `Recogniser.close`."""
        self._host.close()

    def _hand_over(self) -> Sequence[Recognition]:
        if not self._held:
            return []
        body = np.concatenate(self._held).astype("<f4").tobytes()
        self._held, self._count = [], 0
        return self._ask("push", body, pts_ns=self._held_from_ns)

    def _ask(self, kind: str, body: bytes, **fields: int) -> Sequence[Recognition]:
        try:
            return [recognition(message) for message in self._host.exchange(kind, 0, body, **fields)]
        except BackEndError:
            self._held, self._count = [], 0
            raise


def recognition(message: Message) -> Recognition:
    """What a `heard` message says."""
    said = message.fields
    return Recognition(
        said["heard_ns"],
        tuple(Word(*word) for word in said["committed"]),
        tuple(Word(*word) for word in said["tentative"]),
        said["language"],
        said["endpoint"],
    )
