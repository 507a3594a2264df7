"""Speech to speech: a back end that hears one language and speaks another, whatever is inside of it.

What it gives is append-only. Words are heard as by a `Recogniser`. A clause is announced by its `TranslatedClause`,
with an id greater than those before, when what it translates has been heard; then its sound follows, without gaps from
zero and clause after clause, and `ClauseSpoken` behind its last chunk. After a failure, clauses whose sound is not
whole are over.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from stream.clock import Clock
from stream.frames import AudioChunk
from stream.speech.host import Failure, Health, Host, Program
from stream.speech.protocol import Caps, Quality, Recognition, SpokenChunk, TranslatedClause, read_caps
from stream.speech.recognise import RATE_HZ, recognition
from stream.speech.speak import spoken_chunk
from stream.speech.wire import Message

# What `Host` calls an answer by; it may be about several clauses.
_ANSWER = 0


@dataclass(frozen=True, slots=True)
class ClauseSpoken:
    """All sound of a clause was given: it can be placed."""

    clause_id: int


S2SEvent = Recognition | TranslatedClause | SpokenChunk | ClauseSpoken


class S2S(Protocol):
    """Turns speech of one language into speech of another, made for one listener's language."""

    @property
    def caps(self) -> Caps:
        """What it can do; the languages are those that it knows in some pair."""
        ...

    @property
    def pairs(self) -> frozenset[tuple[str, str]]:
        """What it hears and what it speaks."""
        ...

    def push(self, chunk: AudioChunk) -> Sequence[S2SEvent]:
        """Listen to the next 16 kHz sound, and say what can be said by now; chunks follow each other without gaps.

        Raises:
            BackEndError: It failed; what this sound would have brought is lost, and it can be used again.
        """
        ...

    def flush(self) -> Sequence[S2SEvent]:
        """No more sound follows for now: say all that is left.

        Raises:
            BackEndError: See `push`.
        """
        ...

    def cancel(self, clause_id: int) -> None:
        """Give no further sound of a clause, and stop working on it; from any thread, and it returns at once.

        What the same sound would have made it say beyond this clause may be lost too.
        """
        ...

    def close(self) -> None:
        """End its processes; calling it twice is harmless."""
        ...


class ProcessS2S:
    """An `S2S` in a process of its own, whatever the program behind it. It starts with the first request.

    The worker answers `push` (`pts_ns`, `target`, float32 samples at 16 kHz) and `flush` (`target`). An answer says
    first what was `heard`, as a recogniser's does, and `translated` (`clause_id`, `text`, `start_ns`, `end_ns`), then
    the `sound`, as a speaker's does, with a `clause_id`, and `spoken` (`clause_id`) where a clause ends. Clauses are
    counted from one. When an answer is cancelled, every clause that it was to speak is over. What the worker says of
    itself when ready is its `Caps` and its `pairs`.

    Args:
        program: What to run.
        language: BCP 47 tag of what it is to speak.
        clock: Measures its deadlines.
        on_failure: Told of every crash and hang, on the thread that listens.
    """

    def __init__(
        self, program: Program, language: str, clock: Clock, on_failure: Callable[[Failure], None] | None = None
    ) -> None:
        self._host = Host(program, clock, self._failed)
        self._language = language
        self._on_failure = on_failure
        self._cancelled: set[int] = set()
        self._speaking: int | None = None
        self._newest = 0
        self._before = 0  # clauses of processes that failed

    @property
    def caps(self) -> Caps:
        """See `S2S.caps`; starts the program.

        Raises:
            ConfigError: It is not installed.
            BackEndError: It failed.
        """
        return read_caps(self._host.start().fields)

    @property
    def pairs(self) -> frozenset[tuple[str, str]]:
        """See `S2S.pairs`; starts the program."""
        return frozenset((source, target) for source, target in self._host.start().fields["pairs"])

    def push(self, chunk: AudioChunk) -> Sequence[S2SEvent]:
        """See `S2S.push`.

        Raises:
            ValueError: The chunk is not at 16 kHz.
        """
        if chunk.sample_rate_hz != RATE_HZ:
            raise ValueError(f"the chunk has {chunk.sample_rate_hz} Hz, expected {RATE_HZ}")
        return self._ask("push", chunk.samples.astype("<f4").tobytes(), pts_ns=chunk.pts_ns)

    def flush(self) -> Sequence[S2SEvent]:
        """See `S2S.flush`."""
        return self._ask("flush", b"")

    def cancel(self, clause_id: int) -> None:
        """See `S2S.cancel`."""
        self._cancelled.add(clause_id)
        if clause_id == self._speaking:
            self._host.cancel(_ANSWER)

    def health(self) -> Health:
        """How its process is."""
        return self._host.health()

    def close(self) -> None:
        """See `S2S.close`."""
        self._host.close()

    def _ask(self, kind: str, body: bytes, **fields: int) -> Sequence[S2SEvent]:
        quality = self.caps.quality
        events: list[S2SEvent] = []
        try:
            for message in self._host.exchange(kind, _ANSWER, body, target=self._language, **fields):
                events.append(self._event(message, quality))
                # `cancel` may have come before it could be known that this clause is spoken.
                if self._speaking in self._cancelled:
                    break
        finally:
            self._speaking = None
        return [event for event in events if not self._silenced(event)]

    def _event(self, message: Message, quality: Quality) -> S2SEvent:
        said = message.fields
        if message.kind == "heard":
            return recognition(message)
        clause_id = self._before + int(said["clause_id"])
        if message.kind == "translated":
            self._newest = clause_id
            return TranslatedClause(clause_id, said["text"], self._language, said["start_ns"], said["end_ns"], quality)
        self._speaking = clause_id if message.kind == "sound" else None
        return spoken_chunk(clause_id, message) if message.kind == "sound" else ClauseSpoken(clause_id)

    def _silenced(self, event: S2SEvent) -> bool:
        return isinstance(event, SpokenChunk | ClauseSpoken) and event.clause_id in self._cancelled

    def _failed(self, failure: Failure) -> None:
        # The next process counts from one again.
        self._before = self._newest
        if self._on_failure is not None:
            self._on_failure(failure)
