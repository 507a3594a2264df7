"""The speaking half of the chain: a clause becomes a dub in the listener's language, and finds its place in the track.

Synchronous, for one thread. `prepare` does the work, `place` only decides, so that a benchmark can charge the work to a
simulated clock and a session can decide at the last moment.
"""

from collections import Counter
from dataclasses import dataclass

from stream.speech.lag import LagConfig, Placement, place
from stream.speech.protocol import Clause, Speaker, TranslatedClause, Translator
from stream.speech.stretch import stretch
from stream.speech.track import DubTrack
from stream.speech.voiced import Voiced, as_spoken, voiced
from stream.voice import EAR_RATE_HZ

# What a voice is asked for at most, beside the stretch that may follow; as many clauses are remembered for it.
_FASTEST = 1.25
_REMEMBERED = 6


@dataclass(frozen=True, slots=True)
class Prepared:
    """A clause that can be heard.

    Attributes:
        voiced: At the voice's own speed.
    """

    clause: Clause
    translated: TranslatedClause
    voiced: Voiced

    @property
    def empty(self) -> bool:
        """Whether it has no words in either language: it only closed a sentence of which nothing was left to say."""
        return not self.clause.text and not self.translated.text


@dataclass(frozen=True, slots=True)
class Dubbed:
    """What became of a clause.

    Attributes:
        placement: When and how fast it is spoken; None where it is a caption only.
        end_ns: When it ends in session time; its start where nothing is spoken.
    """

    prepared: Prepared
    placement: Placement | None
    end_ns: int


class Interpreter:
    """See the module.

    Args:
        translator: Closed with the interpreter.
        speaker: Closed with the interpreter.
        track: Where dubs are laid.
        target: BCP 47 tag of the listener's language.
        voice: One of the speaker's voices, or None.
        lag: What the dub is held to.

    Attributes:
        counts: "clauses", "spoken", "skipped" for being too late, "untranslated".
    """

    def __init__(
        self,
        translator: Translator,
        speaker: Speaker,
        track: DubTrack,
        *,
        target: str,
        voice: str | None = None,
        lag: LagConfig | None = None,
    ) -> None:
        self._translator = translator
        self._speaker = speaker
        self._track = track
        self._target = target
        self._voice = voice
        self._lag = lag or LagConfig()
        self._rate = 1.0
        self.counts: Counter[str] = Counter()

    def prepare(self, clause: Clause) -> Prepared:
        """Translate and speak a clause; takes as long as the work takes.

        Raises:
            BackEndError: One of the two failed; the clause is lost, and both can be used again.
        """
        self.counts["clauses"] += bool(clause.text)
        translated = self._translator.translate(clause, self._target)
        self.counts["untranslated"] += translated.quality == "untranslated"
        text = as_spoken(clause, translated.text)
        if not any(letter.isalnum() for letter in text):
            return Prepared(clause, translated, voiced(()))
        rate = self._rate * self._speaker.caps.brisk.get(self._target, 1.0)
        spoken = voiced(self._speaker.speak(clause.clause_id, text, self._target, rate=rate, voice=self._voice))
        if len(spoken.samples):
            self._learn_rate(spoken.duration_ns * self._rate, clause.end_ns - clause.start_ns)
        return Prepared(clause, translated, spoken)

    def _learn_rate(self, duration_ns: float, source_ns: int) -> None:
        """Follow how much longer than the source the voice is at its own speed: it is asked to speak faster by that.

        A voice that speaks fast by itself sounds better than one that is sped up afterwards.
        """
        ratio = min(_FASTEST, max(1.0, duration_ns / max(source_ns, 1)))
        self._rate += (ratio - self._rate) / _REMEMBERED

    def place(self, prepared: Prepared, free_ns: int, delay_ns: int) -> Dubbed:
        """Lay a prepared clause on the track.

        Args:
            prepared: What `prepare` gave.
            free_ns: First session time that nobody has read yet.
            delay_ns: What the exit adds to session time before it is heard.
        """
        clause, spoken = prepared.clause, prepared.voiced
        free_ns = max(free_ns, self._track.end_ns)
        if not len(spoken.samples):
            return Dubbed(prepared, None, free_ns)
        chosen = place(
            self._lag,
            source_start_ns=clause.start_ns,
            source_end_ns=clause.end_ns,
            duration_ns=spoken.duration_ns,
            free_ns=free_ns,
            delay_ns=delay_ns,
            goes_on=bool(clause.ahead),
        )
        if chosen is None:
            self.counts["skipped"] += 1
            return Dubbed(prepared, None, free_ns)
        samples = stretch(spoken.samples, EAR_RATE_HZ, chosen.speed)
        start_ns = self._track.place(clause.clause_id, chosen.start_ns, samples)
        self.counts["spoken"] += 1
        lag_ns = chosen.lag_ns + start_ns - chosen.start_ns
        return Dubbed(prepared, Placement(start_ns, chosen.speed, lag_ns), self._track.end_ns)

    def cancel(self, clause_id: int) -> None:
        """Stop preparing a clause; from any thread."""
        self._translator.cancel(clause_id)
        self._speaker.cancel(clause_id)

    def close(self) -> None:
        """End both processes."""
        self._translator.close()
        self._speaker.close()
