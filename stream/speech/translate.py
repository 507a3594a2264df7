"""A translator in a process of its own, whatever the program behind it; and none, which says so.

The worker answers `translate` (`text`, `source`, `target`) with one `translated` message. What it says of itself when
ready is its `Caps` and its `pairs`.
"""

from collections.abc import Callable
from typing import Literal

from stream.clock import Clock
from stream.errors import BackEndError
from stream.speech.host import Failure, Health, Host, Program
from stream.speech.protocol import Caps, Clause, TranslatedClause, Translator, read_caps


class ProcessTranslator:
    """See `Translator`. The program starts with the first request.

    Args:
        program: What to run.
        clock: Measures its deadlines.
        on_failure: Told of every crash and hang, on the thread that translates.
    """

    def __init__(self, program: Program, clock: Clock, on_failure: Callable[[Failure], None] | None = None) -> None:
        self._host = Host(program, clock, on_failure)

    @property
    def caps(self) -> Caps:
        """See `Translator.caps`; starts the program.

        Raises:
            ConfigError: It is not installed.
            BackEndError: It failed.
        """
        return read_caps(self._host.start().fields)

    @property
    def pairs(self) -> frozenset[tuple[str, str]]:
        """See `Translator.pairs`; starts the program."""
        return frozenset((source, target) for source, target in self._host.start().fields["pairs"])

    def translate(self, clause: Clause, language: str) -> TranslatedClause:
        """See `Translator.translate`."""
        answer = [
            *self._host.exchange(
                "translate", clause.clause_id, text=clause.text, source=clause.language, target=language
            )
        ]
        if not answer:
            raise BackEndError(f"clause {clause.clause_id} was cancelled")
        text, quality = str(answer[0].fields["text"]), self.caps.quality
        return TranslatedClause(clause.clause_id, text, language, clause.start_ns, clause.end_ns, quality)

    def cancel(self, clause_id: int) -> None:
        """See `Translator.cancel`."""
        self._host.cancel(clause_id)

    def health(self) -> Health:
        """How its process is."""
        return self._host.health()

    def close(self) -> None:
        """See `Translator.close`."""
        self._host.close()


class WrappedTranslator:
    """What stands around another translator: it says and ends what that one does. `translate` is left to who wraps.

    Args:
        translator: Closed with this.
    """

    def __init__(self, translator: Translator) -> None:
        self._translator = translator

    @property
    def caps(self) -> Caps:
        """Those of the translator."""
        return self._translator.caps

    @property
    def pairs(self) -> frozenset[tuple[str, str]]:
        """Those of the translator."""
        return self._translator.pairs

    def cancel(self, clause_id: int) -> None:
        """See `Translator.cancel`."""
        self._translator.cancel(clause_id)

    def close(self) -> None:
        """See `Translator.close`."""
        self._translator.close()


class PassThrough:
    """Where no back end has a pair: the words stay as they are, and are marked so."""

    caps = Caps("pass-through", "Apache-2.0", commercial=True, quality="good", languages=())
    pairs: frozenset[tuple[str, str]] = frozenset()

    def translate(self, clause: Clause, language: str) -> TranslatedClause:
        """The clause's own words; "untranslated" unless they are in the language that is asked for."""
        untranslated: Literal["good", "untranslated"] = "good" if clause.language == language else "untranslated"
        return TranslatedClause(clause.clause_id, clause.text, language, clause.start_ns, clause.end_ns, untranslated)

    def cancel(self, clause_id: int) -> None:
        """Nothing takes time."""

    def close(self) -> None:
        """Nothing is open."""
