"""Configs: strict, typed, and the shipped ones can be read."""

from pathlib import Path

import pytest

from training.__main__ import main
from training.config import CONFIG_FOLDER, ConfigError, LipganConfig, load_config

pytestmark = pytest.mark.unit


def _config(tmp_path: Path, text: str) -> str:
    path = tmp_path / "run.toml"
    path.write_text(text)
    return str(path)


def test_an_unknown_key_is_refused_with_the_nearest_known_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"unknown key 'stepz'; did you mean 'steps'\?"):
        load_config(_config(tmp_path, "[run]\nstepz = 3\n"))


def test_a_value_of_the_wrong_type_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="batch must be int, found '32'"):
        load_config(_config(tmp_path, '[run]\nbatch = "32"\n'))


def test_an_unknown_config_name_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"known by name: .*lipgan.*quick"):
        load_config("liipgan")


def test_defaults_are_those_of_the_classes(tmp_path: Path) -> None:
    assert load_config(_config(tmp_path, "")) == LipganConfig()


@pytest.mark.parametrize("name", ["lipgan", "lite", "quick"])
def test_a_shipped_config_can_be_read(name: str) -> None:
    assert (CONFIG_FOLDER / f"{name}.toml").is_file()
    assert load_config(name).network.front_end == "mel"


def test_the_command_line_ends_in_one_line_and_exit_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["lipgan", "--config", "quick", "--cache", str(tmp_path), "--run", str(tmp_path / "run")]
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: no ")
    assert "python -m training prepare" in error
    assert error.count("\n") == 1
