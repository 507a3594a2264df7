"""`visavis engines`: what is here, and whether it runs."""

from dataclasses import replace
from pathlib import Path

import pytest

from models import catalogue
from models.tensorrt_plan import plans_folder
from stream import engine_commands
from stream.cli import main
from tests.models.test_tensorrt_engine import record

pytestmark = pytest.mark.unit


def test_nothing_here_is_one_line_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(catalogue, "WEIGHTS", tmp_path)
    monkeypatch.setattr(catalogue, "names", lambda _folder=None: [])
    assert main(["engines", "list"]) == 2
    printed = capsys.readouterr()
    assert printed.err.count("\n") == 1
    assert "git checkout -- models/weights" in printed.err


def test_the_shipped_engines_are_listed_with_their_parity(capsys: pytest.CaptureFixture[str]) -> None:
    if "lipgan" not in catalogue.names():
        pytest.skip("no generator is shipped in this checkout")
    assert main(["engines", "list"]) == 0
    listed = capsys.readouterr().out
    assert listed.startswith("lipgan: 96 px")
    assert listed.count(", default") == len(catalogue.names())
    assert "dB of torch" in listed


def test_plans_for_a_card_are_listed_with_the_network_that_they_draw(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = plans_folder(tmp_path / "visavis" / "engines")
    folder.mkdir(parents=True)
    replace(record(), network="lipgan", plan_bytes=18_000_000).save(folder)
    (folder / "lipgan-int8.json").write_text("{")
    assert main(["engines", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    built = [line for line in lines if "tensorrt" in line]
    assert built == ["  tensorrt fp16: 0.0 dB of torch, 18 MB, for compute capability 8.6 with TensorRT 11.4.0.106"]
    assert lines.index(built[0]) < lines.index(next(line for line in lines if line.startswith("lipgan_lite")))


def test_an_engine_that_is_damaged_is_found_by_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if "lipgan" not in catalogue.names():
        pytest.skip("no generator is shipped in this checkout")
    folder = tmp_path / "lipgan"
    folder.mkdir()
    for path in (catalogue.WEIGHTS / "lipgan").iterdir():
        (folder / path.name).write_bytes(path.read_bytes()[:1000] if path.suffix == ".bin" else path.read_bytes())
    monkeypatch.setattr(catalogue, "WEIGHTS", tmp_path)
    assert main(["engines", "check"]) == 2
    assert "the file is damaged or from another export" in capsys.readouterr().out


def test_what_this_processor_has_no_arithmetic_for_is_no_fault_of_the_engine(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(engine_commands, "supports", lambda precision: precision != "bf16")
    assert main(["engines", "check"]) == 0
    checked = capsys.readouterr().out
    assert "lipgan bf16: not on this processor, which has no bf16 arithmetic" in checked
    assert "lipgan int8: ok" in checked
