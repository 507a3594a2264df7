"""From guesses at a growing sound to words that stay: what two guesses in a row agree on is committed for good.

LocalAgreement-2 (D. Liu et al., Interspeech 2020; D. Macháček et al., arXiv:2307.14743). After a cut of the sound, the
committed words that are left in it are found by what they say, since their times may be guesses. Needs the standard
library alone. Times are seconds of one stream.
"""

from collections.abc import Sequence
from dataclasses import dataclass

# The times of words are guesses: so many more than those that should be left of a cut sound may be.
_UNSURE = 3


@dataclass(frozen=True)
class Guess:
    """A word as one decoding of the sound has it."""

    text: str
    start_s: float
    end_s: float

    @property
    def plain(self) -> str:
        """Without case and punctuation, for comparisons."""
        return "".join(letter for letter in self.text.lower() if letter.isalnum())


class Agreement:
    """Commits words of one turn."""

    def __init__(self) -> None:
        self._before: list[Guess] = []
        self._left = 0  # committed words whose sound is still there
        self.committed: list[Guess] = []
        self.tentative: list[Guess] = []

    def add(self, guesses: Sequence[Guess], heard_s: float) -> list[Guess]:
        """Take a decoding of the sound that is left; give the words that are committed by it.

        Args:
            guesses: In order of time; may begin with words that were committed before.
            heard_s: Where the sound ends.
        """
        fresh = self._fresh(guesses)
        count = 0
        while count < len(fresh) and self._agreed(fresh, count):
            count += 1
        # The last word of a sound that goes on is often half a word.
        if count == len(fresh) and count and fresh[-1].end_s > heard_s - 0.1:
            count -= 1
        return self._commit(fresh, count)

    def finish(self) -> list[Guess]:
        """The sound has ended: commit what was guessed last."""
        return self._commit(self.tentative, len(self.tentative))

    def _agreed(self, fresh: Sequence[Guess], index: int) -> bool:
        return index < len(self._before) and self._before[index].plain == fresh[index].plain

    def _commit(self, fresh: Sequence[Guess], count: int) -> list[Guess]:
        new = self._in_order(fresh[:count])
        self.committed += new
        self._left += len(new)
        self._before = self.tentative = self._in_order(fresh[count:])
        return new

    def _in_order(self, words: Sequence[Guess]) -> list[Guess]:
        """Words with times that neither overlap nor go before what was committed."""
        ordered: list[Guess] = []
        for word in words:
            after = ordered or self.committed
            start_s = max(word.start_s, after[-1].end_s if after else 0.0)
            ordered.append(Guess(word.text, start_s, max(word.end_s, start_s + 0.02)))
        return ordered

    def cut(self, at_s: float) -> None:
        """The sound before `at_s` is gone: later guesses begin at about the first committed word after it."""
        self._left = sum((word.start_s + word.end_s) / 2 > at_s for word in self.committed)

    def _fresh(self, guesses: Sequence[Guess]) -> list[Guess]:
        """The guesses behind what was committed."""
        words = [guess for guess in guesses if guess.plain]
        known = [word.plain for word in self.committed[-self._left - _UNSURE :]] if self.committed else []
        return words[repeated(known, [word.plain for word in words], self._left) :]


def repeated(known: Sequence[str], words: Sequence[str], expected: int) -> int:
    """How many of `words` are the end of `known`, said again.

    The alignment may leave out the beginning of `known`, which was cut off with its sound.

    Args:
        known: What was committed last.
        words: What was heard in the sound that is left.
        expected: How many of them should be known, by their times, which are only guessed.
    """
    row = [-1.0 * index for index in range(len(words) + 1)]
    for old in known:
        before, row = row, [0.0]
        for index, new in enumerate(words):
            same = before[index] + (1.0 if old == new else -0.6)
            row.append(max(same, before[index + 1] - 1.0, row[index] - 1.0))
    return max(range(len(row)), key=lambda index: row[index] - 0.35 * abs(index - expected))


def spread(text: str, start_s: float, end_s: float) -> list[Guess]:
    """Times for the words of a text whose recogniser gives none: by their letters, evenly over the sound.

    Args:
        text: What was recognised.
        start_s: Where speech begins.
        end_s: Where it ends.
    """
    words = text.split()
    weights = [sum(letter.isalnum() for letter in word) + 1.5 for word in words]
    total = sum(weights)
    guesses, at_s = [], start_s
    for word, weight in zip(words, weights, strict=True):
        next_s = at_s + (end_s - start_s) * weight / total
        guesses.append(Guess(word, at_s, next_s))
        at_s = next_s
    return guesses
