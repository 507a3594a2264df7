"""When words become a clause."""

import pytest

from stream.speech.clauses import ClauseConfig, ClauseSplitter
from stream.speech.protocol import Recognition
from tests.stream.speech.words import MS, heard, word, words

pytestmark = pytest.mark.unit


def closed(*events: Recognition, config: ClauseConfig | None = None) -> list[str]:
    splitter = ClauseSplitter(config or ClauseConfig(), "en")
    return [clause.text for event in events for clause in splitter.add(event)]


def test_a_sentence_closes_a_clause() -> None:
    assert closed(heard(900, words("Come here. Now"))) == ["Come here."]


def test_a_comma_closes_only_what_is_long_enough() -> None:
    config = ClauseConfig(max_words=6)
    assert closed(heard(1500, words("Well, this is good, and")), config=config) == ["Well, this is good,"]


def test_too_many_words_close_where_no_word_leans_on_the_next() -> None:
    config = ClauseConfig(max_words=5)
    assert closed(heard(1500, words("we went home to the")), config=config) == ["we went home"]


def test_a_pause_between_words_closes() -> None:
    assert closed(heard(900, (word("yes", 0, 300), word("but", 700, 900)))) == ["yes"]


def test_a_pause_after_the_last_word_closes() -> None:
    assert closed(heard(300, words("yes")), heard(600)) == ["yes"]


def test_guessed_words_keep_a_pause_from_closing() -> None:
    going_on = Recognition(600_000_000, (), words("but", 300))
    assert closed(heard(300, words("yes")), going_on) == []


def test_a_clause_that_began_long_ago_closes() -> None:
    config = ClauseConfig(max_words=20, pause_ms=5000)
    event = heard(2100, words("three slow words", each_ms=680))
    assert closed(event, config=config) == ["three slow words"]


def test_the_end_of_a_turn_closes_all() -> None:
    assert closed(heard(700, words("of the"), endpoint=True)) == ["of the"]


def test_no_word_is_lost_and_clauses_are_numbered() -> None:
    text = "it was the best of times, it was the worst of times and all of us were young"
    splitter = ClauseSplitter(ClauseConfig(), "en")
    clauses = [each for item in words(text) for each in splitter.add(heard(item.end_ns // 10**6, [item]))]
    clauses += splitter.add(heard(10_000, endpoint=True))
    assert " ".join(each.text for each in clauses) == text
    assert [each.clause_id for each in clauses] == list(range(1, len(clauses) + 1))


def test_what_a_failed_recogniser_left_behind_is_dropped() -> None:
    splitter = ClauseSplitter(ClauseConfig(), "en")
    splitter.add(heard(600, words("half a")))
    assert splitter.drop() == 2
    assert splitter.pending == ""


def test_a_clause_knows_the_words_behind_it_known_or_guessed() -> None:
    splitter = ClauseSplitter(ClauseConfig(max_words=2), "en")
    event = Recognition(900 * MS, words("it was the"), words("best of times", 900))
    (first,) = splitter.add(event)
    assert (first.text, [each.text for each in first.ahead]) == ("it was", ["the", "best", "of"])
    (last,) = splitter.add(heard(1200, endpoint=True))
    assert (last.text, last.ahead) == ("the", ())


def test_words_ahead_that_were_taken_back_close_with_a_clause_without_letters() -> None:
    splitter = ClauseSplitter(ClauseConfig(max_words=2), "en")
    (first,) = splitter.add(Recognition(600 * MS, words("it was"), words("the", 600)))
    (last,) = splitter.add(heard(1200, endpoint=True))
    assert (last.clause_id, last.text, last.ahead) == (2, "", ())
    assert (last.start_ns, last.end_ns) == (first.end_ns, first.end_ns)
    assert splitter.add(heard(1500, endpoint=True)) == []


def test_a_clause_behind_which_a_word_was_known_needs_no_other_to_close_it() -> None:
    splitter = ClauseSplitter(ClauseConfig(max_words=2), "en")
    splitter.add(Recognition(600 * MS, words("it was"), words("the", 600)))
    splitter.add(heard(900, words("the", 600)))
    assert [each.text for each in splitter.add(heard(1200, endpoint=True))] == ["the"]


def test_few_words_are_worth_saying_when_the_voice_has_long_had_nothing_to_say() -> None:
    splitter = ClauseSplitter(ClauseConfig(), "en")
    guessed = words("guess", 900)
    assert splitter.add(Recognition(1000 * MS, words("it was"), guessed), idle=True) == []
    late = Recognition(1500 * MS, (), guessed)
    assert splitter.add(late) == []
    assert [each.text for each in splitter.add(late, idle=True)] == ["it was"]
