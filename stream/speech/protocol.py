"""What recognisers, translators and speakers look like from outside, and the immutable events that they give.

Times end in `_ns` and are integer nanoseconds of the session's media time, except those of spoken sound, which is
placed in the session only later: its times count from the first sample of its clause. Phones and words are half open,
[start, end). Every method may block for as long as the work takes and belongs on one thread of its own; `cancel`
alone may be called from any thread and returns at once.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from stream.frames import NS_PER_S, AudioChunk

Quality = Literal["draft", "good"]


@dataclass(frozen=True, slots=True)
class Caps:
    """What a back end can do, as it says itself.

    Attributes:
        name: Program and version, for figures and logs.
        licence: SPDX identifier of the program and of its model, the stricter one.
        commercial: Whether that licence allows commercial use.
        quality: "draft" is understandable and often wrong or robotic; a page says so.
        languages: BCP 47 tags that it hears or speaks.
        voices: Names that `voice` takes beside the languages' own.
        phone_times: Whether spoken sound comes with its phones.
        into: Language of the words that a recogniser gives, where it translates while it listens; None where they are
            in the language that is spoken, one of `languages`.
        clones: Whether `voice` may be a `ClonedVoice`.
        brisk: By language, the rate at which a live dub asks a voice to speak that is slow by itself.
    """

    name: str
    licence: str
    commercial: bool
    quality: Quality
    languages: tuple[str, ...]
    voices: tuple[str, ...] = ()
    phone_times: bool = False
    into: str | None = None
    clones: bool = False
    brisk: Mapping[str, float] = field(default_factory=dict)


def read_caps(said: Mapping[str, Any]) -> Caps:
    """What a worker said of itself when it was ready; only a speaker has voices and what follows them."""
    return Caps(
        name=said["name"],
        licence=said["licence"],
        commercial=said["commercial"],
        quality=said["quality"],
        languages=tuple(said["languages"]),
        voices=tuple(said.get("voices", ())),
        phone_times=said.get("phone_times", False),
        into=said.get("into"),
        clones=said.get("clones", False),
        brisk=said.get("brisk", {}),
    )


@dataclass(frozen=True, slots=True)
class ClonedVoice:
    """A person's own voice, after a recording of it.

    Attributes:
        reference: The recording, some seconds of that person alone.
        consent: That person agreed to be spoken for. Without it every layer refuses.
    """

    reference: Path
    consent: bool = False


Voice = str | ClonedVoice
"""One of `Caps.voices`, or a voice of which a recording is there."""


@dataclass(frozen=True, slots=True)
class Word:
    """One word that was heard.

    Attributes:
        confidence: 0 to 1; None where the recogniser does not say.
    """

    text: str
    start_ns: int
    end_ns: int
    confidence: float | None = None


@dataclass(frozen=True, slots=True)
class Recognition:
    """What a recogniser knows after some more sound. Append-only: committed words are never taken back.

    Attributes:
        heard_ns: Media time up to which it has listened.
        committed: Words that are new and final; the text so far is all of them, one event after the other.
        tentative: Its guess at what follows; replaced by the next event.
        language: BCP 47 tag of what is spoken, None as long as it is not known.
        endpoint: The speaker has finished a turn.
    """

    heard_ns: int
    committed: tuple[Word, ...] = ()
    tentative: tuple[Word, ...] = ()
    language: str | None = None
    endpoint: bool = False


@dataclass(frozen=True, slots=True)
class Clause:
    """Words that are translated and spoken together.

    Attributes:
        clause_id: Grows by one from clause to clause of a session; all that becomes of the clause carries it.
        words: One or more, in the order in which they were heard. One without letters comes where a clause had words
            ahead of it that were taken back, and nothing followed.
        ahead: What was heard behind them when the clause closed, known or guessed: it may be looked at, and belongs to
            later clauses. Empty where the speaker paused.
    """

    clause_id: int
    language: str
    words: tuple[Word, ...]
    ahead: tuple[Word, ...] = ()

    @property
    def start_ns(self) -> int:
        """When its first word begins."""
        return self.words[0].start_ns

    @property
    def end_ns(self) -> int:
        """When its last word ends."""
        return self.words[-1].end_ns

    @property
    def text(self) -> str:
        """The words with single spaces between them."""
        return " ".join(word.text for word in self.words)


@dataclass(frozen=True, slots=True)
class TranslatedClause:
    """A clause in the listener's language.

    Attributes:
        clause_id: That of the clause.
        start_ns: When the clause begins in the source.
        end_ns: When it ends there.
        quality: "untranslated" where no back end has the pair and the words pass as they are: it must be shown.
    """

    clause_id: int
    text: str
    language: str
    start_ns: int
    end_ns: int
    quality: Quality | Literal["untranslated"]


@dataclass(frozen=True, slots=True)
class Phone:
    """One speech sound, from the first sample of its clause.

    Attributes:
        ipa: In the International Phonetic Alphabet without stress marks; empty for silence.
    """

    ipa: str
    start_ns: int
    end_ns: int


@dataclass(frozen=True, slots=True)
class SpokenChunk:
    """A run of the sound of one clause.

    Attributes:
        start_ns: Time of the first sample, from the first sample of the clause.
        samples: float32 [n], mono, full scale is [-1, 1].
        phones: Those that begin within the chunk; the last one may end after it. Over a clause they cover its sound
            without gaps. Empty where the back end has no phone times.
    """

    clause_id: int
    start_ns: int
    sample_rate_hz: int
    samples: NDArray[np.float32]
    phones: tuple[Phone, ...] = ()

    @property
    def end_ns(self) -> int:
        """Time just after the last sample; within a sample of the next chunk's `start_ns`."""
        return self.start_ns + len(self.samples) * NS_PER_S // self.sample_rate_hz


