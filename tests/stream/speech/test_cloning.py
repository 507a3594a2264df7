"""A person's voice is used with consent alone, whatever layer is asked."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stream.clock import MonotonicClock
from stream.errors import BackEndError
from stream.speech.espeak import ESPEAK
from stream.speech.host import Host
from stream.speech.protocol import ClonedVoice, read_caps
from stream.speech.speak import ProcessSpeaker
from stream.speech.speak_request import read_request
from stream.speech.wire import Message
from stream.speech.worker import Refused
from tests.stream.speech.programs import scripted

pytestmark = pytest.mark.unit

RECORDING = Path("somebody.wav")


@pytest.fixture
def speaker() -> Iterator[ProcessSpeaker]:
    speaker = ProcessSpeaker(scripted(), MonotonicClock())
    yield speaker
    speaker.close()


def _message(**fields: Any) -> Message:
    asked = {"kind": "speak", "text": "text", "language": "en", "rate": 1.0, "voice": None}
    return Message({**asked, **fields})


def test_consent_is_not_taken_for_granted() -> None:
    assert not ClonedVoice(RECORDING).consent


def test_a_recording_without_consent_is_refused_before_anything_runs(speaker: ProcessSpeaker) -> None:
    with pytest.raises(BackEndError, match=r"somebody\.wav .*ask that person, .*consent=True"):
        list(speaker.speak(1, "text", "en", voice=ClonedVoice(RECORDING)))
    assert speaker.health().state == "stopped"


def test_a_recording_with_consent_is_refused_by_a_speaker_that_does_not_clone(speaker: ProcessSpeaker) -> None:
    assert not speaker.caps.clones
    with pytest.raises(BackEndError, match="does not clone voices"):
        list(speaker.speak(1, "text", "en", voice=ClonedVoice(RECORDING, consent=True)))
    assert list(speaker.speak(2, "text", "en"))


def test_caps_say_whether_a_speaker_clones() -> None:
    said = {"name": "x", "licence": "MIT", "commercial": True, "quality": "good", "languages": ["en"]}
    assert not read_caps(said).clones
    assert read_caps({**said, "clones": True}).clones


# Only the very word true is consent: a worker may be asked by others than `ProcessSpeaker`.
@pytest.mark.parametrize("stated", [{}, {"consent": False}, {"consent": None}, {"consent": "no"}, {"consent": 1}])
def test_a_worker_refuses_a_recording_without_consent_even_if_it_clones(stated: dict[str, Any]) -> None:
    with pytest.raises(Refused, match="consent of the person"):
        read_request(_message(reference="somebody.wav", **stated), languages=["en"], voices=[], clones=True)


def test_a_worker_takes_a_recording_with_consent_only_if_it_clones() -> None:
    message = _message(reference="somebody.wav", consent=True)
    asked = read_request(message, languages=["en"], voices=[], clones=True)
    assert asked.reference == "somebody.wav"
    with pytest.raises(Refused, match="does not clone"):
        read_request(message, languages=["en"], voices=[])


def test_a_voice_s_name_is_no_way_around_consent() -> None:
    with pytest.raises(Refused, match="has no voice"):
        read_request(_message(voice="/somebody.wav"), languages=["en"], voices=["own"], clones=True)


@pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng is not installed: apt-get install espeak-ng")
def test_espeak_refuses_a_recording_by_itself() -> None:
    host = Host(ESPEAK, MonotonicClock())
    fields: dict[str, Any] = {
        "text": "Hola.",
        "language": "es",
        "rate": 1.0,
        "voice": None,
        "reference": "somebody.wav",
    }
    with pytest.raises(BackEndError, match="consent of the person"):
        list(host.exchange("speak", 1, **fields))
    with pytest.raises(BackEndError, match="does not clone"):
        list(host.exchange("speak", 2, consent=True, **fields))
    host.close()
