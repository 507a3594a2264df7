"""The listening half of the chain: voice activity decides what is heard, words become clauses.

Synchronous, for one thread: live it runs on a lane, a file or a benchmark calls it directly.
"""

from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from stream.errors import BackEndError
from stream.frames import NS_PER_MS, NS_PER_S, AudioChunk
from stream.speech.clauses import ClauseSplitter, joined
from stream.speech.protocol import Clause, Recogniser, Recognition
from stream.speech.vad import VoiceActivity

_PRE_ROLL_KEPT_NS = NS_PER_S // 2
_TURNS_KEPT = 64


@dataclass(frozen=True, slots=True)
class Turn:
    """A stretch in which somebody speaks; open as long as `end_ns` is None."""

    start_ns: int
    end_ns: int | None = None


@dataclass(frozen=True, slots=True)
class Heard:
    """What some more sound has brought.

    Attributes:
        clauses: That are complete now.
        tentative: What belongs to no clause yet, committed or guessed.
        turns: The latest turns, the last one possibly open.
    """

    clauses: tuple[Clause, ...]
    tentative: str
    turns: tuple[Turn, ...]


class Listener:
    """See the module.

    Args:
        recogniser: Turns speech into words; closed with the listener.
        splitter: Turns words into clauses.
        activity: Finds turns; closed with the listener.
        idle: Whether the voice has nothing to say; see `ClauseSplitter.add`.

    Attributes:
        counts: "turns", "words", "recogniser_failed", "words_lost".
    """

    def __init__(
        self,
        recogniser: Recogniser,
        splitter: ClauseSplitter,
        activity: VoiceActivity | None = None,
        idle: Callable[[], bool] = lambda: False,
    ) -> None:
        self._recogniser = recogniser
        self._splitter = splitter
        self._activity = VoiceActivity() if activity is None else activity
        self._idle = idle
        self._before: deque[AudioChunk] = deque()
        self._turns: deque[Turn] = deque(maxlen=_TURNS_KEPT)
        self._speaking = False
        self._tentative = ""
        self.counts: Counter[str] = Counter()

    def push(self, chunk: AudioChunk) -> Heard:
        """Listen to the next 16 kHz sound.

        Raises:
            BackEndError: The recogniser failed; the words that it had not committed are lost, and it can go on.
        """
        recognised: list[Recognition] = []
        self._keep(chunk)
        for event in self._activity.push(chunk):
            if event.kind == "start":
                self._begin(event.at_ns)
            else:
                recognised += self._finish(event.at_ns)
        if self._speaking:
            recognised += self._recognise()
        return self._heard(recognised)

    def flush(self) -> Heard:
        """No more sound follows: end the turn that goes on.

        Raises:
            BackEndError: See `push`.
        """
        recognised: list[Recognition] = []
        for event in self._activity.flush():
            recognised += self._finish(event.at_ns)
        return self._heard(recognised)

    def close(self) -> None:
        """End the recogniser's process."""
        self._recogniser.close()
        self._activity.close()

    def _keep(self, chunk: AudioChunk) -> None:
        self._before.append(chunk)
        while not self._speaking and chunk.end_ns - self._before[0].end_ns > _PRE_ROLL_KEPT_NS:
            self._before.popleft()

    def _begin(self, at_ns: int) -> None:
        self._speaking = True
        self.counts["turns"] += 1
        self._turns.append(Turn(at_ns))
        while self._before and self._before[0].end_ns <= at_ns:
            self._before.popleft()

    def _finish(self, at_ns: int) -> list[Recognition]:
        # What follows the last speech helps a recogniser to be sure of the last word.
        recognised = self._recognise()
        self._speaking = False
        self._turns[-1] = Turn(self._turns[-1].start_ns, at_ns)
        return [*recognised, *self._asked(self._recogniser.flush)]

    def _recognise(self) -> list[Recognition]:
        recognised: list[Recognition] = []
        while self._before:
            chunk = self._before.popleft()
            recognised += self._asked(lambda chunk=chunk: self._recogniser.push(chunk))  # type: ignore[misc]
        return recognised

    def _asked(self, ask: Callable[[], Sequence[Recognition]]) -> Sequence[Recognition]:
        try:
            return ask()
        except BackEndError:
            self.counts["recogniser_failed"] += 1
            self.counts["words_lost"] += self._splitter.drop()
            self._tentative = ""
            raise

    def _heard(self, recognised: Sequence[Recognition]) -> Heard:
        clauses: list[Clause] = []
        for each in recognised:
            self.counts["words"] += len(each.committed)
            clauses += self._splitter.add(each, idle=self._idle())
            self._tentative = joined(each.tentative)
        tentative = f"{self._splitter.pending} {self._tentative}".strip()
        return Heard(tuple(clauses), tentative, tuple(self._turns))


def talks_at(turns: Sequence[Turn], pts_ns: int, margin_ns: int = 100 * NS_PER_MS) -> bool:
    """Whether somebody speaks at a time, or within `margin_ns` after the end of a turn."""
    return any(turn.start_ns <= pts_ns and (turn.end_ns is None or pts_ns <= turn.end_ns + margin_ns) for turn in turns)
