"""Clauses translated in their sentence: each time the sentence so far, of which only what is new is given.

A clause alone loses what it refers to. Cut into clauses of five words, 200 lines of English into Spanish by Apertium
have BLEU 10.3 clause by clause, 17.9 so, and 18.7 where whole lines are translated (decision 21).
What was given is never taken back, as it may have been spoken: where a longer beginning is translated otherwise, the
new words alone follow the old ones.
"""

from collections.abc import Sequence
from dataclasses import replace

from stream.frames import NS_PER_MS
from stream.speech.agreement import repeated
from stream.speech.protocol import Clause, TranslatedClause, Translator, Word
from stream.speech.translate import WrappedTranslator

# What begins so long after the last clause, or would make a sentence of more words, begins a sentence.
_APART_NS = 1500 * NS_PER_MS
_LONGEST_WORDS = 40
_ENDS = ".?!…。？！"


class SentenceTranslator(WrappedTranslator):
    """See the module. A `Translator` for clauses that come one after the other, into one language.

    Args:
        translator: Translates; closed with this.
    """

    def __init__(self, translator: Translator) -> None:
        super().__init__(translator)
        self._heard: list[Clause] = []
        self._given: list[str] = []

    def translate(self, clause: Clause, language: str) -> TranslatedClause:
        """What the clause adds to the translation of its sentence.

        Raises:
            BackEndError: See `Translator.translate`; the next clause begins a sentence.
        """
        if not self._goes_on(clause):
            self._heard, self._given = [], []
        heard, self._heard = [*self._heard, clause], []
        whole = self._translator.translate(_joined(heard), language)
        words = whole.text.split()
        fresh = words[repeated(_plain(self._given), _plain(words), len(self._given)) if self._given else 0 :]
        if not fresh:
            # Its words went into what was said before; they are said again rather than not at all.
            fresh = self._translator.translate(clause, language).text.split()
        self._heard = heard
        self._given += fresh
        return replace(whole, start_ns=clause.start_ns, end_ns=clause.end_ns, text=" ".join(fresh))

    def _goes_on(self, clause: Clause) -> bool:
        if not self._heard:
            return False
        before = self._heard[-1]
        apart = clause.start_ns - before.end_ns > _APART_NS or clause.language != before.language
        ended = before.words[-1].text[-1:] in _ENDS
        return not apart and not ended and sum(len(each.words) for each in [*self._heard, clause]) <= _LONGEST_WORDS


def _joined(clauses: Sequence[Clause]) -> Clause:
    """One clause of the words of all; it is the last one for whoever cancels it."""
    words: tuple[Word, ...] = tuple(word for clause in clauses for word in clause.words)
    return Clause(clauses[-1].clause_id, clauses[-1].language, words)


def _plain(words: Sequence[str]) -> list[str]:
    return ["".join(letter for letter in word.lower() if letter.isalnum()) for word in words]
