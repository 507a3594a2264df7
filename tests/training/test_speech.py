"""Recordings with what is said in them: read from their lists, drawn, cached."""

import shutil
from pathlib import Path

import pytest

from tests.training.made import made_clip
from training.config import ConfigError
from training.data.articulation import prior
from training.data.cache import load_speech, save_speech
from training.data.clips import MaterialError, read_sound
from training.data.phones import align_phones
from training.data.speech import _texts, drawn_speech, further_recordings, prepare_speech
from training.data.split import grid_sentence, read_clips

pytestmark = pytest.mark.unit

VOICE = Path(__file__).parents[2] / "stream" / "assets" / "voice.wav"
SAID = "And it is worth mention in passing that, as an example of fine typography,"


def test_a_recording_comes_back_with_a_mouth_that_closes_on_m_and_p(tmp_path: Path) -> None:
    samples, _ = read_sound(VOICE)
    phones = align_phones(samples, SAID)
    assert phones is not None
    save_speech(tmp_path, drawn_speech("voice", "woman", samples, phones, prior()))
    (speech,) = load_speech(tmp_path)
    assert (speech.name, speech.voice) == ("voice", "woman")
    assert len(speech.mouths) == pytest.approx(100 * len(samples) / 16000, abs=1)
    opening = {name: [] for name in ("M", "P", "AE", "AY")}  # type: dict[str, list[float]]
    for each in phones:
        if each.name in opening:
            opening[each.name].append(float(speech.mouths[round(50 * (each.start_s + each.end_s)), 0]))
    assert max(opening["M"] + opening["P"]) < 0.03
    assert min(opening["AE"] + opening["AY"]) > 0.05


def test_lists_of_every_kind_name_their_recordings(tmp_path: Path) -> None:
    for name in ("a", "b", "c", "d", "e", "untold"):
        shutil.copy(VOICE, tmp_path / f"{name}.wav")
    (tmp_path / "metadata.csv").write_text("a|One|one\n")
    (tmp_path / "x.transcription").write_text("<s> two words  </s> (b)\n")
    (tmp_path / "list.tsv").write_text("file\ttext\nc.flac\tdrei\tthree\n")
    (tmp_path / "list.json").write_text('{"d": {"wrd": "FOUR"}}')
    said = {path.stem: words.strip() for path, words in _texts(tmp_path, "", {"e": "five"})}
    assert said == {"a": "one", "b": "two words", "c": "drei", "d": "FOUR", "e": "five"}


def test_a_folder_without_a_list_and_a_folder_that_is_not_there_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(MaterialError, match="no list of what is said"):
        _texts(tmp_path, "", {})
    with pytest.raises(ConfigError, match="no recordings"):
        _texts(tmp_path / "none", "", {})


def test_clips_without_known_words_teach_no_articulation(tmp_path: Path) -> None:
    clip, said = made_clip("a", "anna"), []
    prepare_speech(tmp_path, tmp_path, [clip], said.append)
    assert "no clip with known words" in said[0]
    assert not load_speech(tmp_path)


def test_the_words_of_a_grid_clip_are_in_its_name(material: Path) -> None:
    assert grid_sentence("bbaf2n") == "bin blue at f two now"
    listed = (material / "video" / "grid" / "transcripts.tsv").read_text().splitlines()[1:]
    words = {entry.path.name: entry.words for entry in read_clips(material)}
    for line in listed:
        name, text = line.split("\t")
        assert words[name] == text


def test_real_clips_of_a_held_back_person_move_as_the_phones_say(material: Path) -> None:
    entry = next(each for each in read_clips(material) if each.name == "grid-pwij3p")
    samples, _ = read_sound(entry.path)
    phones = align_phones(samples, entry.words)
    assert phones is not None
    speech = drawn_speech(entry.name, "grid", samples, phones, prior())
    # Lips are closed before and after the sentence, and open at some time in it.
    assert speech.mouths[[5, -5], 0].max() < 0.02
    assert speech.mouths[:, 0].max() > 0.06


@pytest.mark.parametrize(
    ("argument", "language", "weight"), [("a", "en", 1.0), ("a:de", "de", 1.0), ("a:fr:0.5", "fr", 0.5)]
)
def test_further_recordings_have_a_language_and_a_weight(argument: str, language: str, weight: float) -> None:
    found = further_recordings(argument)
    assert (found.voice, found.language, found.weight) == ("a", language, weight)


@pytest.mark.parametrize("weight", ["0", "-1", "much"])
def test_a_weight_that_is_none_is_named(weight: str) -> None:
    with pytest.raises(ConfigError, match=weight):
        further_recordings(f"a:en:{weight}")
