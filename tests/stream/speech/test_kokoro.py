"""Kokoro's symbols, files and refusals, without its model."""

import hashlib
import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from stream.clock import MonotonicClock
from stream.errors import BackEndError, ConfigError
from stream.speech.host import Program
from stream.speech.kokoro import kokoro
from stream.speech.kokoro_worker import HOP, Kokoro, read_vocabulary, read_voices, symbols_of
from stream.speech.model_list import KOKORO_82M
from stream.speech.speak import ProcessSpeaker
from stream.speech.wire import Message
from stream.speech.worker import Refused
from tests.stream.speech.voice_fakes import FakePhonemisers, Heard, write_network

pytestmark = pytest.mark.unit

# The letters that the tests use, with numbers of their own.
VOCABULARY = {
    symbol: 1 + index for index, symbol in enumerate(" ,.?ˈˌːabdefhijklmnopstuwxzðŋɔəɛɜɡɣɪɲɹɾʃʊʌʧʤθβAIOQWYTᵊ")
}
STYLES = np.zeros((510, 1, 256), np.float32)


@pytest.mark.parametrize(
    ("phonemes", "language", "symbols"),
    [
        ("t^ʃˈɔ^ɪs", "en", "ʧˈYs"),
        ("nˈe^ɪʃən hˈa^ʊs no^ʊ pɹˈa^ɪs", "en", "nˈAʃən hˈWs nO pɹˈIs"),
        ("bˈʌʔn̩ bˈɑːɾə^l", "en", "bˈʌtᵊn bˈTᵊl"),
        ("bˈɛɾɚ θˈɜːsti wˈɜːɹd", "en", "bˈɛTəɹ θˈɜɹsti wˈɜɹd"),
        ("ˈo^ɪ mut^ʃˈat^ʃo kontˈiɣo", "es", "ˈoɪ muʧˈaʧo kontˈiɣo"),
        ("pˈeɾo", "es", "pˈeɾo"),
        ("kˈart͈a", "es", "kˈata"),
    ],
)
def test_phonemes_are_written_as_the_model_knows_them(phonemes: str, language: str, symbols: str) -> None:
    assert symbols_of(phonemes, language, VOCABULARY) == symbols


def _write_folder(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({"vocab": VOCABULARY}))
    np.savez(folder / "voices_ja.npz", first=STYLES, second=STYLES)
    write_network(folder / "model.onnx")
    return folder


def test_voices_and_symbols_are_read(tmp_path: Path) -> None:
    folder = _write_folder(tmp_path)
    assert read_vocabulary(folder / "vocab.json") == VOCABULARY
    assert set(read_voices(folder)) == {"first", "second"}


@pytest.mark.parametrize("text", ["[]", "{}", '{"vocab": 3}', '{"vocab": {"a": "x"}}', "no json"])
def test_a_vocabulary_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "vocab.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"vocab\.json must be"):
        read_vocabulary(path)


def test_voices_of_another_shape_or_none_at_all_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"has no voices\*\.npz"):
        read_voices(tmp_path)
    np.savez(tmp_path / "voices_xx.npz", odd=STYLES[:5])
    with pytest.raises(ValueError, match="voice odd has shape"):
        read_voices(tmp_path)


