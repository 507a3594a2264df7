"""Words that are translated as an operator says."""

import shutil
from pathlib import Path

import pytest

from stream.clock import MonotonicClock
from stream.errors import ConfigError
from stream.speech.apertium import APERTIUM
from stream.speech.glossary import Glossary, GlossaryTranslator
from stream.speech.protocol import Clause, TranslatedClause
from stream.speech.translate import ProcessTranslator
from tests.stream.speech.words import Shouting, clause

pytestmark = pytest.mark.unit

TERMS = Glossary({"*": {"Vis-à-vis": "Vis-à-vis"}, "xx": {"sales squad": "Vertrieb", "squad": "Trupp"}})


class Forgetting(Shouting):
    """A translator that loses every word it does not know."""

    def translate(self, clause: Clause, language: str) -> TranslatedClause:
        translated = super().translate(clause, language)
        kept = [word for word in translated.text.split() if not word.startswith("ZYX")]
        return TranslatedClause(clause.clause_id, " ".join(kept), language, 0, 1, "draft")


def translated(text: str, terms: Glossary = TERMS) -> str:
    return GlossaryTranslator(Shouting(), terms).translate(clause(1, text, 0), "xx").text


def test_a_term_is_said_as_the_glossary_says_it_and_the_rest_is_translated() -> None:
    assert translated("we know the Squad, well") == "WE KNOW THE Trupp, WELL"


def test_the_longest_term_wins_and_parts_of_words_are_left() -> None:
    assert translated("a sales squad and squadrons") == "A Vertrieb AND SQUADRONS"


def test_names_hold_for_all_languages_and_may_come_twice() -> None:
    assert translated("vis-à-vis and Vis-à-vis") == "Vis-à-vis AND Vis-à-vis"


def test_a_clause_without_a_term_is_left_alone() -> None:
    assert translated("hello") == "HELLO"


def test_a_back_end_that_loses_the_stand_in_translates_without_glossary() -> None:
    made = GlossaryTranslator(Forgetting(), TERMS).translate(clause(1, "the squad", 0), "xx")
    assert made.text == "THE SQUAD"


def test_apertium_keeps_a_term() -> None:
    if shutil.which("apertium") is None:
        pytest.skip("apertium is not installed: apt-get install apertium apertium-eng-spa")
    translator = GlossaryTranslator(
        ProcessTranslator(APERTIUM, MonotonicClock()), Glossary({"es": {"sales team": "equipo comercial"}})
    )
    made = translator.translate(clause(1, "We met the sales team, and the sales team was happy.", 0), "es")
    translator.close()
    assert made.text.count("equipo comercial") == 2
    assert "Zyx" not in made.text


def test_a_file_is_read_and_a_wrong_one_refused(tmp_path: Path) -> None:
    path = tmp_path / "terms.toml"
    path.write_text('["*"]\nAnna = "Anna"\n[es]\nboard = "junta"\n')
    assert Glossary.read(path).of("es") == {"anna": "Anna", "board": "junta"}
    path.write_text("[es]\nboard = 3\n")
    with pytest.raises(ConfigError, match="must hold lines"):
        Glossary.read(path)
    with pytest.raises(ConfigError, match="cannot be read"):
        Glossary.read(tmp_path / "none.toml")
