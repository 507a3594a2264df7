"""The split: by clip and by person, refused where it leaks."""

from pathlib import Path

import pytest

from training.config import ConfigError
from training.data.split import ClipEntry, check_disjoint, portrait_paths, read_clips

pytestmark = pytest.mark.unit


def _folder(tmp_path: Path, table: str) -> Path:
    (tmp_path / "films").mkdir()
    for name in ("anna", "bert", "carl"):
        (tmp_path / "films" / f"{name}.mpg").touch()
    (tmp_path / "clips.toml").write_text(table)
    return tmp_path


def test_files_are_persons_unless_the_table_says_otherwise(tmp_path: Path) -> None:
    table = '[[source]]\npath = "films"\nheld_person = ["carl"]\nsame_person = { bert = "films-anna" }\n'
    folder = _folder(tmp_path, table)
    found = {each.name: (each.person, each.split) for each in read_clips(folder, folder / "clips.toml")}
    assert found == {
        "films-anna": ("films-anna", "train"),
        "films-bert": ("films-anna", "train"),
        "films-carl": ("films-carl", "held_person"),
    }


def test_a_held_back_person_who_is_also_trained_on_is_refused(tmp_path: Path) -> None:
    entries = [ClipEntry("a", tmp_path, "anna", "train"), ClipEntry("b", tmp_path, "anna", "held_person")]
    with pytest.raises(ConfigError, match="also trained on: anna"):
        check_disjoint(entries)


def test_a_held_back_name_without_a_file_is_refused(tmp_path: Path) -> None:
    folder = _folder(tmp_path, '[[source]]\npath = "films"\nheld_clip = ["dora"]\n')
    with pytest.raises(ConfigError, match="has no clip dora"):
        read_clips(folder, folder / "clips.toml")


def test_what_is_said_in_a_file_is_found_by_its_name(tmp_path: Path) -> None:
    folder = _folder(tmp_path, '[[source]]\npath = "films"\n[source.texts]\nbert = "Good morning."\n')
    said = {each.name: each.words for each in read_clips(folder, folder / "clips.toml")}
    assert said == {"films-anna": "", "films-bert": "Good morning.", "films-carl": ""}
    (folder / "clips.toml").write_text('[[source]]\npath = "films"\ntexts = { dora = "Hello." }\n')
    with pytest.raises(ConfigError, match="has no clip dora"):
        read_clips(folder, folder / "clips.toml")


def test_the_articulation_model_is_fitted_on_grid_alone_and_measured_material_has_words(material: Path) -> None:
    entries = read_clips(material)
    assert {"grid" in str(each.path) for each in entries if each.words and each.split == "train"} == {True}
    assert all(each.words for each in entries if each.split == "measured")


def test_the_shipped_split_trains_on_no_held_back_person_and_never_on_measured_material(material: Path) -> None:
    entries = read_clips(material)
    trained = {each.person for each in entries if each.split == "train"}
    held = {each.person for each in entries if each.split in ("held_person", "measured")}
    assert len({each.person for each in entries if each.split == "held_person"}) >= 2
    assert not trained & held
    assert all((each.split == "measured") == ("hdtf" in str(each.path)) for each in entries)
    assert not {"M000639", "O000172"} & {each.stem for each in portrait_paths(material)}