class FakeNetwork:
    """A tone for every symbol, each of which lasts four frames."""

    phone_times = True

    def __init__(self) -> None:
        self.feeds: list[dict[str, Any]] = []

    def run(self, feed: dict[str, Any]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        self.feeds.append(feed)
        frames = np.full(feed["tokens"].shape[1], 4)
        return np.full(int(frames.sum()) * HOP, 0.25, np.float32), frames


def _speak(text: str, answer: Heard, **asked: Any) -> FakeNetwork:
    network = FakeNetwork()
    voices = {"first": STYLES, "second": STYLES + np.arange(510, dtype=np.float32)[:, None, None]}
    speaker: Any = Kokoro
    worker = speaker(network, VOCABULARY, voices, FakePhonemisers(), ("Apache-2.0", True))
    fields = {"kind": "speak", "text": text, "language": "es", "rate": 1.0, "voice": None, **asked}
    worker.speak(Message(fields), answer)
    return network


def _spoken(network: FakeNetwork) -> list[Sequence[int]]:
    return [feed["tokens"][0].tolist() for feed in network.feeds]


def test_a_clause_is_given_with_its_punctuation_between_pads_and_comes_with_its_phones() -> None:
    answer = Heard()
    network = _speak("¡Hola, adiós!", answer)
    assert _spoken(network) == [[0, *(VOCABULARY[symbol] for symbol in "ˈola, aðjˈos"), 0]]
    (sent,) = answer.sent
    assert (sent["kind"], sent["start"], sent["rate_hz"]) == ("sound", 0, 24_000)
    assert "".join(ipa or "_" for ipa, _, _ in sent["phones"]) == "_ola_aðjos_"
    assert sent["phones"][-1][2] == len(sent["samples"])


def test_phones_lie_two_frames_before_the_durations_say() -> None:
    answer = Heard()
    _speak("Hola", answer)
    # A pad of four frames, of which two are left; the fake's tone lasts through all of them.
    assert answer.sent[0]["phones"][:2] == [("", 0, 2 * HOP), ("o", 2 * HOP, 10 * HOP)]


def test_speed_and_the_style_for_the_length_go_to_the_network() -> None:
    network = _speak("Hola", Heard(), rate=1.3, voice="second")
    (feed,) = network.feeds
    assert feed["speed"].tolist() == pytest.approx([1.3])
    assert feed["style"][0, 0] == len("ˈola") - 1


def test_a_long_clause_is_cancelled_between_its_parts() -> None:
    answer = Heard(cancelled_after=1)
    network = _speak("Hola, adiós. " * 40, answer)
    assert len(network.feeds) == 1


@pytest.mark.parametrize("text", ["", "?!", "nada"])
def test_what_has_no_phonemes_is_not_given_to_the_network(text: str) -> None:
    answer = Heard()
    assert _speak(text, answer).feeds == []
    assert answer.sent == []


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"voice": "nobody"}, "has no voice 'nobody'; it has first, second"),
        ({"language": "ja"}, "does not speak 'ja'"),
        ({"rate": 3.0}, "rate is 3.0"),
        ({"reference": "a.wav", "consent": True}, "does not clone"),
        ({"reference": "a.wav"}, "consent of the person"),
    ],
)
def test_what_it_cannot_do_is_refused(asked: dict[str, Any], why: str) -> None:
    with pytest.raises(Refused, match=why):
        _speak("Hola", Heard(), **asked)


def _ready(program: Program) -> None:
    speaker = ProcessSpeaker(replace(program, start_ms=60_000), MonotonicClock())
    try:
        _ = speaker.caps
    finally:
        speaker.close()


def test_a_model_that_was_not_fetched_is_named_with_the_command_that_fetches_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"is not there.*visavis models get kokoro-82m"):
        _ready(kokoro(tmp_path))


def test_a_flipped_bit_in_a_fetched_model_is_found_before_it_speaks(tmp_path: Path) -> None:
    folder = tmp_path / "kokoro-82m"
    folder.mkdir()
    # As long as it should be, which only its hash tells from the right one.
    with (folder / "model.onnx").open("wb") as file:
        file.truncate(KOKORO_82M.files[0].size_bytes)
    with pytest.raises(ConfigError, match=r"model\.onnx has SHA-256 [0-9a-f]{64}, expected 6e742170"):
        _ready(kokoro(tmp_path))


@pytest.mark.parametrize("name", ["model.onnx", "vocab.json", "voices_ja.npz"])
def test_a_folder_without_one_of_the_files_is_refused_by_name(tmp_path: Path, name: str) -> None:
    folder = _write_folder(tmp_path / "own")
    (folder / name).unlink()
    with pytest.raises(ConfigError, match=r"model\.onnx|vocab\.json|voices\*\.npz"):
        _ready(kokoro(tmp_path, str(folder)))


@pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng is not installed: apt-get install espeak-ng")
def test_a_folder_of_somebody_s_own_is_taken_and_its_terms_are_not_known(tmp_path: Path) -> None:
    folder = _write_folder(tmp_path / "own")
    before = {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}
    speaker = ProcessSpeaker(replace(kokoro(tmp_path, str(folder)), start_ms=60_000), MonotonicClock())
    caps = speaker.caps
    assert (caps.licence, caps.commercial, caps.voices) == ("NOASSERTION", False, ("first", "second"))
    assert not caps.phone_times
    with pytest.raises(BackEndError, match="has no voice"):
        list(speaker.speak(1, "Hola", "es", voice="nobody"))
    speaker.close()
    assert before == {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def test_without_espeak_it_says_what_to_install(tmp_path: Path) -> None:
    folder = _write_folder(tmp_path / "own")
    code = (
        "from stream.speech import onnx_voice, kokoro_worker as w; onnx_voice.PROGRAM = 'no-espeak'; "
        f"import sys; sys.argv = ['', {str(folder)!r}, '/', '1']; w.main()"
    )
    program = replace(kokoro(tmp_path), command=(sys.executable, "-c", code))
    with pytest.raises(ConfigError, match=r"no-espeak.*apt-get install espeak-ng"):
        _ready(program)
