"""The conformance suite of recognisers, with Moonshine, and what Moonshine hears."""

import os
import signal
import threading
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
from stream.speech import moonshine_worker
from stream.speech.clauses import ClauseConfig, ClauseSplitter
from stream.speech.host import Failure
from stream.speech.listener import Listener
from stream.speech.moonshine import MOONSHINE
from stream.speech.protocol import Clause, Recognition
from stream.speech.recognise import ProcessRecogniser
from tests.stream.speech.conformance import check_recognitions

pytestmark = pytest.mark.unit

RATE_HZ = 16_000
JFK = "and so my fellow americans ask not what your country can do for you ask what you can do for your country"


@pytest.fixture
def failures() -> list[Failure]:
    return []


@pytest.fixture
def recogniser(failures: list[Failure]) -> Iterator[ProcessRecogniser]:
    # Whoever else works on this machine must not make it look hung.
    program = replace(MOONSHINE, start_ms=60_000, answer_ms=60_000)
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
    text = " ".join(word.text for event in events for word in event.committed)
    return "".join(letter for letter in text.lower() if letter.isalpha() or letter == " ").split()


def worker() -> int:
    (pid,) = [
        int(pid)
        for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
        if b"moonshine_worker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]
    return pid


def test_it_says_what_it_is(recogniser: ProcessRecogniser) -> None:
    caps = recogniser.caps
    assert caps.languages == ("en",)
    assert caps.licence == "MIT"


def test_words_come_while_speech_goes_on_and_are_never_taken_back(
    recogniser: ProcessRecogniser, jfk: np.ndarray
) -> None:
    events = listen(recogniser, jfk, from_ns=5_000_000_000)
    check_recognitions(events)
    assert events[-1].endpoint
    # Of 22 words: the recording is old, and it is heard in pieces.
    assert errors(JFK.split(), said(events)) <= 4
    committed = [(event.heard_ns, word) for event in events[:-1] for word in event.committed]
    assert len(committed) >= 15
    lags_ms = [(heard_ns - word.end_ns) / 1e6 for heard_ns, word in committed]
    assert np.median(lags_ms) < 1200


def test_a_second_turn_begins_anew_wherever_it_lies(recogniser: ProcessRecogniser, jfk: np.ndarray) -> None:
    first, second = listen(recogniser, jfk), listen(recogniser, jfk, from_ns=60_000_000_000)
    assert errors(said(first), said(second)) <= 1
    assert second[0].heard_ns > 60_000_000_000


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
    # What it makes of noise is kept from it by voice activity.
    assert kind != "silence" or said(events) == []
    assert failures == []


def test_clipped_speech_is_survived(recogniser: ProcessRecogniser, jfk: np.ndarray) -> None:
    """Heard as in a session, where voice activity leaves out the noise between the words, at full scale here too."""
    listener = Listener(recogniser, ClauseSplitter(ClauseConfig(), "en"))
    clauses: list[Clause] = []
    loud = np.clip(20 * jfk, -1, 1).astype(np.float32)
    for first in range(0, len(loud) - 319, 320):
        chunk = AudioChunk(first * 10**9 // RATE_HZ, RATE_HZ, loud[first : first + 320])
        clauses += listener.push(chunk).clauses
    clauses += listener.flush().clauses
    assert errors(JFK.split(), plain(" ".join(clause.text for clause in clauses))) <= 9


def loud_and_silent(*seconds: float) -> np.ndarray:
    """A sound that hums and is silent by turns."""
    parts = [
        (0.3 * np.sin(np.arange(int(each * RATE_HZ)) * 0.1) if index % 2 == 0 else np.zeros(int(each * RATE_HZ)))
        for index, each in enumerate(seconds)
    ]
    return np.concatenate(parts).astype(np.float32)


def pushed(stream: moonshine_worker.Stream, samples: np.ndarray, from_s: float = 0.0) -> list[list[str]]:
    """What is committed by each 60 ms."""
    return [
        [word.text for word in stream.push(from_s + first / RATE_HZ, samples[first : first + 960])]
        for first in range(0, len(samples), 960)
    ]


def test_a_pause_commits_what_was_said_before_it_and_is_decoded_once() -> None:
    decoded: list[float] = []

    def decode(samples: np.ndarray) -> str:
        decoded.append(len(samples) / RATE_HZ)
        return "one two three" if len(decoded) < 5 else "one two three four"

    stream = moonshine_worker.Stream(decode)
    steps = pushed(stream, loud_and_silent(0.7, 1.3))
    assert [word for words in steps for word in words] == ["one", "two", "three"]
    # 140 ms of silence and what is left of a piece, not the end of a turn.
    assert max(index for index, words in enumerate(steps) if words) * 0.06 <= 0.7 + 0.14 + 0.06
    during = len(decoded)
    assert all(each < 1.0 for each in decoded)
    assert stream.flush() == []
    assert len(decoded) == during, "the turn's end decodes silence again"


def test_what_was_said_is_decoded_while_it_is_not_yet_sure_that_a_pause_follows() -> None:
    decoded: list[float] = []

    def decode(samples: np.ndarray) -> str:
        decoded.append(len(samples) / RATE_HZ)
        return "one two"

    stream = moonshine_worker.Stream(decode)
    sound = loud_and_silent(0.62, 0.3)
    for first in range(0, len(sound), 320):
        decodings = len(decoded)
        if stream.push(first / RATE_HZ, sound[first : first + 320]):
            break
    # 140 ms of silence commit what was decoded after 80 ms of it.
    assert first / RATE_HZ == pytest.approx(0.62 + 0.14, abs=0.021)
    assert len(decoded) == decodings
    assert decoded[-1] == pytest.approx(0.62 + 0.08, abs=0.021)


def test_a_silence_too_short_for_a_pause_commits_nothing() -> None:
    stream = moonshine_worker.Stream(lambda _: "one two")
    assert not any(pushed(stream, loud_and_silent(0.62, 0.1, 0.1)))


def test_speech_that_is_never_understood_does_not_pile_up() -> None:
    longest = 0.0
    guesses = iter(range(10**6))

    def decode(samples: np.ndarray) -> str:
        nonlocal longest
        longest = max(longest, len(samples) / RATE_HZ)
        return f"nonsense{next(guesses)}"

    stream = moonshine_worker.Stream(decode)
    pushed(stream, loud_and_silent(60.0))
    assert longest <= 8.5


def test_a_crash_in_mid_sentence_is_counted_and_the_next_turn_is_heard(
    recogniser: ProcessRecogniser, jfk: np.ndarray, failures: list[Failure]
) -> None:
    assert recogniser.caps
    first = AudioChunk(0, RATE_HZ, jfk[: 2 * RATE_HZ])
    recogniser.push(first)
    pid = worker()
    os.kill(pid, signal.SIGSTOP)
    killer = threading.Timer(0.3, os.kill, (pid, signal.SIGKILL))
    killer.start()
    with pytest.raises(BackEndError, match="crashed"):
        recogniser.push(AudioChunk(first.end_ns, RATE_HZ, jfk[: 2 * RATE_HZ]))
    killer.join()
    assert errors(JFK.split(), said(listen(recogniser, jfk))) <= 4
    assert [failure.reason for failure in failures] == ["crashed"]


def test_a_hang_in_mid_sentence_is_ended_counted_and_the_next_turn_is_heard(
    jfk: np.ndarray, failures: list[Failure]
) -> None:
    recogniser = ProcessRecogniser(
        replace(MOONSHINE, start_ms=60_000, answer_ms=3_000), MonotonicClock(), failures.append
    )
    assert recogniser.caps
    first = AudioChunk(0, RATE_HZ, jfk[: 2 * RATE_HZ])
    recogniser.push(first)
    stopped = worker()
    os.kill(stopped, signal.SIGSTOP)
    with pytest.raises(BackEndError, match="hung"):
        recogniser.push(AudioChunk(first.end_ns, RATE_HZ, jfk[: 2 * RATE_HZ]))
    assert not Path(f"/proc/{stopped}").exists()
    assert errors(JFK.split(), said(listen(recogniser, jfk))) <= 4
    assert [(failure.reason, failure.restarted) for failure in failures] == [("hung", True)]
    started = worker()
    recogniser.close()
    assert not Path(f"/proc/{started}").exists(), "closing leaves a process behind"


def test_sound_at_another_rate_is_refused(recogniser: ProcessRecogniser) -> None:
    with pytest.raises(ValueError, match="48000"):
        recogniser.push(AudioChunk(0, 48_000, np.zeros(960, np.float32)))


def test_a_missing_package_names_its_remedy() -> None:
    program = replace(MOONSHINE, command=("no-such-program",))
    with pytest.raises(ConfigError, match="pip install"):
        ProcessRecogniser(program, MonotonicClock()).caps  # noqa: B018 - asking is what is tested


def test_weights_with_one_flipped_bit_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "weights.ort").write_bytes(b"good")
    known = "770e607624d689265ca6c44884d0807d9b054d23c473c106c72be9de08b7376c"
    monkeypatch.setattr(moonshine_worker, "MODEL_SHA256", {"weights.ort": known})
    moonshine_worker._verify(tmp_path)
    (tmp_path / "weights.ort").write_bytes(b"gooe")
    with pytest.raises(ValueError, match="damaged"):
        moonshine_worker._verify(tmp_path)
