"""When words become a clause that is translated and spoken: soon enough to stay close, whole enough to make sense."""

from collections.abc import Sequence
from dataclasses import dataclass

from stream.frames import NS_PER_MS
from stream.speech.protocol import Clause, Recognition, Word

_LEANS_FORWARD_TEXT = """
en  a an the of to in on at by for with from into and or but that which who my your his her its our their this these
    is are was were be i you he she we they it not very as if than so
de  der die das dem den des ein eine einer einem einen und oder aber zu im mit von auf für dass ich du er sie wir ihr es
    nicht sehr wie als ist sind war
es  el la los las un una de del al y o que en con por para su sus no se
fr  le les du des au aux et ou dans pour sur ce ne pas
ca  i amb per els
it  il lo gli di da e
pt  os um uma do em com
"""
# A clause that must be cut somewhere is not cut behind these: what they belong to follows.
_LEANS_FORWARD = frozenset(_LEANS_FORWARD_TEXT.split())
# A clause knows so many of the words behind it.
_AHEAD = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class ClauseConfig:
    """When a clause closes.

    Attributes:
        max_words: At the latest with so many words.
        max_ms: Or when its first word began so long ago.
        idle_ms: Or when it began so long ago and the voice has nothing to say, however few words there are.
        pause_ms: Or when the speaker paused for so long.
        min_words: Time or a comma alone close no clause with fewer words.
        comma_characters: A comma closes a clause that has so many characters, whatever its words.
    """

    max_words: int = 3
    max_ms: int = 2000
    idle_ms: int = 1400
    pause_ms: int = 250
    min_words: int = 3
    comma_characters: int = 20


class ClauseSplitter:
    """Turns a recogniser's words into clauses.

    Args:
        config: When a clause closes.
        language: What is spoken where the recogniser does not say.
    """

    def __init__(self, config: ClauseConfig, language: str) -> None:
        self._config = config
        self._language = language
        self._words: list[Word] = []
        self._next_id = 1
        self._guessed_ahead: Clause | None = None  # the last clause, as long as no word behind it is known

    @property
    def pending(self) -> str:
        """The committed words that belong to no clause yet."""
        return joined(self._words)

    def add(self, heard: Recognition, *, idle: bool = False) -> list[Clause]:
        """Take what was recognised; give the clauses that it closes.

        Args:
            heard: What is new.
            idle: Whether the voice has nothing to say.
        """
        language = heard.language or self._language
        closed = []
        for index, word in enumerate(heard.committed):
            behind = (*heard.committed[index:], *heard.tentative)
            if self._words and word.start_ns - self._words[-1].end_ns > self._config.pause_ms * NS_PER_MS:
                closed.append(self._close(len(self._words), language, behind))
            self._words.append(word)
            self._guessed_ahead = None
            count = self._closes_at()
            if count:
                closed.append(self._close(count, language, behind[1:]))
        if self._words and (heard.endpoint or self._waited(heard, idle=idle)):
            count = len(self._words) if heard.endpoint else self._cut()
            closed.append(self._close(count, language, () if heard.endpoint else heard.tentative))
        elif self._guessed_ahead and (heard.endpoint or self._paused(heard, self._guessed_ahead.words[-1])):
            end_ns = self._guessed_ahead.end_ns
            self._words = [Word("", end_ns, end_ns)]
            closed.append(self._close(1, language, ()))
        return closed

    def _closes_at(self) -> int:
        """How many of the words close with the last one that came; 0 when they go on."""
        text = self._words[-1].text
        if text[-1] in ".?!;:…。？！":
            return len(self._words)
        if text[-1] in ",、،" and self._comma_closes():
            return len(self._words)
        return self._cut() if len(self._words) >= self._config.max_words else 0

    def _comma_closes(self) -> bool:
        return len(self._words) >= self._config.min_words or len(self.pending) >= self._config.comma_characters

    def _paused(self, heard: Recognition, last: Word) -> bool:
        return not heard.tentative and heard.heard_ns - last.end_ns > self._config.pause_ms * NS_PER_MS

    def _waited(self, heard: Recognition, *, idle: bool) -> bool:
        """Whether time alone closes: a pause after the last word, or a first word that began too long ago."""
        if self._paused(heard, self._words[-1]):
            return True
        waited_ms = (heard.heard_ns - self._words[0].start_ns) / NS_PER_MS
        enough = waited_ms > self._config.max_ms and self._cut() >= self._config.min_words
        return enough or (idle and waited_ms > self._config.idle_ms)

    def _cut(self) -> int:
        """Behind which word a clause that is long enough is cut: not behind one that leans on the next."""
        for count in range(len(self._words), 2, -1):
            if _plain(self._words[count - 1]) not in _LEANS_FORWARD:
                return count
        return len(self._words)

    def _close(self, count: int, language: str, behind: Sequence[Word]) -> Clause:
        words, self._words = tuple(self._words[:count]), self._words[count:]
        self._next_id += 1
        closed = Clause(self._next_id - 1, language, words, (*self._words, *behind)[:_AHEAD])
        self._guessed_ahead = closed if closed.ahead and not self._words else None
        return closed

    def drop(self) -> int:
        """Forget the words that belong to no clause yet, since the recogniser lost its place; says how many."""
        count = len(self._words)
        self._words, self._guessed_ahead = [], None
        return count


def _plain(word: Word) -> str:
    return word.text.strip(".,;:!?\"'()").lower()


def joined(words: Sequence[Word]) -> str:
    """Words with single spaces between them."""
    return " ".join(word.text for word in words)
