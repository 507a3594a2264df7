"""The conformance suite of recognisers with Whisper's own models, where they were fetched."""

import importlib.util
import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.speech import errors, plain
from stream.clock import MonotonicClock
from stream.errors import BackEndError, ConfigError
from stream.frames import AudioChunk
from stream.media import decode_sound
from stream.speech.host import Failure
from stream.speech.protocol import Recognition
from stream.speech.recognise import ProcessRecogniser
from stream.speech.store import models_folder
from stream.speech.whisper import whisper, whisper_folder
from tests.stream.speech.conformance import check_recognitions

pytestmark = pytest.mark.unit

RATE_HZ = 16_000
JFK = "and so my fellow americans ask not what your country can do for you ask what you can do for your country"


def fetched(name: str) -> Path:
    if importlib.util.find_spec("ctranslate2") is None:
        pytest.skip("ctranslate2 is not installed: pip install 'visavis[languages]'")
    try:
        return whisper_folder(name, models_folder(os.environ))
    except ConfigError as absent:
        pytest.skip(f"{absent}")


@pytest.fixture
def failures() -> list[Failure]:
    return []


@pytest.fixture(params=["whisper-tiny.en", "whisper-base"])
def recogniser(request: pytest.FixtureRequest, failures: list[Failure]) -> Iterator[ProcessRecogniser]:
    yield from started(fetched(request.param), failures)


@pytest.fixture
def translator(failures: list[Failure]) -> Iterator[ProcessRecogniser]:
    yield from started(fetched("whisper-base"), failures, translate=True)


def started(folder: Path, failures: list[Failure], *, translate: bool = False) -> Iterator[ProcessRecogniser]:
    # Whoever else works on this machine must not make it look hung.
    program = replace(whisper(folder, language=None, translate=translate), start_ms=60_000, answer_ms=60_000)
    recogniser = ProcessRecogniser(program, MonotonicClock(), failures.append)
    yield recogniser
    recogniser.close()


@pytest.fixture(scope="module")
def jfk(material: Path) -> np.ndarray:
    return decode_sound(material / "speech" / "jfk.flac", "jfk", rate_hz=RATE_HZ)


def listen(recogniser: ProcessRecogniser, samples: np.ndarray, from_ns: int = 0) -> list[Recognition]:
    events: list[Recognition] = []
    for first in range(0, len(samples), 320):
        chunk = AudioChunk(from_ns + first * 10**9 // RATE_HZ, RATE_HZ, samples[first : first + 320])
        events += recogniser.push(chunk)
    return [*events, *recogniser.flush()]


def said(events: list[Recognition]) -> list[str]:
    return plain(" ".join(word.text for event in events for word in event.committed))


def test_words_come_while_speech_goes_on_and_are_nearly_those_of_the_whole(
    recogniser: ProcessRecogniser, jfk: np.ndarray
) -> None:
    events = listen(recogniser, jfk, from_ns=5_000_000_000)
    check_recognitions(events)
    assert events[-1].endpoint
    # Of 22 words, of which the whole recording loses none.
    assert errors(JFK.split(), said(events)) <= 1
    assert {event.language for event in events if event.committed} == {"en"}
    committed = [(event.heard_ns, word) for event in events[:-1] for word in event.committed]
    assert len(committed) >= 15
    # The step of base is 1 s, and a word is committed by the second decoding after it.
    assert np.median([(heard_ns - word.end_ns) / 1e6 for heard_ns, word in committed]) < 2000


def test_it_says_what_it_hears(recogniser: ProcessRecogniser) -> None:
    caps = recogniser.caps
    assert caps.licence == "MIT"
    assert caps.into is None
    assert caps.languages == ("en",) if caps.name.endswith(".en") else {"en", "de", "es"} < set(caps.languages)


@pytest.mark.parametrize("kind", ["silence", "noise", "tones"])
def test_what_is_no_speech_breaks_nothing(recogniser: ProcessRecogniser, failures: list[Failure], kind: str) -> None:
    rng = np.random.default_rng(1)
    times = np.arange(8 * RATE_HZ) / RATE_HZ
    sounds = {
        "silence": np.zeros(8 * RATE_HZ),
        "noise": 0.1 * rng.standard_normal(8 * RATE_HZ),
        "tones": 0.2 * np.sin(2 * np.pi * 440 * times) + 0.2 * np.sin(2 * np.pi * 554 * times),
    }
    events = listen(recogniser, sounds[kind].astype(np.float32))
    check_recognitions(events)
    assert kind != "silence" or said(events) == []
    assert failures == []


def test_a_killed_worker_is_counted_and_the_next_turn_is_heard(
    recogniser: ProcessRecogniser, jfk: np.ndarray, failures: list[Failure]
) -> None:
    assert recogniser.caps
    first = AudioChunk(0, RATE_HZ, jfk[: 2 * RATE_HZ])
    recogniser.push(first)
    os.kill(worker(), signal.SIGKILL)
    try:
        recogniser.push(AudioChunk(first.end_ns, RATE_HZ, jfk[: 2 * RATE_HZ]))
    except BackEndError as refused:
        assert "crashed" in str(refused)  # noqa: PT017 - it may also be found dead before it is asked
    recogniser.flush()
    assert errors(JFK.split(), said(listen(recogniser, jfk, from_ns=60_000_000_000))) <= 1
    assert [failure.reason for failure in failures] == ["crashed"]


def worker() -> int:
    (pid,) = [
        int(pid)
        for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
        if b"whisper_worker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]
    return pid


def test_german_is_found_out_and_given_in_english(translator: ProcessRecogniser, material: Path) -> None:
    assert (translator.caps.into, translator.caps.quality) == ("en", "draft")
    sound = decode_sound(material / "speech" / "iwslt_de" / "de_002.flac", "de", rate_hz=RATE_HZ)
    events = listen(translator, sound)
    check_recognitions(events)
    assert {event.language for event in events} == {"en"}
    # "An dem Strand ... Im Hintergrund sind die Häuser zu sehen, die in die Berge gebaut wurden."
    assert {"beach", "houses"} <= set(said(events))
