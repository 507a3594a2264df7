"""The checks of the conformance suite refuse what they are there to refuse."""

import numpy as np
import pytest

from stream.frames import NS_PER_MS
from stream.speech.protocol import Clause, Phone, Recognition, SpokenChunk, TranslatedClause, Word
from stream.speech.s2s import ClauseSpoken, S2SEvent
from tests.stream.speech.conformance import check_chunks, check_phones, check_recognitions, check_s2s

pytestmark = pytest.mark.unit


def _word(text: str, start_ms: int, end_ms: int) -> Word:
    return Word(text, start_ms * NS_PER_MS, end_ms * NS_PER_MS)


def _heard(ms: int, committed: tuple[Word, ...] = (), tentative: tuple[Word, ...] = ()) -> Recognition:
    return Recognition(ms * NS_PER_MS, committed, tentative)


FACE, TO, TWO = _word("face", 100, 400), _word("to", 400, 500), _word("two", 400, 520)


def test_a_tentative_word_may_change_before_it_is_committed() -> None:
    check_recognitions([_heard(550, (FACE,), (TO,)), _heard(600, (), (TWO,)), _heard(900, (TWO,))])


@pytest.mark.parametrize(
    "events",
    [
        [_heard(600, (FACE, TO)), _heard(700, (TWO,))],
        [_heard(600, (TO,)), _heard(700, (FACE,))],
        [_heard(600, (FACE,)), _heard(500)],
        [_heard(450, (FACE,), (TO,))],
        [_heard(600, (_word("", 100, 100),))],
    ],
    ids=["revised", "out of order", "heard backwards", "not yet heard", "no time"],
)
def test_a_recogniser_that_revises_or_jumps_is_refused(events: list[Recognition]) -> None:
    with pytest.raises(AssertionError):
        check_recognitions(events)


def _chunk(start_ms: int, length_ms: int, *phones: Phone) -> SpokenChunk:
    return SpokenChunk(1, start_ms * NS_PER_MS, 16_000, np.full(16 * length_ms, 0.5, np.float32), phones)


def _phone(start_ms: int, end_ms: int, ipa: str = "a") -> Phone:
    return Phone(ipa, start_ms * NS_PER_MS, end_ms * NS_PER_MS)


def test_a_phone_may_last_beyond_its_chunk() -> None:
    chunks = [_chunk(0, 50, _phone(0, 30), _phone(30, 80)), _chunk(50, 50, _phone(80, 100))]
    check_chunks(chunks, 1)
    check_phones(chunks)


@pytest.mark.parametrize(
    "chunks",
    [
        [_chunk(0, 50, _phone(0, 30), _phone(40, 50))],
        [_chunk(0, 50, _phone(0, 30))],
        [_chunk(0, 50, _phone(10, 50))],
        [_chunk(0, 50, _phone(0, 60)), _chunk(50, 50, _phone(60, 60), _phone(60, 100))],
        [_chunk(0, 50, _phone(0, 50), _phone(50, 100)), _chunk(50, 50)],
        [_chunk(0, 50, _phone(0, 50, ""))],
    ],
    ids=["gap", "end not covered", "start not covered", "no time", "early", "only silence"],
)
def test_phones_that_do_not_cover_the_sound_are_refused(chunks: list[SpokenChunk]) -> None:
    with pytest.raises(AssertionError):
        check_phones(chunks)


def test_sound_with_a_gap_is_refused() -> None:
    with pytest.raises(AssertionError, match="gaps"):
        check_chunks([_chunk(0, 50), _chunk(51, 50)], 1)


def test_sound_of_another_clause_is_refused() -> None:
    with pytest.raises(AssertionError):
        check_chunks([_chunk(0, 50)], 2)


def _translated(clause_id: int, start_ms: int, end_ms: int) -> TranslatedClause:
    return TranslatedClause(clause_id, "cara", "es", start_ms * NS_PER_MS, end_ms * NS_PER_MS, "good")


def _sound(clause_id: int, start_ms: int = 0) -> SpokenChunk:
    return SpokenChunk(clause_id, start_ms * NS_PER_MS, 16_000, np.full(800, 0.5, np.float32))


FIRST, SECOND = _translated(1, 100, 400), _translated(2, 400, 500)
HEARD = _heard(600, (FACE, TO))


def test_a_clause_may_be_announced_before_the_one_in_front_of_it_was_spoken() -> None:
    check_s2s(
        [HEARD, FIRST, SECOND, _sound(1), _sound(1, 50), ClauseSpoken(1), _heard(700), _sound(2), ClauseSpoken(2)]
    )


@pytest.mark.parametrize(
    "events",
    [
        [_heard(300, (), (FACE,)), FIRST],
        [HEARD, _sound(1), FIRST],
        [HEARD, FIRST, _sound(1, 50)],
        [HEARD, FIRST, _sound(1), ClauseSpoken(1), _sound(1, 50)],
        [HEARD, FIRST, ClauseSpoken(1)],
        [HEARD, FIRST, SECOND, _sound(2), _sound(1)],
        [HEARD, FIRST, FIRST],
        [HEARD, _translated(1, 400, 500), _translated(2, 100, 400)],
        [_heard(600, (TO,)), _heard(700, (FACE,))],
    ],
    ids=[
        "not yet heard",
        "spoken unannounced",
        "begins late",
        "goes on after its end",
        "ends without sound",
        "an earlier clause",
        "announced twice",
        "back in time",
        "words out of order",
    ],
)
def test_speech_that_takes_back_or_jumps_is_refused(events: list[S2SEvent]) -> None:
    with pytest.raises(AssertionError):
        check_s2s(events)


def test_a_clause_lasts_from_its_first_word_to_its_last() -> None:
    clause = Clause(1, "en", (FACE, TO))
    assert (clause.start_ns, clause.end_ns, clause.text) == (100 * NS_PER_MS, 500 * NS_PER_MS, "face to")
