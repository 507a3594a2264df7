"""Translators: Apertium in a process of its own, and the words as they are where no back end has a pair."""

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from stream.clock import MonotonicClock
from stream.errors import BackEndError
from stream.speech.apertium import APERTIUM
from stream.speech.apertium_worker import respaced, unescape
from stream.speech.protocol import Clause, Word
from stream.speech.translate import PassThrough, ProcessTranslator

pytestmark = pytest.mark.unit


def clause(text: str, clause_id: int = 1) -> Clause:
    return Clause(clause_id, "en", (Word(text, 0, 1_000_000_000),))


@pytest.fixture
def apertium() -> Iterator[ProcessTranslator]:
    if shutil.which("apertium") is None:
        pytest.skip("apertium is not installed: apt-get install apertium apertium-eng-spa")
    translator = ProcessTranslator(APERTIUM, MonotonicClock())
    yield translator
    translator.close()


def children() -> list[int]:
    return [int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]


def test_a_blank_that_a_rule_lost_comes_back_and_punctuation_stays() -> None:
    assert respaced("^motor$^de$^traducción$^.$") == "^motor$ ^de$ ^traducción$^.$"


def test_marks_of_unknown_words_are_not_heard_and_an_address_stays_whole() -> None:
    assert unescape(r"*Foo #bar \@baz info\@example.com[]") == "Foo bar @baz info@example.com"


def test_an_unknown_pair_is_refused_and_is_no_failure(apertium: ProcessTranslator) -> None:
    assert ("en", "es") in apertium.pairs
    with pytest.raises(BackEndError, match="not installed"):
        apertium.translate(clause("hello"), "tlh")
    assert apertium.health().crashes == 0


def test_sentences_in_a_row_keep_their_order(apertium: ProcessTranslator) -> None:
    for number in range(50):
        translated = apertium.translate(clause(f"House {number}.", number), "es")
        assert (translated.clause_id, translated.text) == (number, f"Casa {number}.")


@pytest.mark.parametrize("text", [r"^$@/\[]{}<>", "info@example.com", "😀", "", "..."])
def test_special_characters_survive(apertium: ProcessTranslator, text: str) -> None:
    assert apertium.translate(clause(text), "es").text == text


def test_a_killed_worker_is_counted_and_survived(apertium: ProcessTranslator) -> None:
    before = set(children())
    apertium.translate(clause("house"), "es")
    (worker,) = set(children()) - before
    os.kill(worker, signal.SIGKILL)
    os.waitid(os.P_PID, worker, os.WEXITED | os.WNOWAIT)
    assert apertium.translate(clause("House"), "es").text == "Casa"
    assert apertium.health().crashes == 1
    apertium.close()
    assert set(children()) == before


def test_what_is_not_translated_says_so() -> None:
    assert PassThrough().translate(clause("hello"), "es").quality == "untranslated"
    assert PassThrough().translate(clause("hello"), "en").quality == "good"
