"""Firefox's translation models: the real engine on models of a few words, whose weights were set by hand."""

import gzip
import importlib.util
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from stream.clock import MonotonicClock
from stream.errors import BackEndError, ConfigError
from stream.speech.firefox import firefox
from stream.speech.firefox_worker import ends_whole, languages
from stream.speech.host import Failure, Program
from stream.speech.protocol import Clause, Word
from stream.speech.translate import ProcessTranslator
from tests.stream.speech.firefox_files import write_pair

pytestmark = pytest.mark.unit

SPANISH = {"the": "la", "house": "casa", "face": "cara", "two": "dos"}

Open = Callable[[Path], ProcessTranslator]


def clause(text: str, language: str = "en") -> Clause:
    return Clause(1, language, (Word(text, 0, 1_000_000_000),))


@pytest.fixture
def failures() -> list[Failure]:
    return []


@pytest.fixture
def opened(failures: list[Failure]) -> Iterator[Open]:
    if importlib.util.find_spec("fxtranslate") is None:
        pytest.skip("fxtranslate is not installed: pip install 'visavis[languages]'")
    translators: list[ProcessTranslator] = []

    def translator(folder: Path) -> ProcessTranslator:
        translators.append(ProcessTranslator(firefox(folder), MonotonicClock(), failures.append))
        return translators[-1]

    yield translator
    for each in translators:
        each.close()


def refusal(translator: ProcessTranslator, failures: list[Failure]) -> str:
    """What it says instead of starting, having tried once."""
    with pytest.raises(ConfigError) as error:
        translator.translate(clause("the house"), "es")
    assert failures == []
    assert translator.health().state == "stopped"
    return str(error.value)


def test_it_says_what_it_is_and_which_pairs_it_has(opened: Open, tmp_path: Path) -> None:
    write_pair(tmp_path, "en", "es", SPANISH)
    translator = opened(tmp_path)
    assert translator.pairs == {("en", "es")}
    caps = translator.caps
    assert (caps.quality, caps.licence, caps.languages) == ("good", "MPL-2.0", ("en", "es"))
    assert "fxtranslate" in caps.name


def test_it_translates_a_clause_of_one_sentence_or_two(opened: Open, tmp_path: Path) -> None:
    write_pair(tmp_path, "en", "es", SPANISH)
    translated = opened(tmp_path).translate(clause("the face. the house two"), "es")
    assert (translated.text, translated.quality) == ("la cara la casa dos", "good")


def test_a_word_that_it_does_not_know_is_left_out_and_nothing_breaks(opened: Open, tmp_path: Path) -> None:
    write_pair(tmp_path, "en", "es", SPANISH)
    translator = opened(tmp_path)
    assert translator.translate(clause("the x house 😀"), "es").text == "la casa"
    assert translator.translate(clause(""), "es").text == ""


def zstandard(content: bytes) -> bytes:
    """A Zstandard frame (RFC 8878) of one block that is not compressed."""
    assert len(content) < 1 << 17
    whole, last_raw_block = b"\x28\xb5\x2f\xfd\xa0" + len(content).to_bytes(4, "little"), len(content) << 3 | 1
    return whole + last_raw_block.to_bytes(3, "little") + content


@pytest.mark.parametrize(("ending", "compress"), [(".gz", gzip.compress), (".zst", zstandard)])
def test_compressed_files_and_two_vocabularies_do_as_well(
    opened: Open, tmp_path: Path, ending: str, compress: Callable[[bytes], bytes]
) -> None:
    folder = write_pair(tmp_path, "en", "es", SPANISH)
    vocabulary = folder / "vocab.enes.spm"
    (folder / "trgvocab.enes.spm").write_bytes(vocabulary.read_bytes())
    vocabulary.rename(folder / "srcvocab.enes.spm")
    for path in list(folder.iterdir()):
        path.with_name(f"{path.name}{ending}").write_bytes(compress(path.read_bytes()))
        path.unlink()
    assert opened(tmp_path).translate(clause("two house"), "es").text == "dos casa"


@pytest.mark.parametrize("text", ["  ", "...", "\n\0\u2581", "😀"])
def test_what_is_no_word_breaks_nothing(opened: Open, failures: list[Failure], tmp_path: Path, text: str) -> None:
    write_pair(tmp_path, "en", "es", SPANISH)
    translator = opened(tmp_path)
    assert translator.translate(clause(text), "es").text == ""
    assert failures == []


def test_a_clause_that_is_longer_than_the_network_sees_is_translated_in_parts(opened: Open, tmp_path: Path) -> None:
    write_pair(tmp_path, "en", "es", SPANISH)
    translated = opened(tmp_path).translate(clause("house " * 300), "es").text
    assert translated.replace(" ", "").count("casa") >= 100


