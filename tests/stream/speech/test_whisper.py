"""Whisper's worker: what a stream of guesses becomes, with an ear that is scripted, and which models are taken."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stream.clock import MonotonicClock
from stream.errors import ConfigError
from stream.speech.agreement import Guess
from stream.speech.recognise import ProcessRecogniser
from stream.speech.whisper import whisper, whisper_folder
from stream.speech.whisper_network import Vocabulary, believable, log_mel, loops, mel_filters
from stream.speech.whisper_worker import Stream, Tongue, Whisper, heard_languages
from stream.speech.wire import Message
from tests.stream.speech.model_files import from_web, model, sha256

pytestmark = pytest.mark.unit

RATE_HZ = 16_000
WORD = RATE_HZ * 3 // 10


def speech(first: int, count: int) -> np.ndarray:
    """Sound in which a word is 300 ms of one level; `Reading` reads the levels."""
    return np.repeat(0.1 + np.arange(first, first + count) * 1e-4, WORD).astype(np.float32)


class Reading:
    """An ear that reads the words of `speech`, whole or not, and knows a language when it is told.

    Attributes:
        longest: Samples of the longest sound that it was given.
        asked: (said, context, language, task) of each decoding.
        detections: What it answers next when asked for a language.
    """

    def __init__(self, *detections: tuple[str, float]) -> None:
        self.longest = 0
        self.asked: list[tuple[list[str], str, str, str]] = []
        self.detections = list(detections)

    def detect(self, samples: np.ndarray) -> tuple[str, float]:  # noqa: ARG002 - the signature of an ear
        return self.detections.pop(0)

    def decode(self, samples: np.ndarray, said: Sequence[str], context: str, language: str, task: str) -> list[Guess]:
        self.longest = max(self.longest, len(samples))
        self.asked.append((list(said), context, language, task))
        levels = np.round((samples - 0.1) * 1e4)
        edges = [0, *(np.flatnonzero(np.diff(levels)) + 1), len(samples)]
        return [
            Guess(f"w{int(levels[begin])}", begin / RATE_HZ, end / RATE_HZ)
            for begin, end in pairwise(edges)
            if samples[begin] > 0.05 and end - begin > WORD // 2
        ]


class Muddled(Reading):
    """An ear that never hears the same twice."""

    def decode(self, samples: np.ndarray, said: Sequence[str], context: str, language: str, task: str) -> list[Guess]:
        super().decode(samples, said, context, language, task)
        return [Guess(f"x{len(self.asked)}", 0.1, 0.4)]


class Ticking:
    """A clock that goes on by itself at each look."""

    def __init__(self, tick_s: float) -> None:
        self.now_s = 0.0
        self.tick_s = tick_s

    def __call__(self) -> float:
        self.now_s += self.tick_s
        return self.now_s


def stream_of(ear: Reading, language: str | None = "en", task: str = "transcribe", tick_s: float = 0.0) -> Stream:
    return Stream(ear, Tongue(ear, language), task=task, step_s=0.5, clock=Ticking(tick_s))


def listen(stream: Stream, samples: np.ndarray, from_s: float = 0.0) -> list[Guess]:
    words: list[Guess] = []
    for first in range(0, len(samples), RATE_HZ // 10):
        words += stream.push(from_s + first / RATE_HZ, samples[first : first + RATE_HZ // 10])
    return words


def texts(words: Sequence[Guess]) -> list[str]:
    return [word.text for word in words]


def test_every_word_is_committed_once_and_in_order_however_often_the_sound_is_cut() -> None:
    ear = Reading()
    stream = stream_of(ear)
    words = listen(stream, speech(0, 200)) + stream.flush()
    assert texts(words) == [f"w{index}" for index in range(200)]
    assert all(one.end_s <= other.start_s for one, other in pairwise(words))


def test_words_are_committed_while_speech_goes_on() -> None:
    stream = stream_of(Reading())
    committed = listen(stream, speech(0, 20))
    assert len(committed) >= 16
    assert texts([*committed, *stream.tentative])[: len(committed)] == texts(committed)


def test_what_is_certain_is_handed_back_as_the_beginning_and_as_context() -> None:
    ear = Reading()
    listen(stream_of(ear), speech(0, 100))
    said, context, *_ = ear.asked[-1]
    known = [*context.split(), *said]
    last = int(known[-1][1:])
    assert known == [f"w{index}" for index in range(last - len(known) + 1, last + 1)]
    assert 0 < len(context.split()) <= 15


def test_sound_stays_bounded_when_no_word_is_ever_committed() -> None:
    ear = Muddled()
    stream = stream_of(ear)
    minute = np.full(60 * RATE_HZ, 0.1, np.float32)
    words = [word for index in range(10) for word in listen(stream, minute, from_s=60.0 * index)]
    assert words == []
    assert ear.longest <= 7 * RATE_HZ
    assert len(ear.asked) >= 600


def test_silence_is_neither_decoded_nor_kept() -> None:
    ear = Reading()
    stream = stream_of(ear)
    assert listen(stream, np.zeros(60 * RATE_HZ, np.float32)) == []
    assert ear.asked == []
    words = listen(stream, speech(0, 10), from_s=60.0) + stream.flush()
    assert texts(words) == [f"w{index}" for index in range(10)]
    assert ear.longest < 5 * RATE_HZ


def test_a_slow_machine_is_asked_less_often() -> None:
    slow, quick = Reading(), Reading()
    listen(stream_of(slow, tick_s=2.0), speech(0, 100))
    listen(stream_of(quick), speech(0, 100))
    # 30 s of sound: every 0.5 s, and every 1.2 times the 2 s that a decoding takes.
    assert len(quick.asked) == 60
    assert 12 <= len(slow.asked) <= 14


def test_a_language_is_detected_once_and_kept_while_another_is_only_likely() -> None:
    ear = Reading(("de", 0.7), ("fr", 0.7), ("fr", 0.9))
    stream = stream_of(ear, language=None)
    languages = []
    for turn in range(3):
        listen(stream, speech(0, 12), from_s=100.0 * turn)
        stream.flush()
        languages.append(stream.language)
    assert languages == ["de", "de", "fr"]
    assert ear.detections == []


def test_an_uncertain_language_is_waited_for() -> None:
    ear = Reading(("cy", 0.3), ("cy", 0.4), ("de", 0.8))
    stream = stream_of(ear, language=None)
    listen(stream, speech(0, 12))
    assert {language for *_, language, _ in ear.asked} == {"de"}


def test_after_three_seconds_the_best_guess_serves_until_it_is_corrected() -> None:
    ear = Reading(*[("cy", 0.3)] * 5, ("de", 0.7))
    stream = stream_of(ear, language=None)
    listen(stream, speech(0, 12))
    assert stream.language == "cy"
    stream.flush()
    listen(stream, speech(0, 12), from_s=50.0)
    assert stream.language == "de"


def test_a_short_turn_is_heard_before_its_language_is_certain() -> None:
    stream = stream_of(Reading(("es", 0.4)), language=None)
    listen(stream, speech(0, 2))
    assert texts(stream.flush()) == ["w0", "w1"]


def test_translated_words_are_english_whatever_is_spoken() -> None:
    ear = Reading(("de", 0.9))
    stream = stream_of(ear, language=None, task="translate")
    listen(stream, speech(0, 12))
    assert stream.language == "en"
    assert {asked[2:] for asked in ear.asked} == {("de", "translate")}


@pytest.mark.parametrize(("pause_s", "context"), [(1.0, "w0 w1 w2 w3"), (11.0, "")])
def test_what_was_said_before_is_forgotten_in_a_long_silence(pause_s: float, context: str) -> None:
    ear = Reading()
    stream = stream_of(ear)
    listen(stream, speech(0, 4))
    stream.flush()
    listen(stream, speech(4, 4), from_s=1.2 + pause_s)
    assert ear.asked[-1][1] == context


class Sent:
    """Holds what was answered."""

    cancelled = False

    def __init__(self) -> None:
        self.parts: list[dict[str, Any]] = []

    def send(self, kind: str, **fields: Any) -> None:
        assert kind == "heard"
        self.parts.append(fields)


def test_a_gap_ends_the_turn_and_begins_another() -> None:
    answered = Sent()
    answers = Whisper(stream_of(Reading()))
    for pts_s, first in ((0.0, 0), (30.0, 50)):
        sound = Message({"kind": "push", "pts_ns": int(pts_s * 1e9)}, speech(first, 10).tobytes())
        answers.push(sound, answered)  # type: ignore[arg-type]
    answers.flush(Message({"kind": "flush"}), answered)  # type: ignore[arg-type]
    ends = [index for index, part in enumerate(answered.parts) if part["endpoint"]]
    # Three seconds are answered half a second at a time.
    assert ends == [6, 13]
    parts = [answered.parts[:7], answered.parts[7:]]
    turns = [[word for part in turn for word in part["committed"]] for turn in parts]
    assert [word[0] for word in turns[0]] == [f"w{index}" for index in range(10)]
    assert [word[0] for word in turns[1]] == [f"w{index}" for index in range(50, 60)]
    assert turns[0][-1][2] <= answered.parts[6]["heard_ns"] <= 3_000_000_000
    assert turns[1][0][1] >= 30_000_000_000


def test_languages_without_spaces_are_heard_only_when_they_are_translated() -> None:
    assert heard_languages(("en", "zh", "de"), translate=False) == ["en", "de"]
    assert heard_languages(("en", "zh", "de"), translate=True) == ["en", "zh", "de"]


def test_a_text_that_says_the_same_over_and_over_is_a_loop() -> None:
    assert loops("in being comparatively modern, " * 12)
    assert not loops("And so, my fellow Americans: ask not what your country can do for you.")


def test_words_without_sound_are_not_believed() -> None:
    heard = [Guess("ask", 0.0, 0.4), Guess("not", 0.4, 0.9)]
    at_the_end = [Guess("ask", 1.96, 1.96), Guess("not", 1.96, 1.98)]
    squeezed = [Guess("ask", 0.9, 0.92), Guess("not", 0.92, 0.92), Guess("what", 0.92, 1.0)]
    assert believable(heard, 0, 2.0) == heard
    assert believable([*heard, *at_the_end], 0, 2.0) == heard
    assert believable([*heard, *squeezed], 0, 2.0) == heard
    # What was committed is not taken back.
    assert believable([*heard, *at_the_end], 3, 2.0) == [*heard, at_the_end[0]]


MARKS = ["<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|jw|>", "<|translate|>", "<|transcribe|>"]
MARKS += ["<|startofprev|>", "<|notimestamps|>"]


def test_words_become_tokens_in_the_order_in_which_pairs_were_merged() -> None:
    known = Vocabulary(["\u0120", "a", "b", "c", "\u00c3", "\u00bc", "\u0120a", "bc", "ab", *MARKS])
    assert known.encoded(["abc"]) == [6, 7]
    assert known.text([6, 7, 0, 4, 5]) == " abc \u00fc"
    assert known.word_starts([6, 7, 0, 4, 5]) == [0, 2]
    assert known.languages == ("en", "jv")
    assert known.start("jv", "translate") == [10, 12, 13, 16]
    assert known.start(None, "transcribe") == [10, 16]


def test_a_vocabulary_of_another_kind_of_model_is_refused() -> None:
    with pytest.raises(ValueError, match="Whisper"):
        Vocabulary(["a", "b"])


def test_a_tone_is_in_the_band_of_its_frequency() -> None:
    tone = np.sin(2 * np.pi * 1000 * np.arange(RATE_HZ) / RATE_HZ).astype(np.float32)
    spectrogram = log_mel(tone, mel_filters(80))
    assert spectrogram.shape == (80, 100)
    # 1000 Hz is 15 of the 45.25 mels that 81 steps divide.
    assert set(spectrogram[:, 10:90].argmax(axis=0)) == {round(15 / 45.2456 * 81) - 1}
    assert spectrogram.max() - spectrogram.min() <= 2.0


CATALOGUE = {"whisper-small.test": model(from_web("", b"weights"), name="whisper-small.test")}


def test_a_model_of_the_catalogue_must_be_what_is_pinned(tmp_path: Path) -> None:
    path = tmp_path / "whisper-small.test" / "model.bin"
    with pytest.raises(ConfigError, match=r"not there.*visavis models get whisper-small\.test"):
        whisper_folder("whisper-small.test", tmp_path, CATALOGUE)
    path.parent.mkdir()
    path.write_bytes(b"weights")
    assert whisper_folder("whisper-small.test", tmp_path, CATALOGUE) == path.parent
    path.write_bytes(b"weighps")
    with pytest.raises(ConfigError, match=f"{sha256(b'weighps')}.*visavis models get whisper-small"):
        whisper_folder("whisper-small.test", tmp_path, CATALOGUE)


@pytest.mark.parametrize("missing", ["model.bin", "config.json", "vocabulary.txt"])
def test_a_folder_of_ones_own_is_taken_when_it_is_whole(tmp_path: Path, missing: str) -> None:
    for name in ("model.bin", "config.json", "vocabulary.txt"):
        (tmp_path / name).write_bytes(b"own")
    assert whisper_folder(str(tmp_path), tmp_path / "nowhere") == tmp_path
    (tmp_path / missing).unlink()
    with pytest.raises(ConfigError, match=f"has no {missing}"):
        whisper_folder(str(tmp_path), tmp_path / "nowhere")


def test_a_name_that_is_not_known_is_answered_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="whisper-base"):
        whisper_folder("whisper-bass", tmp_path)


def test_what_is_missing_names_the_package_and_the_model(tmp_path: Path) -> None:
    recogniser = ProcessRecogniser(whisper(tmp_path / "none", language=None), MonotonicClock())
    with pytest.raises(ConfigError, match=r"visavis\[languages\].*visavis models get whisper-base"):
        recogniser.caps  # noqa: B018 - asking is what is tested
    recogniser.close()
