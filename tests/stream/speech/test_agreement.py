"""What two guesses agree on is committed, and never taken back."""

import pytest

from stream.speech.agreement import Agreement, spread

pytestmark = pytest.mark.unit


def fed(*guesses: tuple[str, float]) -> tuple[Agreement, list[str]]:
    agreement = Agreement()
    committed = [word.text for text, heard in guesses for word in agreement.add(spread(text, 0.0, heard), heard + 0.2)]
    return agreement, committed


def test_words_are_committed_when_two_guesses_agree() -> None:
    _, committed = fed(("the cat", 1.0), ("the cat sat", 1.5), ("the cat sad on", 2.0), ("the cat sad on it", 2.5))
    assert committed == ["the", "cat", "sad", "on"]


def test_case_and_punctuation_do_not_keep_words_from_agreeing() -> None:
    _, committed = fed(("Well, yes", 1.0), ("well yes.", 1.0))
    assert committed == ["well", "yes."]


def test_a_word_that_ends_with_the_sound_waits() -> None:
    agreement = Agreement()
    for _ in range(2):
        committed = agreement.add(spread("the cat", 0.0, 1.0), 1.0)
    assert [word.text for word in committed] == ["the"]


def test_the_end_commits_the_rest() -> None:
    agreement, committed = fed(("the cat", 1.0))
    assert committed == []
    assert [word.text for word in agreement.finish()] == ["the", "cat"]


def test_after_a_cut_repeated_phrases_are_not_committed_twice() -> None:
    agreement = Agreement()
    text = "it was the best of times it was the worst of times it was the age"
    for _ in range(2):
        agreement.add(spread(text, 0.0, 6.0), 6.5)
    agreement.cut(3.0)
    left = "of times it was the worst of times it was the age of wisdom"
    agreement.add(spread(left, 2.6, 7.0), 7.5)
    committed = agreement.add(spread(left, 2.6, 7.0), 7.5)
    assert [word.text for word in committed] == ["of", "wisdom"]


def test_times_go_forward() -> None:
    agreement, _ = fed(("a b", 2.0), ("a b", 2.0), ("a b c d", 1.5), ("a b c d", 1.5))
    times = [time for word in agreement.committed for time in (word.start_s, word.end_s)]
    assert times == sorted(times)