def test_a_pair_without_a_shortlist_does_as_well(opened: Open, tmp_path: Path) -> None:
    folder = write_pair(tmp_path, "en", "es", SPANISH)
    (folder / "lex.50.50.enes.s2t.bin").unlink()
    assert opened(tmp_path).translate(clause("two house"), "es").text == "dos casa"


def test_two_languages_that_are_no_pair_go_through_english(opened: Open, tmp_path: Path) -> None:
    write_pair(tmp_path, "en", "es", SPANISH)
    write_pair(tmp_path, "de", "en", {"zwei": "two", "das": "the", "haus": "house"})
    translator = opened(tmp_path)
    assert translator.pairs == {("de", "en"), ("de", "es"), ("en", "es")}
    assert translator.translate(clause("das haus", "de"), "es").text == "la casa"
    with pytest.raises(BackEndError, match="es to de is not installed; there are de to en, de to es, en to es"):
        translator.translate(clause("la casa", "es"), "de")
    assert translator.health().crashes == 0


def test_a_pair_is_read_from_a_name() -> None:
    assert languages("enes") == ("en", "es")
    assert languages("enzh_hant") == ("en", "zh-hant")
    assert languages("hbsen") == ("hbs", "en")
    assert languages("frde") == ("fr", "de")


@pytest.mark.parametrize("name", ["model.enes.intgemm.alphas.bin", "vocab.enes.spm", "lex.50.50.enes.s2t.bin"])
@pytest.mark.parametrize("left", [0, 70, -1])
def test_a_file_that_was_cut_off_is_refused_once_at_the_start(
    opened: Open, failures: list[Failure], tmp_path: Path, name: str, left: int
) -> None:
    path = write_pair(tmp_path, "en", "es", SPANISH) / name
    path.write_bytes(path.read_bytes()[:left])
    assert "en-es is damaged" in refusal(opened(tmp_path), failures)


def test_a_page_that_was_saved_as_a_model_is_refused(opened: Open, failures: list[Failure], tmp_path: Path) -> None:
    path = write_pair(tmp_path, "en", "es", SPANISH) / "model.enes.intgemm.alphas.bin"
    path.write_bytes(b"<!DOCTYPE html><html>" * 20)
    assert "en-es is damaged: unsupported model version" in refusal(opened(tmp_path), failures)


def test_a_model_without_one_of_its_weights_is_refused(opened: Open, failures: list[Failure], tmp_path: Path) -> None:
    path = write_pair(tmp_path, "en", "es", SPANISH) / "model.enes.intgemm.alphas.bin"
    path.write_bytes(path.read_bytes().replace(b"decoder_l1_context_Wk\0", b"decoder_l1_context_Wx\0"))
    assert "damaged: missing weight decoder_l1_context_Wk" in refusal(opened(tmp_path), failures)


def test_a_compressed_file_that_was_cut_off_is_refused(opened: Open, failures: list[Failure], tmp_path: Path) -> None:
    path = write_pair(tmp_path, "en", "es", SPANISH) / "model.enes.intgemm.alphas.bin"
    path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes())[:-100])
    path.unlink()
    assert "en-es is damaged" in refusal(opened(tmp_path), failures)


def test_a_model_without_its_vocabulary_is_refused(opened: Open, failures: list[Failure], tmp_path: Path) -> None:
    (write_pair(tmp_path, "en", "es", SPANISH) / "vocab.enes.spm").unlink()
    said = refusal(opened(tmp_path), failures)
    assert "without its vocabulary" in said
    assert "vocab.enes.spm" in said


def test_a_folder_without_models_says_what_belongs_there(opened: Open, failures: list[Failure], tmp_path: Path) -> None:
    said = refusal(opened(tmp_path / "nowhere"), failures)
    assert f"no pair is installed in {tmp_path / 'nowhere'}" in said
    assert "Firefox translation models" in said


def test_a_missing_package_says_how_to_install_it(failures: list[Failure], tmp_path: Path) -> None:
    write_pair(tmp_path, "en", "es", SPANISH)
    without = (
        "import sys, pathlib; sys.modules['fxtranslate'] = None; "
        "from stream.speech.firefox_worker import main; main(pathlib.Path(sys.argv[1]))"
    )
    program: Program = replace(firefox(tmp_path), command=(sys.executable, "-c", without, str(tmp_path)))
    translator = ProcessTranslator(program, MonotonicClock(), failures.append)
    assert "pip install 'visavis[languages]'" in refusal(translator, failures)
    translator.close()


def test_a_vocabulary_ends_with_a_whole_field() -> None:
    long = bytes([0x12, 0x80, 0x01]) + bytes(128)
    assert ends_whole(b"\x0a\x02ab" + long)
    for cut in (b"", b"\x0a", b"\x0a\x02a", long[:2], long[:-1]):
        assert not ends_whole(cut)
