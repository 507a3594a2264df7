"""Pocket TTS as a speaker, with a package that stands in for the real one and has its documented interface."""

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stream.clock import MonotonicClock
from stream.errors import BackEndError, ConfigError
from stream.speech.host import Host
from stream.speech.pocket import pocket
from stream.speech.protocol import ClonedVoice, SpokenChunk
from stream.speech.speak import ProcessSpeaker
from tests.stream.speech.conformance import check_chunks
from tests.stream.speech.programs import fake_pocket

pytestmark = pytest.mark.unit


@pytest.fixture
def speaker() -> Iterator[ProcessSpeaker]:
    speaker = ProcessSpeaker(fake_pocket(), MonotonicClock())
    yield speaker
    speaker.close()


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "somebody.wav"
    path.write_text("1000")
    return path


def _pitch_hz(chunks: list[SpokenChunk]) -> float:
    samples = np.concatenate([chunk.samples for chunk in chunks])
    return float(np.abs(np.fft.rfft(samples)).argmax() * chunks[0].sample_rate_hz / len(samples))


def test_it_says_that_it_clones_and_has_no_phones(speaker: ProcessSpeaker) -> None:
    caps = speaker.caps
    assert caps.clones
    assert not caps.phone_times
    assert caps.languages == ("de", "en", "es", "fr", "it", "pt")


def test_sound_comes_as_it_is_made(speaker: ProcessSpeaker) -> None:
    chunks = list(speaker.speak(1, "Hello.", "en"))
    check_chunks(chunks, 1)
    assert len(chunks) == len("Hello.")


def test_a_voice_of_which_there_is_a_recording_and_consent_is_spoken_with(
    speaker: ProcessSpeaker, recording: Path
) -> None:
    own = list(speaker.speak(1, "Hello everybody", "en"))
    cloned = list(speaker.speak(2, "Hello everybody", "en", voice=ClonedVoice(recording, consent=True)))
    assert _pitch_hz(cloned) == pytest.approx(1000, abs=10)
    assert _pitch_hz(own) != pytest.approx(1000, abs=100)


def test_a_recording_that_changed_is_heard_anew(speaker: ProcessSpeaker, recording: Path) -> None:
    voice = ClonedVoice(recording, consent=True)
    list(speaker.speak(1, "Hello", "en", voice=voice))
    recording.unlink()
    recording.write_text("2000")
    assert _pitch_hz(list(speaker.speak(2, "Hello", "en", voice=voice))) == pytest.approx(2000, abs=10)


def test_without_consent_neither_end_of_the_pipe_speaks(speaker: ProcessSpeaker, recording: Path) -> None:
    with pytest.raises(BackEndError, match="consent"):
        list(speaker.speak(1, "Hello", "en", voice=ClonedVoice(recording)))
    host = Host(fake_pocket(), MonotonicClock())
    with pytest.raises(BackEndError, match="consent"):
        list(host.exchange("speak", 1, text="Hello", language="en", rate=1.0, voice=None, reference=str(recording)))
    host.close()


@pytest.mark.parametrize("content", [None, "no sound"])
def test_a_recording_that_cannot_be_read_is_refused(
    speaker: ProcessSpeaker, recording: Path, content: str | None
) -> None:
    recording.unlink()
    if content is not None:
        recording.write_text(content)
    with pytest.raises(BackEndError, match=r"somebody\.wav cannot be cloned"):
        list(speaker.speak(1, "Hello", "en", voice=ClonedVoice(recording, consent=True)))
    assert list(speaker.speak(2, "Hello", "en"))


@pytest.mark.parametrize("voice", ["nobody", "cosette", "hf://somebody/voice.wav", "/somebody.wav"])
def test_only_the_voices_that_it_names_are_its_own(speaker: ProcessSpeaker, voice: str) -> None:
    with pytest.raises(BackEndError, match="has no voice"):
        list(speaker.speak(1, "Hello", "en", voice=voice))


def test_speed_changes_the_length_and_not_the_pitch(speaker: ProcessSpeaker) -> None:
    text = "a clause that lasts a while"
    own, fast = list(speaker.speak(1, text, "en")), list(speaker.speak(2, text, "en", rate=1.5))
    check_chunks(fast, 2)
    assert own[-1].end_ns / fast[-1].end_ns == pytest.approx(1.5, rel=0.05)
    assert _pitch_hz(fast) == pytest.approx(_pitch_hz(own), rel=0.05)


def test_the_larger_model_is_taken_where_the_package_has_no_other(speaker: ProcessSpeaker) -> None:
    assert list(speaker.speak(1, "Bonjour", "fr"))


def test_a_language_without_a_model_in_this_version_is_refused(speaker: ProcessSpeaker) -> None:
    with pytest.raises(BackEndError, match="no model for 'de': looked for german, german_24l"):
        list(speaker.speak(1, "Hallo", "de"))
    assert list(speaker.speak(2, "Hello", "en"))


@pytest.mark.parametrize("text", ["", " ", "?!"])
def test_a_text_without_words_makes_no_sound(speaker: ProcessSpeaker, text: str) -> None:
    assert list(speaker.speak(1, text, "en")) == []


def test_without_the_package_it_says_what_to_install() -> None:
    code = "import sys; sys.modules['pocket_tts'] = None; from stream.speech.pocket_worker import main; main()"
    speaker = ProcessSpeaker(replace(pocket(), command=(sys.executable, "-c", code)), MonotonicClock())
    with pytest.raises(ConfigError, match="pip install pocket-tts"):
        _ = speaker.caps
    speaker.close()
