"""A recogniser, a translator and a speaker as one back end from speech to speech: the measure of those that are one."""

from collections.abc import Sequence

from stream.errors import BackEndError
from stream.frames import AudioChunk
from stream.speech.chain import Chain
from stream.speech.clauses import ClauseConfig, ClauseSplitter
from stream.speech.listener import Heard, Listener
from stream.speech.protocol import Caps, Clause, Recognition
from stream.speech.s2s import ClauseSpoken, S2SEvent
from stream.speech.vad import VoiceActivity


class Cascade:
    """See `S2S`. What it says that it heard are the words of whole clauses.

    Args:
        chain: Its back ends, closed with it.
        source: BCP 47 tag of what is spoken.
        target: BCP 47 tag of what is wanted; the chain translates into it.
        voice: One of the speaker's voices, or None.
        activity: Finds turns.
    """

    def __init__(
        self,
        chain: Chain,
        source: str,
        target: str,
        *,
        voice: str | None = None,
        activity: VoiceActivity | None = None,
    ) -> None:
        self._chain = chain
        self._listener = Listener(chain.recogniser, ClauseSplitter(ClauseConfig(), source), activity)
        self._translator = chain.translators[target]
        self._source, self._target, self._voice = source, target, voice
        self._cancelled: set[int] = set()
        self._heard_ns = 0

    @property
    def caps(self) -> Caps:
        """See `S2S.caps`: of all three together."""
        speaker = self._chain.speaker.caps
        parts = (self._chain.recogniser.caps, self._translator.caps, speaker)
        return Caps(
            name=" + ".join(part.name for part in parts),
            licence=" AND ".join(dict.fromkeys(part.licence for part in parts)),
            commercial=all(part.commercial for part in parts),
            quality="draft" if any(part.quality == "draft" for part in parts) else "good",
            languages=(self._source, self._target),
            voices=speaker.voices,
            phone_times=speaker.phone_times,
        )

    @property
    def pairs(self) -> frozenset[tuple[str, str]]:
        """See `S2S.pairs`: the one that it was made for."""
        return frozenset({(self._source, self._target)})

    def push(self, chunk: AudioChunk) -> Sequence[S2SEvent]:
        """See `S2S.push`."""
        self._heard_ns = chunk.end_ns
        return self._events(self._listener.push(chunk))

    def flush(self) -> Sequence[S2SEvent]:
        """See `S2S.flush`."""
        return self._events(self._listener.flush(), endpoint=True)

    def cancel(self, clause_id: int) -> None:
        """See `S2S.cancel`."""
        self._cancelled.add(clause_id)
        self._translator.cancel(clause_id)
        self._chain.speaker.cancel(clause_id)

    def close(self) -> None:
        """See `S2S.close`."""
        self._listener.close()
        self._chain.close()

    def _events(self, heard: Heard, *, endpoint: bool = False) -> Sequence[S2SEvent]:
        words = tuple(word for clause in heard.clauses for word in clause.words)
        events: list[S2SEvent] = [Recognition(self._heard_ns, words, language=self._source, endpoint=endpoint)]
        for clause in heard.clauses:
            events += self._interpreted(clause)
        return events

    def _interpreted(self, clause: Clause) -> Sequence[S2SEvent]:
        clause_id = clause.clause_id
        try:
            translated = self._translator.translate(clause, self._target)
        except BackEndError:
            if clause_id in self._cancelled:
                return ()
            raise
        if clause_id in self._cancelled or not any(letter.isalnum() for letter in translated.text):
            return (translated,)
        chunks = tuple(self._chain.speaker.speak(clause_id, translated.text, self._target, voice=self._voice))
        if clause_id in self._cancelled:
            return (translated,)
        return (translated, *chunks, ClauseSpoken(clause_id))
