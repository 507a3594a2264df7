"""`visavis models` as the user types it."""

import argparse
from pathlib import Path

import pytest

from stream import model_commands
from stream.cli import main
from stream.errors import ConfigError
from stream.speech.fetch import Fetch
from stream.speech.store import Model
from tests.stream.speech.model_files import joined, model

pytestmark = pytest.mark.unit


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def offline(tmp_path: Path) -> Path:
    made = tmp_path / "offline"
    made.mkdir()
    return made


def _refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["models", *arguments]) == 2
    printed = capsys.readouterr()
    assert printed.err.count("\n") == 1
    assert printed.out == ""
    return printed.err


def _run(action: str, wanted: Model, folder: Path, offline: Path, *, accept: bool = False) -> int:
    arguments = argparse.Namespace(action=action, name="small", offline=offline, accept_non_commercial=accept)
    return model_commands.run(arguments, folder, {"small": wanted})


def test_the_list_says_what_each_is_for_its_terms_and_whether_it_is_here(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "list"]) == 0
    printed = capsys.readouterr().out
    assert "whisper-tiny.en: recognise, en, 78 MB, MIT, not here\n" in printed
    assert "kokoro-82m: speak, en es, 95 MB, Apache-2.0, not here\n" in printed
    assert "piper-joe: speak, en-US, 63 MB, NOASSERTION, not for commercial use, not here\n" in printed


@pytest.mark.parametrize("action", ["get", "verify"])
def test_an_unknown_name_is_answered_with_the_nearest(action: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no model 'whisper-tiny': did you mean whisper-tiny.en?" in _refused(capsys, action, "whisper-tiny")


def test_a_name_like_no_other_is_answered_with_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert "there is: whisper-tiny.en, whisper-base, kokoro-82m, piper-joe" in _refused(capsys, "get", "zzz")


def test_an_unknown_option_is_answered_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert "did you mean --from?" in _refused(capsys, "get", "kokoro-82m", "--form", "x")


def test_a_model_without_commercial_use_must_be_accepted(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = _refused(capsys, "get", "piper-joe")
    assert "not for commercial use, its licence is NOASSERTION" in said
    assert "--accept-non-commercial" in said
    assert not home.exists()


def test_an_accepted_one_is_fetched(offline: Path, home: Path) -> None:
    wanted = model(joined(offline), commercial=False)
    with pytest.raises(ConfigError, match="--accept-non-commercial"):
        _run("get", wanted, home, offline)
    assert _run("get", wanted, home, offline, accept=True) == 0


def test_verify_names_the_command_that_fetches(capsys: pytest.CaptureFixture[str]) -> None:
    assert "Fetch it: visavis models get whisper-base" in _refused(capsys, "verify", "whisper-base")


def test_get_then_verify_then_get(offline: Path, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wanted = model(joined(offline))
    assert _run("get", wanted, home, offline) == 0
    first = capsys.readouterr()
    assert "1 of 1 files fetched" in first.out
    assert "model.bin: 100 % " in first.err
    assert "MB/s" in first.err
    assert _run("verify", wanted, home, offline) == 0
    assert "every file is what it should be" in capsys.readouterr().out
    assert _run("get", wanted, home, offline) == 0
    assert "is already here" in capsys.readouterr().out
    model_commands.run(argparse.Namespace(action="list"), home, {"small": wanted})
    assert capsys.readouterr().out.endswith("MIT, here\n")


def test_an_interruption_says_that_it_goes_on(
    offline: Path, home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_arguments: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(Fetch, "get", interrupt)
    assert _run("get", model(joined(offline)), home, offline) == 130
    assert "interrupted; the next models get goes on from here" in capsys.readouterr().err
