"""Which programs a configuration's names are, and which way words take from one language to another."""

from pathlib import Path

import pytest

from stream.errors import ConfigError
from stream.speech.apertium import APERTIUM
from stream.speech.back_ends import BackEnds, heard_in_english, reaches
from stream.speech.espeak import ESPEAK
from stream.speech.moonshine import MOONSHINE

pytestmark = pytest.mark.unit

PAIRS = frozenset({("en", "es"), ("en", "ca"), ("es", "en"), ("es", "ca")})


def test_what_is_embedded_needs_no_model(tmp_path: Path) -> None:
    back_ends = BackEnds(models=tmp_path)
    assert back_ends.recogniser_program("en", into_english=False) is MOONSHINE
    assert back_ends.translator_program() is APERTIUM
    assert back_ends.speaker_program() is ESPEAK
    assert back_ends.sources() == ("en",)


@pytest.mark.parametrize(
    ("source", "targets", "in_english"),
    [
        ("en", ["es"], False),
        ("es", ["ca"], False),
        ("es", ["en"], True),
        ("es", ["en", "ca"], True),
        ("de", ["es"], True),
        ("auto", ["es"], True),
    ],
)
def test_words_are_heard_in_english_where_that_is_the_better_way(
    source: str, targets: list[str], in_english: bool
) -> None:
    assert heard_in_english(source, targets, PAIRS) is in_english


@pytest.mark.parametrize(
    ("source", "target", "reached"),
    [
        ("en", "es", True),
        ("en", "fi", False),
        ("en", "en", False),
        ("de", "en", True),
        ("de", "es", True),
        ("de", "fi", False),
        ("auto", "en", True),
    ],
)
def test_a_language_is_reached_directly_or_by_way_of_english(source: str, target: str, reached: bool) -> None:
    assert reaches(source, target, PAIRS) is reached


def test_other_languages_ask_for_a_whisper_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"'de'.*visavis models get whisper-base"):
        BackEnds(models=tmp_path).recogniser_program("de", into_english=False)
    with pytest.raises(ConfigError, match="moonshine hears English"):
        BackEnds(models=tmp_path, recogniser="moonshine").recogniser_program("de", into_english=False)


def test_a_whisper_that_is_there_is_offered_and_held_against_its_pins(tmp_path: Path) -> None:
    (tmp_path / "whisper-base").mkdir()
    back_ends = BackEnds(models=tmp_path)
    assert {"auto", "en", "es", "fr"} <= set(back_ends.sources())
    with pytest.raises(ConfigError, match="is not there"):
        back_ends.recogniser_program("fr", into_english=True)


@pytest.mark.parametrize(
    ("what", "named", "complaint"),
    [
        ("translator", "babelfish", r"translator is 'babelfish', expected apertium, or a folder"),
        (
            "speaker",
            "parrot",
            r"speaker is 'parrot', expected one of espeak, pocket, kokoro-82m, piper-joe, or the folder",
        ),
    ],
)
def test_a_name_that_is_no_back_end_says_which_there_are(tmp_path: Path, what: str, named: str, complaint: str) -> None:
    back_ends = BackEnds(models=tmp_path, **{what: named})
    with pytest.raises(ConfigError, match=complaint):
        back_ends.translator_program() if what == "translator" else back_ends.speaker_program()


def test_a_folder_is_the_kind_of_voice_that_its_files_say(tmp_path: Path) -> None:
    assert BackEnds(models=tmp_path, speaker=str(tmp_path)).speaker_program().name == "piper"
    (tmp_path / "vocab.json").touch()
    assert BackEnds(models=tmp_path, speaker=str(tmp_path)).speaker_program().name == "kokoro"