class Recogniser(Protocol):
    """Turns speech into words, some at a time."""

    @property
    def caps(self) -> Caps:
        """What it can do."""
        ...

    def push(self, chunk: AudioChunk) -> Sequence[Recognition]:
        """Listen to the next 16 kHz sound; chunks follow each other without gaps.

        Raises:
            BackEndError: It failed; what it had not committed is lost, and it can be used again.
        """
        ...

    def flush(self) -> Sequence[Recognition]:
        """Commit all that was heard: the turn has ended."""
        ...

    def close(self) -> None:
        """End its process; calling it twice is harmless."""
        ...


class Translator(Protocol):
    """Turns a clause into another language."""

    @property
    def caps(self) -> Caps:
        """What it can do; the languages are those that it knows in some pair."""
        ...

    @property
    def pairs(self) -> frozenset[tuple[str, str]]:
        """Source and target language of every pair that is installed."""
        ...

    def translate(self, clause: Clause, language: str) -> TranslatedClause:
        """Translate into `language`.

        Raises:
            BackEndError: It failed or does not have the pair; it can be used again.
        """
        ...

    def cancel(self, clause_id: int) -> None:
        """Stop working on a clause: `translate` raises BackEndError at once."""
        ...

    def close(self) -> None:
        """End its process; calling it twice is harmless."""
        ...


class Speaker(Protocol):
    """Turns text into sound, chunk by chunk."""

    @property
    def caps(self) -> Caps:
        """What it can do."""
        ...

    def speak(
        self, clause_id: int, text: str, language: str, *, rate: float = 1.0, voice: Voice | None = None
    ) -> Iterator[SpokenChunk]:
        """Speak a text; the chunks follow each other without gaps.

        Args:
            clause_id: Carried by every chunk.
            text: One clause.
            language: One of `caps.languages`.
            rate: Speed against the voice's own, 0.5 to 2.
            voice: One of `caps.voices`, or a cloned one where `caps.clones`; the language's own when None.

        Raises:
            BackEndError: It failed, or language or voice is not one of its own, or consent to a cloned one was not
                stated; it can be used again. Chunks that were given before stay valid.
        """
        ...

    def cancel(self, clause_id: int) -> None:
        """Stop speaking a clause: its iterator gives no further chunk. Other clauses go on."""
        ...

    def close(self) -> None:
        """End its process; calling it twice is harmless."""
        ...
