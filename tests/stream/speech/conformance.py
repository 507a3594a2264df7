"""What every back end must keep, as checks on the events that it gives. Each raises AssertionError.

One sample is allowed between times that should meet: nanoseconds do not divide by every sample rate.
"""

from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise

from stream.frames import NS_PER_S
from stream.speech.protocol import Phone, Recognition, SpokenChunk, TranslatedClause, Word
from stream.speech.s2s import S2SEvent


def check_words(words: Sequence[Word], heard_ns: int) -> None:
    """Words are in order, last some time, do not overlap, and were heard."""
    assert all(word.start_ns < word.end_ns <= heard_ns for word in words), words
    assert all(one.end_ns <= other.start_ns for one, other in pairwise(words)), words


def check_recognitions(events: Sequence[Recognition]) -> None:
    """Listening goes forward, and no event goes back before what earlier ones committed."""
    assert all(one.heard_ns <= other.heard_ns for one, other in pairwise(events)), "it heard backwards"
    committed: list[Word] = []
    for event in events:
        committed += event.committed
        check_words([*committed, *event.tentative], event.heard_ns)


def check_chunks(chunks: Sequence[SpokenChunk], clause_id: int) -> None:
    """Sound of one clause is gapless from zero, in full scale, and not silent."""
    assert {chunk.clause_id for chunk in chunks} == {clause_id}
    assert len({chunk.sample_rate_hz for chunk in chunks}) == 1
    sample_ns = NS_PER_S // chunks[0].sample_rate_hz + 1
    assert chunks[0].start_ns == 0
    assert all(abs(one.end_ns - other.start_ns) <= sample_ns for one, other in pairwise(chunks)), "the sound has gaps"
    loudest = max(float(abs(chunk.samples).max()) for chunk in chunks)
    assert 0 < loudest <= 1


def check_phones(chunks: Sequence[SpokenChunk]) -> None:
    """Phones cover the sound without gaps, each comes with the chunk in which it begins, and some are no silence."""
    phones: list[Phone] = []
    for chunk in chunks:
        assert all(chunk.start_ns <= phone.start_ns < chunk.end_ns for phone in chunk.phones), chunk.phones
        phones += chunk.phones
    sample_ns = NS_PER_S // chunks[0].sample_rate_hz + 1
    assert phones[0].start_ns == 0
    assert all(phone.start_ns < phone.end_ns for phone in phones), phones
    assert all(one.end_ns == other.start_ns for one, other in pairwise(phones)), phones
    assert abs(phones[-1].end_ns - chunks[-1].end_ns) <= sample_ns
    assert any(phone.ipa for phone in phones)


def check_s2s(events: Sequence[S2SEvent]) -> None:
    """Speech to speech is append-only: words, then clauses that were heard, then their sound, whole and in order."""
    check_recognitions([event for event in events if isinstance(event, Recognition)])
    heard_ns = 0
    announced: list[TranslatedClause] = []
    sounds: defaultdict[int, list[SpokenChunk]] = defaultdict(list)
    spoken: set[int] = set()
    for event in events:
        if isinstance(event, Recognition):
            heard_ns = event.heard_ns
        elif isinstance(event, TranslatedClause):
            assert event.start_ns < event.end_ns <= heard_ns, f"{event} was not heard before {heard_ns} ns"
            announced.append(event)
        else:
            assert event.clause_id in {clause.clause_id for clause in announced}, f"{event} was not announced"
            assert event.clause_id >= max(sounds, default=0), f"{event} comes after a later clause's sound"
            assert event.clause_id not in spoken, f"{event} comes after the end of its clause"
            if isinstance(event, SpokenChunk):
                sounds[event.clause_id].append(event)
            else:
                spoken.add(event.clause_id)
    assert all(one.clause_id < other.clause_id for one, other in pairwise(announced)), "clause ids go back"
    assert all(one.start_ns <= other.start_ns for one, other in pairwise(announced)), "clauses go back in time"
    assert spoken <= set(sounds), "a clause ended that has no sound"
    for clause_id, chunks in sounds.items():
        check_chunks(chunks, clause_id)
