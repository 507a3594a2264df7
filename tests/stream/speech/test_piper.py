"""Piper's voices: what their description says, their symbols and refusals, without a real one."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from stream.clock import MonotonicClock
from stream.errors import ConfigError
from stream.speech.piper import piper
from stream.speech.piper_worker import HOP, Piper, find_voice, read_config, symbols_of
from stream.speech.speak import ProcessSpeaker
from stream.speech.wire import Message
from stream.speech.worker import Refused
from tests.stream.speech.voice_fakes import FakePhonemisers, Heard, write_network

pytestmark = pytest.mark.unit

NUMBERS = {symbol: [index] for index, symbol in enumerate("_^$ ,.!ˈaðjlosç")}
SAID: dict[str, Any] = {
    "audio": {"sample_rate": 22_050},
    "espeak": {"voice": "es"},
    "inference": {"noise_scale": 0.6, "length_scale": 1.2, "noise_w": 0.8},
    "phoneme_id_map": NUMBERS,
    "language": {"code": "es_MX"},
}


def _write(folder: Path, said: object = SAID) -> Path:
    path = folder / "voice.onnx.json"
    path.write_text(json.dumps(said))
    return path


def test_a_description_is_read(tmp_path: Path) -> None:
    config = read_config(_write(tmp_path))
    assert (config.rate_hz, config.espeak, config.languages) == (22_050, "es", ("es-MX", "es"))
    assert (config.length_scale, config.noise_scale, config.noise_w) == (1.2, 0.6, 0.8)
    assert config.numbers["a"] == tuple(NUMBERS["a"])
    assert config.speakers == {}


def test_the_language_of_an_old_description_is_that_of_its_phonemes(tmp_path: Path) -> None:
    old = {key: value for key, value in SAID.items() if key != "language"}
    assert read_config(_write(tmp_path, old)).languages == ("es",)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({**SAID, "phoneme_type": "text"}, "type 'text', only 'espeak'"),
        ({**SAID, "inference": {}}, "noise_scale|length_scale"),
        ({**SAID, "audio": {"sample_rate": "fast"}}, "not the description"),
        ([], "not the description"),
    ],
)
def test_a_description_that_cannot_be_spoken_is_refused_by_name(tmp_path: Path, said: object, why: str) -> None:
    with pytest.raises(ValueError, match=why) as error:
        read_config(_write(tmp_path, said))
    assert "voice.onnx.json" in str(error.value)


def test_a_folder_has_one_voice(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="found none"):
        find_voice(tmp_path)
    (tmp_path / "one.onnx").touch()
    assert find_voice(tmp_path).name == "one.onnx"
    (tmp_path / "two.onnx").touch()
    with pytest.raises(ValueError, match=r"found one\.onnx, two\.onnx"):
        find_voice(tmp_path)


@pytest.mark.parametrize(
    ("spoken", "symbols"),
    [
        ("ˈol^a.", "^_ˈ_o_l_a_._$"),
        ("aça", "^_a_c_̧_a_$"),
        ("a☃a", "^_a_a_$"),
        ("^a_$", "^_a_$"),
        ("", "^_$"),
    ],
)
def test_symbols_stand_between_blanks_and_unknown_ones_are_left_out(spoken: str, symbols: str) -> None:
    assert "".join(symbols_of(spoken, {symbol: tuple(ids) for symbol, ids in NUMBERS.items()})) == symbols


class FakeNetwork:
    """A tone for every symbol, each of which lasts three frames."""

    phone_times = True
    inputs = frozenset({"input", "input_lengths", "scales", "sid"})

    def __init__(self) -> None:
        self.feeds: list[dict[str, Any]] = []

    def run(self, feed: dict[str, Any]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        self.feeds.append(feed)
        frames = np.full(feed["input"].shape[1], 3)
        return np.full(int(frames.sum()) * HOP, 0.25, np.float32), frames


def _speak(tmp_path: Path, answer: Heard, **asked: Any) -> FakeNetwork:
    network = FakeNetwork()
    config = replace(read_config(_write(tmp_path)), speakers={"low": 0, "high": 4})
    speaker: Any = Piper
    worker = speaker("voice", network, config, FakePhonemisers(), ("NOASSERTION", False))
    fields = {"kind": "speak", "text": "Hola, adiós", "language": "es", "rate": 1.0, "voice": None, **asked}
    worker.speak(Message(fields), answer)
    return network


def test_speed_noise_and_speaker_go_to_the_network_and_phones_come_back(tmp_path: Path) -> None:
    answer = Heard()
    (feed,) = _speak(tmp_path, answer, rate=1.5, voice="high").feeds
    assert feed["scales"].tolist() == pytest.approx([0.6, 0.8, 0.8])
    assert feed["sid"].tolist() == [4]
    assert feed["input_lengths"].tolist() == [feed["input"].shape[1]]
    (sent,) = answer.sent
    assert sent["rate_hz"] == 22_050
    assert "".join(ipa or "_" for ipa, _, _ in sent["phones"]) == "_ola_aðjos_"
    assert sent["phones"][-1][2] == len(sent["samples"])


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"voice": "nobody"}, "has no voice 'nobody'; it has high, low"),
        ({"language": "fr"}, "does not speak 'fr'; it speaks es, es-MX"),
        ({"reference": "a.wav"}, "consent of the person"),
    ],
)
def test_what_it_cannot_do_is_refused(tmp_path: Path, asked: dict[str, Any], why: str) -> None:
    with pytest.raises(Refused, match=why):
        _speak(tmp_path, Heard(), **asked)


def _why_not(models: Path, model: str) -> str:
    speaker = ProcessSpeaker(replace(piper(models, model), start_ms=60_000), MonotonicClock())
    with pytest.raises(ConfigError) as error:
        _ = speaker.caps
    speaker.close()
    return str(error.value)


def test_a_voice_that_was_not_fetched_is_named_with_the_command_that_fetches_it(tmp_path: Path) -> None:
    assert "visavis models get piper-joe" in _why_not(tmp_path, "piper-joe")


def test_a_voice_without_its_description_is_refused_by_name(tmp_path: Path) -> None:
    write_network(tmp_path / "voice.onnx")
    assert "voice.onnx.json" in _why_not(tmp_path, str(tmp_path))


def test_a_language_that_espeak_does_not_have_is_refused(tmp_path: Path) -> None:
    write_network(tmp_path / "voice.onnx")
    _write(tmp_path, {**SAID, "espeak": {"voice": "xx-nowhere"}})
    assert "espeak-ng" in _why_not(tmp_path, str(tmp_path))
