"""Clauses in their sentence: nothing is said twice, nothing is taken back, nothing is left out."""

from dataclasses import replace

import pytest

from stream.errors import BackEndError
from stream.speech.protocol import Clause, TranslatedClause, Word
from stream.speech.sentence import SentenceTranslator
from tests.stream.speech.words import MS, Shouting, clause, words

pytestmark = pytest.mark.unit


class Phrasebook(Shouting):
    """Knows whole texts."""

    def __init__(self, **known: str) -> None:
        self._known = {text.replace("_", " "): translated for text, translated in known.items()}
        self.asked: list[str] = []

    def translate(self, clause: Clause, language: str) -> TranslatedClause:
        self.asked.append(clause.text)
        if "fail" in clause.text:
            raise BackEndError("it fell over")
        text = self._known[clause.text]
        return TranslatedClause(clause.clause_id, text, language, clause.start_ns, clause.end_ns, "draft")


def said(translator: SentenceTranslator, *clauses: Clause) -> list[str]:
    return [translator.translate(each, "xx").text for each in clauses]


def test_a_clause_is_understood_from_what_came_before_it_and_only_what_is_new_is_said() -> None:
    book = Phrasebook(it_was_the="Era el", it_was_the_spring_of_hope="Era la primavera de esperanza")
    texts = said(SentenceTranslator(book), clause(1, "it was the", 0), clause(2, "spring of hope", 900))
    assert texts == ["Era el", "primavera de esperanza"]


def test_times_and_number_are_those_of_the_clause() -> None:
    translator = SentenceTranslator(Shouting())
    said(translator, clause(1, "one two", 0))
    second = clause(2, "three", 600)
    translated = translator.translate(second, "xx")
    assert (translated.clause_id, translated.text) == (2, "THREE")
    assert (translated.start_ns, translated.end_ns) == (second.start_ns, second.end_ns)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param(clause(1, "one two.", 0), clause(2, "three", 600), id="a sentence's end"),
        pytest.param(clause(1, "one two", 0), clause(2, "three", 2200), id="a long pause"),
        pytest.param(clause(1, "a " * 39, 0, 10), clause(2, "three four", 400), id="a sentence without an end"),
    ],
)
def test_a_new_sentence_is_translated_by_itself(first: Clause, second: Clause) -> None:
    book = Phrasebook(one_two="eins zwei", three="drei", three_four="drei vier")
    book._known |= {first.text: "whatever"}
    assert said(SentenceTranslator(book), first, second)[1] == book._known[second.text]


def test_a_clause_whose_words_went_into_earlier_ones_is_said_by_itself() -> None:
    book = Phrasebook(one_two="eins zwei", one_two_three="eins zwei", three="drei")
    assert said(SentenceTranslator(book), clause(1, "one two", 0), clause(2, "three", 600)) == ["eins zwei", "drei"]


def test_after_a_failure_a_sentence_begins() -> None:
    book = Phrasebook(one_two="eins zwei", three="drei", four="vier", three_four="drei vier")
    translator = SentenceTranslator(book)
    said(translator, clause(1, "one two", 0))
    with pytest.raises(BackEndError):
        translator.translate(clause(2, "fail", 600), "xx")
    assert said(translator, clause(3, "three", 900), clause(4, "four", 1200)) == ["drei", "vier"]
    assert book.asked[-2:] == ["three", "three four"]


def ahead(clause_id: int, text: str, start_ms: int, behind: str) -> Clause:
    return replace(clause(clause_id, text, start_ms), ahead=words(behind, start_ms + 2000))


def test_what_the_words_ahead_would_change_waits_for_them() -> None:
    book = Phrasebook(a_red="un rojo", a_red_car="un coche rojo")
    assert said(SentenceTranslator(book), ahead(1, "a red", 0, "car"), clause(2, "car", 600)) == ["un", "coche rojo"]


def test_one_word_is_given_even_where_none_is_sure() -> None:
    book = Phrasebook(red="rojo", red_car="coche rojo")
    assert said(SentenceTranslator(book), ahead(1, "red", 0, "car")) == ["rojo"]


def test_words_behind_the_end_of_a_sentence_do_not_count() -> None:
    book = Phrasebook(**{"it_is.": "es"})
    assert said(SentenceTranslator(book), ahead(1, "it is.", 0, "car")) == ["es"]
    assert book.asked == ["it is."]


def test_what_waited_is_said_when_nothing_followed() -> None:
    book = Phrasebook(a_red="un rojo", a_red_car="un coche rojo")
    nothing = Clause(2, "en", (Word("", 600 * MS, 600 * MS),))
    texts = said(SentenceTranslator(book), ahead(1, "a red", 0, "car"), nothing, replace(nothing, clause_id=3))
    assert texts == ["un", "rojo", ""]


def test_nothing_said_alone_is_nothing() -> None:
    book = Phrasebook()
    assert said(SentenceTranslator(book), Clause(1, "en", (Word("", 0, 0),))) == [""]
