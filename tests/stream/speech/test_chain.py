"""Listening, interpreting and the real embedded chain from end to end."""

import itertools
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kernels.mel import MelWindow
from stream.clock import MonotonicClock
from stream.errors import BackEndError, ConfigError
from stream.frames import AudioChunk
from stream.media import decode_sound
from stream.speech.back_ends import EMBEDDED, BackEnds
from stream.speech.chain import open_chain
from stream.speech.clauses import ClauseConfig, ClauseSplitter
from stream.speech.interpreter import Dubbed, Interpreter
from stream.speech.lag import LagConfig
from stream.speech.listener import Listener, talks_at
from stream.speech.moonshine import MOONSHINE
from stream.speech.protocol import Clause, SpokenChunk, Voice
from stream.speech.recognise import ProcessRecogniser
from stream.speech.store import models_folder
from stream.speech.track import DubTrack
from tests.stream.speech.words import MS, Humming, Scripted, Shouting, clause

pytestmark = pytest.mark.unit

RATE_HZ = 16_000


@pytest.fixture
def speech(material: Path) -> np.ndarray:
    return decode_sound(material / "speech" / "jfk.flac", "jfk", rate_hz=RATE_HZ)


def chunks(samples: np.ndarray) -> list[AudioChunk]:
    return [
        AudioChunk(first * 10**9 // RATE_HZ, RATE_HZ, samples[first : first + 320])
        for first in range(0, len(samples) - 319, 320)
    ]


def listen(listener: Listener, samples: np.ndarray) -> list[Clause]:
    found: list[Clause] = []
    for chunk in chunks(samples):
        found += listener.push(chunk).clauses
    return found + list(listener.flush().clauses)


def test_a_listener_hears_only_while_somebody_speaks(speech: np.ndarray) -> None:
    recogniser = Scripted("one two three four five six seven")
    listener = Listener(recogniser, ClauseSplitter(ClauseConfig(), "en"))
    assert listen(listener, np.zeros(RATE_HZ * 20, np.float32)) == []
    assert listener.counts["turns"] == 0
    listener = Listener(recogniser, ClauseSplitter(ClauseConfig(), "en"))
    found = listen(listener, speech)
    assert " ".join(each.text for each in found) == "one two three four five six seven"
    assert listener.counts["turns"] >= 2
    listener.close()
    assert recogniser.closed


def test_ten_minutes_of_silence_are_not_heard_and_not_kept() -> None:
    recogniser = Scripted("never said")
    listener = Listener(recogniser, ClauseSplitter(ClauseConfig(), "en"))
    silence = np.zeros(320, np.float32)
    for index in range(600 * 50):
        heard = listener.push(AudioChunk(index * 20 * MS, RATE_HZ, silence))
        assert not heard.clauses
    assert listener.counts["turns"] == 0
    assert len(listener._before) <= 26
    listener.close()


def test_turns_say_when_somebody_talks(speech: np.ndarray) -> None:
    listener = Listener(Scripted(""), ClauseSplitter(ClauseConfig(), "en"))
    turns = [listener.push(chunk).turns for chunk in chunks(speech)][-1]
    assert talks_at(turns, 1000 * MS)
    assert not talks_at(turns, 2900 * MS)


def test_a_recogniser_that_fails_costs_the_words_of_its_clause(speech: np.ndarray) -> None:
    listener = Listener(Scripted("one two three four", fails_at_ms=1200), ClauseSplitter(ClauseConfig(), "en"))
    found, failed = [], 0
    for chunk in chunks(speech):
        try:
            found += listener.push(chunk).clauses
        except BackEndError:
            failed += 1
    found += listener.flush().clauses
    assert failed == 1
    assert listener.counts["recogniser_failed"] == 1
    assert listener.counts["words_lost"] + sum(len(each.words) for each in found) == 4


def interpreted(*spoken: Clause, free_ms: int = 0) -> tuple[list[Dubbed], Interpreter, DubTrack]:
    track = DubTrack(MelWindow(54, 13))
    interpreter = Interpreter(Shouting(), Humming(), track, target="xx", lag=LagConfig(target_ms=1000))
    dubbed = [interpreter.place(interpreter.prepare(each), free_ms * MS, 80 * MS) for each in spoken]
    return dubbed, interpreter, track


def test_a_clause_is_heard_a_target_lag_after_it_was_spoken() -> None:
    (dubbed,), interpreter, track = interpreted(clause(1, "hello there you", 2000))
    assert dubbed.prepared.translated.text == "HELLO THERE YOU"
    assert dubbed.placement is not None
    assert dubbed.placement.lag_ns == pytest.approx(1000 * MS, abs=13 * MS)
    assert track.speaks(dubbed.placement.start_ns, dubbed.end_ns)
    assert dict(interpreter.counts) == {"clauses": 1, "spoken": 1, "untranslated": 0}


class Asked(Humming):
    """Remembers at which rates it was to speak."""

    caps = replace(Humming.caps, brisk={"xx": 1.2})

    def __init__(self) -> None:
        self.rates: list[float] = []

    def speak(
        self, clause_id: int, text: str, language: str, *, rate: float = 1.0, voice: Voice | None = None
    ) -> Iterator[SpokenChunk]:
        self.rates.append(rate)
        return super().speak(clause_id, text, language, rate=rate, voice=voice)


def test_a_slow_voice_is_asked_to_be_brisk_and_faster_where_it_takes_longer_than_its_source() -> None:
    speaker = Asked()
    interpreter = Interpreter(Shouting(), speaker, DubTrack(MelWindow(54, 13)), target="xx")
    # It hums for 600 ms, the first clauses as long as their source, the others twice as long.
    for index in range(60):
        interpreter.prepare(clause(index, "a b c", index * 900, 200 if index < 3 else 100))
    assert speaker.rates[:3] == pytest.approx([1.2] * 3, abs=0.03)
    assert speaker.rates[-1] == pytest.approx(1.2 * 1.25, abs=0.01)


def test_clauses_never_overlap_and_late_ones_become_captions() -> None:
    dubbed, interpreter, track = interpreted(*(clause(i + 1, "a b c", i * 100, 30) for i in range(40)))
    spoken = [each for each in dubbed if each.placement is not None]
    assert interpreter.counts["skipped"] == len(dubbed) - len(spoken) > 0
    ends = [each.end_ns for each in spoken]
    assert all(
        each.placement is not None and each.placement.start_ns >= end
        for each, end in zip(spoken[1:], ends, strict=False)
    )
    assert track.end_ns == ends[-1]


def test_a_clause_without_a_word_is_not_spoken() -> None:
    (dubbed,), _, track = interpreted(clause(1, "...", 0))
    assert dubbed.placement is None
    assert track.end_ns == 0


def _needs_programs() -> None:
    for program in ("apertium", "espeak-ng"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed: apt-get install {program}")


def test_english_goes_in_and_spanish_comes_out(speech: np.ndarray) -> None:
    _needs_programs()
    chain = open_chain("en", ["es"], MonotonicClock(), EMBEDDED)
    track = DubTrack(MelWindow(54, 13))
    listener = Listener(chain.recogniser, ClauseSplitter(ClauseConfig(), "en"))
    interpreter = Interpreter(chain.translators["es"], chain.speaker, track, target="es")
    found = listen(listener, speech)
    dubbed = [interpreter.place(interpreter.prepare(each), each.end_ns, 80 * MS) for each in found]
    source = " ".join(each.text for each in found).lower()
    assert "country can do for you" in source
    text = " ".join(each.prepared.translated.text for each in dubbed).lower()
    assert "país" in text
    assert all(each.placement is not None for each in dubbed)
    assert sum(chain.counts().values()) == 0
    chain.close()


@pytest.mark.parametrize("kind", ["silence", "noise", "music"])
def test_what_is_no_speech_is_not_dubbed(kind: str) -> None:
    recogniser = ProcessRecogniser(MOONSHINE, MonotonicClock())
    listener = Listener(recogniser, ClauseSplitter(ClauseConfig(), "en"))
    times = np.arange(30 * RATE_HZ) / RATE_HZ
    beat = 0.5 + 0.5 * np.sign(np.sin(2 * np.pi * 2 * times))
    sounds = {
        "silence": np.zeros(len(times)),
        "noise": 0.1 * np.random.default_rng(1).standard_normal(len(times)),
        "music": beat * sum(0.1 * np.sin(2 * np.pi * hz * times) for hz in (220, 277, 330, 440)),
    }
    found = listen(listener, sounds[kind].astype(np.float32))
    listener.close()
    assert found == []


def test_two_people_at_once_and_clipped_sound_break_nothing(speech: np.ndarray) -> None:
    recogniser = ProcessRecogniser(MOONSHINE, MonotonicClock())
    listener = Listener(recogniser, ClauseSplitter(ClauseConfig(), "en"))
    both = speech + np.roll(speech, 3 * RATE_HZ)
    found = listen(listener, np.clip(10 * both, -1, 1).astype(np.float32))
    listener.close()
    assert len(found) > 0
    assert all(one.end_ns <= other.start_ns for one, other in itertools.pairwise(found))
    assert listener.counts["recogniser_failed"] == 0


def test_a_language_that_nobody_hears_is_refused_with_a_remedy() -> None:
    with pytest.raises(ConfigError, match="visavis models get whisper-base"):
        open_chain("de", ["en"], MonotonicClock(), EMBEDDED)


def test_a_pair_that_is_missing_passes_with_a_warning_and_never_silently() -> None:
    _needs_programs()
    chain = open_chain("en", ["fi"], MonotonicClock(), EMBEDDED)
    translated = chain.translators["fi"].translate(clause(1, "good morning", 0), "fi")
    assert translated.quality == "untranslated"
    assert any("untranslated" in note for note in chain.notes)
    chain.close()


def test_german_goes_in_and_english_comes_out(material: Path) -> None:
    back_ends = BackEnds(models=models_folder(os.environ))
    if not (back_ends.models / "whisper-base").is_dir():
        pytest.skip("whisper-base is not there: visavis models get whisper-base")
    chain = open_chain("de", ["en"], MonotonicClock(), back_ends)
    listener = Listener(chain.recogniser, ClauseSplitter(ClauseConfig(), "de"))
    samples = decode_sound(material / "speech" / "iwslt_de" / "de_002.flac", "de", rate_hz=RATE_HZ)
    translated = [chain.translators["en"].translate(each, "en") for each in listen(listener, samples)]
    assert {each.quality for each in translated} == {"good"}
    assert {"beach", "houses"} <= set(" ".join(each.text for each in translated).lower().strip(".").split())
    assert any("while it listens, draft quality" in note for note in chain.notes)
    chain.close()
