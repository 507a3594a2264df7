"""Words that are translated as an operator says, whatever the back end: names, products, terms of a trade.

A term is taken out before the translator sees the clause and put in again behind it. What stands for it meanwhile is a
word that no dictionary has, which rules and networks leave as it is.
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from stream.errors import ConfigError
from stream.speech.protocol import Clause, TranslatedClause, Translator, Word
from stream.speech.translate import WrappedTranslator

_STAND_IN = "Zyx{}q"


@dataclass(frozen=True, slots=True)
class Glossary:
    """Terms by target language; those under "*" hold for all.

    Attributes:
        terms: Target language to source term to what is said instead.
    """

    terms: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> "Glossary":
        """Read a TOML file with a table for each target language, such as `[es]`, and `["*"]` for names.

        Raises:
            ConfigError: It cannot be read, or is not made so.
        """
        try:
            tables = tomllib.loads(path.read_text())
        except OSError as error:
            raise ConfigError(f"the glossary {path} cannot be read ({error.strerror})") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"the glossary {path} is not TOML: {error}") from error
        for name, table in tables.items():
            if not isinstance(table, dict) or not all(isinstance(said, str) and said for said in table.values()):
                raise ConfigError(f'the glossary {path}: [{name}] must hold lines such as "term" = "what is said"')
        return cls(tables)

    def of(self, language: str) -> dict[str, str]:
        """The terms for a target language, in small letters."""
        named = {**self.terms.get("*", {}), **self.terms.get(language, {})}
        return {term.lower(): said for term, said in named.items() if term.strip()}


class GlossaryTranslator(WrappedTranslator):
    """A translator with a glossary in front of it; see `Translator`.

    Args:
        translator: Any.
        glossary: The terms.
    """

    def __init__(self, translator: Translator, glossary: Glossary) -> None:
        super().__init__(translator)
        self._glossary = glossary

    def translate(self, clause: Clause, language: str) -> TranslatedClause:
        """See `Translator.translate`. A clause whose stand-ins did not come back is translated without a glossary."""
        terms = self._glossary.of(language)
        text, said = _taken_out(clause.text, terms)
        if not said:
            return self._translator.translate(clause, language)
        hidden = replace(clause, words=(Word(text, clause.start_ns, clause.end_ns),))
        translated = self._translator.translate(hidden, language)
        back = _put_in(translated.text, said)
        if back is None:
            return self._translator.translate(clause, language)
        return replace(translated, text=back)


def _taken_out(text: str, terms: Mapping[str, str]) -> tuple[str, list[str]]:
    """The text with stand-ins, and what each of them stands for; whole words, the longest term first."""
    if not terms:
        return text, []
    longest_first = sorted(terms, key=len, reverse=True)
    pattern = re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, longest_first))})(?!\w)", re.IGNORECASE)
    said: list[str] = []

    def stand_in(found: re.Match[str]) -> str:
        said.append(terms[found[0].lower()])
        return _STAND_IN.format(_letters(len(said)))

    return pattern.sub(stand_in, text), said


def _put_in(text: str, said: list[str]) -> str | None:
    """The text with what was meant; None where a stand-in is missing."""
    for number, term in enumerate(said, 1):
        found = re.search(re.escape(_STAND_IN.format(_letters(number))), text, re.IGNORECASE)
        if found is None:
            return None
        text = text[: found.start()] + term + text[found.end() :]
    return text


def _letters(number: int) -> str:
    """A number in letters: digits may be split off a word."""
    return "".join("abcdefghij"[int(digit)] for digit in str(number))
