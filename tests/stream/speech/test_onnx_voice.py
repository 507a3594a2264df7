"""What Kokoro and Piper share, without their models: phonemes, parts, phone times, and what is cut off."""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest

from stream.speech import onnx_voice
from stream.speech.onnx_voice import Network, Phonemiser, Piece, phones_of, split, trimmed, with_output
from tests.stream.speech.voice_fakes import write_network

pytestmark = pytest.mark.unit

needs_espeak = pytest.mark.skipif(
    shutil.which("espeak-ng") is None, reason="espeak-ng is not installed: apt-get install espeak-ng"
)


@pytest.fixture
def spanish() -> Iterator[Phonemiser]:
    phonemiser = Phonemiser("es")
    yield phonemiser
    phonemiser.close()


@needs_espeak
@pytest.mark.parametrize(
    ("text", "phonemes"),
    [
        ("Mano", "mˈano"),
        ("muchacho", "mut^ʃˈat^ʃo"),
        ("uno. dos", "ˈuno ðˈos"),
        ("...", ""),
        ("", ""),
        ("uno\ndos\0tres", "ˈuno ðˈos tɾˈes"),
    ],
)
def test_a_text_becomes_phonemes(spanish: Phonemiser, text: str, phonemes: str) -> None:
    assert spanish.phonemes(text) == phonemes
    assert spanish.phonemes("dos") == "dˈos"


@needs_espeak
def test_phonemes_in_a_text_are_no_order_to_espeak(spanish: Phonemiser) -> None:
    assert spanish.phonemes("[[h@l'oU]]") == spanish.phonemes("h@l'oU")


@needs_espeak
def test_whatever_is_said_the_next_answer_is_the_next_text_s(spanish: Phonemiser) -> None:
    expected = spanish.phonemes("mañana")
    for text in ("zyzzyvaxyzzyz", "á" * 5_000, "\ud7ff\U0001f600", "- - -", "<b>&amp;</b>"):
        spanish.phonemes(text)
        assert spanish.phonemes("mañana") == expected


@needs_espeak
def test_the_language_of_a_foreign_word_is_not_spoken() -> None:
    french = Phonemiser("fr-fr")
    phonemes = french.phonemes("le weekend")
    french.close()
    assert "wiːk" in phonemes
    assert "(" not in phonemes


@needs_espeak
def test_a_language_that_espeak_does_not_have_is_an_error() -> None:
    with pytest.raises(OSError, match="no voice 'xx-nowhere'"):
        Phonemiser("xx-nowhere")


def test_a_missing_espeak_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_voice, "PROGRAM", "no-such-espeak")
    with pytest.raises(OSError, match="no-such-espeak"):
        Phonemiser("es")


def test_an_espeak_that_ends_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "espeak"
    program.write_text(f"#!{sys.executable}\nprint(input())\n")
    program.chmod(0o755)
    monkeypatch.setattr(onnx_voice, "PROGRAM", str(program))
    phonemiser = Phonemiser("es")
    with pytest.raises(EOFError, match="ended"):
        phonemiser.phonemes("uno")
    phonemiser.close()


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("¿Qué tal?", [("Qué tal", "?")]),
        ("Hola, mundo", [("Hola", ","), ("mundo", "")]),
        ("It's 3.5 km (or so)...", [("It's 3.5 km or so", ".")]),
        ("«Sí», dijo.", [("Sí", ","), ("dijo", ".")]),
        ("¡Ah! - vale;", [("Ah", "!"), ("vale", ";")]),
        ("?! ...", []),
        ("", []),
    ],
)
def test_punctuation_ends_a_piece_and_is_not_spoken(text: str, pieces: list[tuple[str, str]]) -> None:
    parts = split(text)
    assert [(piece.words, piece.mark) for part in parts for piece in part] == pieces
    assert len(parts) <= 1


def test_a_part_ends_with_punctuation_once_it_is_long_enough() -> None:
    one, other = split("Uno, dos, y hasta tres, cuatro, cinco y seis o siete", soft=15)
    assert [piece.words for piece in one] == ["Uno", "dos", "y hasta tres"]
    assert [piece.words for piece in other] == ["cuatro", "cinco y seis o siete"]


def test_the_little_that_is_left_over_is_no_part_of_its_own() -> None:
    assert len(split("Esto es bastante largo para una parte, sí.")) == 1


def test_what_has_no_punctuation_is_cut_between_words_into_parts_of_about_the_same_length() -> None:
    text = " ".join(["palabra"] * 40)
    parts = split(text)
    lengths = [sum(len(piece.words) for piece in part) for part in parts]
    assert " ".join(piece.words for part in parts for piece in part) == text
    assert max(lengths) <= 88
    assert max(lengths) - min(lengths) <= 16


def test_a_word_without_end_is_still_one_part() -> None:
    assert split("a" * 500) == [(Piece("a" * 500, ""),)]


def test_a_network_shows_its_durations_and_its_file_stays_as_it_is(tmp_path: Path) -> None:
    path = write_network(tmp_path / "voice.onnx")
    before = path.read_bytes()
    network = Network(path, 1, "/Inner")
    assert network.phone_times
    assert network.inputs == {"input"}
    sound, durations = network.run({"input": np.array([1, 2], np.float32)})
    assert sound.tolist() == [3, 5]
    assert durations is not None
    assert durations.tolist() == [2, 4]
    assert path.read_bytes() == before


def test_what_is_appended_is_what_onnx_itself_would_write(tmp_path: Path) -> None:
    model = onnx.load_from_string(with_output(write_network(tmp_path / "voice.onnx").read_bytes(), "/Inner"))
    assert [output.name for output in model.graph.output] == ["output", "/Inner"]
    assert len(model.graph.node) == 2


def test_a_network_without_durations_has_no_phone_times(tmp_path: Path) -> None:
    network = Network(write_network(tmp_path / "voice.onnx"), 1, "/Elsewhere")
    assert not network.phone_times
    assert network.run({"input": np.array([1], np.float32)})[1] is None


def test_a_file_that_is_no_network_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = tmp_path / "voice.onnx"
    path.write_bytes(b"no network")
    with pytest.raises(ValueError, match=r"voice\.onnx is not a network"):
        Network(path, 1, "/Inner")


def test_phones_have_the_time_of_their_stress_length_and_blanks() -> None:
    symbols = ["^", "_", "ˈ", "a", "ː", "_", " ", "T", ",", " ", "n", "$"]
    phones = phones_of(symbols, [5, 1, 2, 3, 1, 1, 2, 4, 3, 1, 2, 7], {"T": "ɾ"})
    assert phones == [("", 0, 5), ("aː", 5, 15), ("ɾ", 15, 19), ("", 19, 23), ("n", 23, 25), ("", 25, 32)]


def test_silence_is_cut_to_what_the_mark_asks_for_and_the_phones_with_it() -> None:
    rate = 1_000
    samples = np.concatenate([np.zeros(300), np.full(400, 0.5), np.zeros(600)]).astype(np.float32)
    phones = [("", 0, 310), ("a", 310, 600), ("s", 600, 1_200), ("", 1_200, 1_300)]
    cut, moved = trimmed((samples, phones), rate, ",")
    assert len(cut) == 30 + 400 + 120
    # The network counts the pause as the last sound: it ends where nothing is heard any more.
    assert moved == [("", 0, 40), ("a", 40, 330), ("s", 330, 430), ("", 430, 550)]


def test_a_part_that_makes_no_sound_is_nothing() -> None:
    samples, phones = trimmed((np.zeros(1_000, np.float32), [("a", 0, 1_000)]), 1_000, "")
    assert len(samples) == 0
    assert phones == []
