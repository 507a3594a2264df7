"""Words, sounds and back ends that a test holds in its hand."""

from collections.abc import Iterator, Sequence

import numpy as np

from stream.errors import BackEndError
from stream.frames import NS_PER_MS, NS_PER_S, AudioChunk
from stream.speech.protocol import Caps, Clause, Phone, Recognition, SpokenChunk, TranslatedClause, Voice, Word

MS = NS_PER_MS


def word(text: str, start_ms: int, end_ms: int) -> Word:
    return Word(text, start_ms * MS, end_ms * MS)


def words(text: str, start_ms: int = 0, each_ms: int = 300) -> tuple[Word, ...]:
    """Words that follow each other without a pause."""
    return tuple(
        word(each, start_ms + index * each_ms, start_ms + (index + 1) * each_ms)
        for index, each in enumerate(text.split())
    )


def heard(ms: int, committed: Sequence[Word] = (), *, endpoint: bool = False) -> Recognition:
    return Recognition(ms * MS, tuple(committed), endpoint=endpoint)


def clause(clause_id: int, text: str, start_ms: int, each_ms: int = 300) -> Clause:
    return Clause(clause_id, "en", words(text, start_ms, each_ms))


class Shouting:
    """A translator into capitals; a clause with "fail" in it fails."""

    caps = Caps("shouting", "Apache-2.0", commercial=True, quality="draft", languages=("en", "xx"))
    pairs = frozenset({("en", "xx")})
    closed = False

    def translate(self, clause: Clause, language: str) -> TranslatedClause:
        if "fail" in clause.text:
            raise BackEndError("it fell over")
        text = clause.text.upper()
        return TranslatedClause(clause.clause_id, text, language, clause.start_ns, clause.end_ns, "draft")

    def cancel(self, clause_id: int) -> None:
        pass

    def close(self) -> None:
        self.closed = True


class Humming:
    """A speaker: 200 ms of a tone for each word, at 16 kHz, 50 ms of silence around."""

    caps = Caps("humming", "Apache-2.0", commercial=True, quality="good", languages=("xx",), phone_times=True)
    closed = False

    def speak(
        self,
        clause_id: int,
        text: str,
        language: str,  # noqa: ARG002 - the protocol's
        *,
        rate: float = 1.0,  # noqa: ARG002
        voice: Voice | None = None,  # noqa: ARG002
    ) -> Iterator[SpokenChunk]:
        count = 3200 * len(text.split())
        tone = 0.3 * np.sin(np.arange(count) * 2 * np.pi * 220 / 16_000).astype(np.float32)
        quiet = np.zeros(800, np.float32)
        sound = np.concatenate([quiet, tone, quiet])
        phones = (Phone("", 0, 50 * MS), Phone("m", 50 * MS, len(sound) * NS_PER_S // 16_000))
        yield SpokenChunk(clause_id, 0, 16_000, sound, phones)

    def cancel(self, clause_id: int) -> None:
        pass

    def close(self) -> None:
        self.closed = True


class Scripted:
    """A recogniser that hears one word in every 300 ms of sound, and fails where it is told to."""

    caps = Caps("scripted", "Apache-2.0", commercial=True, quality="good", languages=("en",))

    def __init__(self, text: str, fails_at_ms: int | None = None) -> None:
        self._words = text.split()
        self._fails_at_ms = fails_at_ms
        self._start_ns: int | None = None
        self.closed = False

    def push(self, chunk: AudioChunk) -> Sequence[Recognition]:
        if self._start_ns is None:
            self._start_ns = chunk.pts_ns
        if self._fails_at_ms is not None and chunk.end_ns >= self._fails_at_ms * MS:
            self._fails_at_ms = None
            raise BackEndError("it fell over")
        if not self._words or chunk.end_ns - self._start_ns < 300 * MS:
            return [Recognition(chunk.end_ns)]
        start_ns, self._start_ns = self._start_ns, chunk.end_ns
        return [Recognition(chunk.end_ns, (Word(self._words.pop(0), start_ns, chunk.end_ns),))]

    def flush(self) -> Sequence[Recognition]:
        heard_ns, self._start_ns = self._start_ns or 0, None
        return [Recognition(heard_ns, endpoint=True)]

    def close(self) -> None:
        self.closed = True
