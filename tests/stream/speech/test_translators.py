"""The conformance suite of translators: each passes all of it. And the words as they are, where there is none."""

import importlib.util
import os
import shutil
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from stream.clock import MonotonicClock
from stream.errors import BackEndError, ConfigError
from stream.speech.apertium import APERTIUM
from stream.speech.apertium_worker import respaced, unescape
from stream.speech.firefox import firefox
from stream.speech.host import Failure, Program
from stream.speech.protocol import Clause, Word
from stream.speech.translate import PassThrough, ProcessTranslator
from tests.stream.speech.firefox_files import write_pair

pytestmark = pytest.mark.unit


@dataclass(frozen=True)
class Candidate:
    """A translator under test, with a text in English and what it makes of it in Spanish."""

    program: Program
    text: str
    translation: str


def _apertium(_folder: Path) -> Candidate:
    if shutil.which("apertium") is None:
        pytest.skip("apertium is not installed: apt-get install apertium apertium-eng-spa")
    return Candidate(APERTIUM, "House", "Casa")


def _firefox(folder: Path) -> Candidate:
    if importlib.util.find_spec("fxtranslate") is None:
        pytest.skip("fxtranslate is not installed: pip install 'visavis[languages]'")
    write_pair(folder, "en", "es", {"the": "la", "house": "casa"})
    return Candidate(firefox(folder), "the house", "la casa")


CANDIDATES = [_apertium, _firefox]


@pytest.fixture(params=CANDIDATES, ids=lambda make: make.__name__.strip("_"))
def candidate(request: pytest.FixtureRequest, tmp_path: Path) -> Candidate:
    made: Candidate = request.param(tmp_path)
    return made


@pytest.fixture
def failures() -> list[Failure]:
    return []


@pytest.fixture
def translator(candidate: Candidate, failures: list[Failure]) -> Iterator[ProcessTranslator]:
    # Whoever else works on this machine must not make it look hung.
    program = replace(candidate.program, start_ms=60_000, answer_ms=60_000)
    translator = ProcessTranslator(program, MonotonicClock(), failures.append)
    yield translator
    translator.close()


@pytest.fixture
def apertium() -> Iterator[ProcessTranslator]:
    translator = ProcessTranslator(_apertium(Path()).program, MonotonicClock())
    yield translator
    translator.close()


def clause(text: str, clause_id: int = 1) -> Clause:
    return Clause(clause_id, "en", (Word(text, 0, 1_000_000_000),))


def children() -> list[int]:
    return [int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]


def test_it_says_what_it_is(translator: ProcessTranslator) -> None:
    caps = translator.caps
    assert ("en", "es") in translator.pairs
    assert {language for pair in translator.pairs for language in pair} == set(caps.languages)
    assert caps.quality in ("draft", "good")
    assert caps.name
    assert caps.licence


def test_a_translation_is_that_of_its_clause(translator: ProcessTranslator, candidate: Candidate) -> None:
    translated = translator.translate(clause(candidate.text, 7), "es")
    assert (translated.clause_id, translated.text, translated.language) == (7, candidate.translation, "es")
    assert (translated.start_ns, translated.end_ns) == (0, 1_000_000_000)
    assert translated.quality == translator.caps.quality


def test_an_unknown_pair_is_refused_and_is_no_failure(translator: ProcessTranslator, failures: list[Failure]) -> None:
    with pytest.raises(BackEndError, match="not installed"):
        translator.translate(clause("hello"), "tlh")
    assert failures == []


def test_clauses_in_a_row_are_each_their_own(translator: ProcessTranslator, candidate: Candidate) -> None:
    for number in range(50):
        text = candidate.text if number % 2 else ""
        translated = translator.translate(clause(text, number), "es")
        assert (translated.clause_id, translated.text) == (number, candidate.translation if number % 2 else "")


def test_a_cancelled_clause_is_no_translation_and_the_next_is_whole(
    translator: ProcessTranslator, candidate: Candidate, failures: list[Failure]
) -> None:
    freed = threading.Event()

    def cancel_until_freed() -> None:
        while not freed.wait(0.01):
            translator.cancel(1)

    canceller = threading.Thread(target=cancel_until_freed)
    canceller.start()
    # While it still starts, which takes long enough.
    with pytest.raises(BackEndError, match="clause 1 was cancelled"):
        translator.translate(clause(candidate.text, 1), "es")
    freed.set()
    canceller.join()
    assert translator.translate(clause(candidate.text, 2), "es").text == candidate.translation
    assert failures == []


def test_a_killed_worker_is_counted_and_survived(
    translator: ProcessTranslator, candidate: Candidate, failures: list[Failure]
) -> None:
    before = set(children())
    translator.translate(clause(candidate.text), "es")
    (worker,) = set(children()) - before
    os.kill(worker, signal.SIGKILL)
    os.waitid(os.P_PID, worker, os.WEXITED | os.WNOWAIT)
    assert translator.translate(clause(candidate.text), "es").text == candidate.translation
    assert [failure.reason for failure in failures] == ["crashed"]
    translator.close()
    assert set(children()) == before


def test_a_hang_is_survived_and_counted(candidate: Candidate, failures: list[Failure]) -> None:
    before = set(children())
    program = replace(candidate.program, start_ms=60_000, answer_ms=1_000)
    translator = ProcessTranslator(program, MonotonicClock(), failures.append)
    assert translator.caps.name
    (worker,) = set(children()) - before
    os.kill(worker, signal.SIGSTOP)
    with pytest.raises(BackEndError, match="hung"):
        translator.translate(clause(candidate.text), "es")
    assert [failure.reason for failure in failures] == ["hung"]
    assert translator.health().restarts == 1
    translator.close()


def test_a_missing_program_names_its_remedy(candidate: Candidate) -> None:
    program = replace(candidate.program, command=("no-such-program",))
    translator = ProcessTranslator(program, MonotonicClock())
    with pytest.raises(ConfigError) as error:
        translator.translate(clause(candidate.text), "es")
    assert candidate.program.remedy in str(error.value)
    translator.close()


def test_a_blank_that_a_rule_lost_comes_back_and_punctuation_stays() -> None:
    assert respaced("^motor$^de$^traducción$^.$") == "^motor$ ^de$ ^traducción$^.$"


def test_marks_of_unknown_words_are_not_heard_and_an_address_stays_whole() -> None:
    assert unescape(r"*Foo #bar \@baz info\@example.com[]") == "Foo bar @baz info@example.com"


def test_sentences_in_a_row_keep_their_order(apertium: ProcessTranslator) -> None:
    for number in range(50):
        translated = apertium.translate(clause(f"House {number}.", number), "es")
        assert (translated.clause_id, translated.text) == (number, f"Casa {number}.")


@pytest.mark.parametrize("text", [r"^$@/\[]{}<>", "info@example.com", "😀", "", "..."])
def test_special_characters_survive(apertium: ProcessTranslator, text: str) -> None:
    assert apertium.translate(clause(text), "es").text == text


def test_what_is_not_translated_says_so() -> None:
    assert PassThrough().translate(clause("hello"), "es").quality == "untranslated"
    assert PassThrough().translate(clause("hello"), "en").quality == "good"
