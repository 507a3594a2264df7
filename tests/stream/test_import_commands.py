"""`visavis engines import`, from a published file to a re-voiced clip. Weights are random: no lips are judged."""

import importlib.util
import logging
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch

from kernels.mel import MelWindow
from models.catalogue import imported_folder
from models.manifest import load_manifest
from stream.cli import main
from stream.config import Config, EngineConfig
from stream.engine_commands import take_engine
from stream.engines import open_engines
from stream.errors import ConfigError
from stream.import_commands import bundled_samples
from stream.media import ClipReader
from tests.models.published_files import wav2lip
from tests.stream.clip_maker import SAMPLE, VOICE

pytestmark = pytest.mark.unit


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("published") / "wav2lip.pth"
    torch.save({"state_dict": wav2lip().state_dict()}, path)
    return path


@pytest.fixture(scope="module")
def home(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's data folder into which "wav2lip" was imported; read only."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_DATA_HOME", str(home))
        assert main(["engines", "import", str(checkpoint), "--as", "wav2lip", "--accept-licence"]) == 0
    return home


def _refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert main(["engines", "import", *map(str, arguments)]) == 2
    printed = capsys.readouterr()
    assert printed.err.count("\n") == 1
    assert printed.out == ""
    return printed.err


def test_the_terms_must_be_accepted_first(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = _refused(capsys, checkpoint, "--as", "wav2lip", "--into", tmp_path)
    assert "research use only, no commercial use" in said
    assert "--accept-licence" in said
    assert list(tmp_path.iterdir()) == []


WRONG = [
    (["--as", "wav3lip"], "--as is 'wav3lip', expected wav2lip, lipgan, lipgan-residual"),
    (["--as", "wav2lip", "--name", "lipgan"], "lipgan is a network that came with visavis"),
    (["--as", "wav2lip", "--look-ahead", "16"], "--look-ahead: look_ahead is 16"),
    (["--as", "wav2lip", "--identity", "twin"], "--identity is 'twin', expected same_frame, reference"),
    (["--as", "wav2lip", "--precisions", "fp64"], "--precisions is 'fp64'"),
    (["--as", "wav2lip"], "none.pth cannot be read (No such file or directory)"),
    (["--as", "lipgan"], "none.pth cannot be read (No such file or directory)"),
]


@pytest.mark.parametrize(("arguments", "expected"), WRONG)
def test_what_cannot_be_done_is_one_line_and_leaves_nothing(
    tmp_path: Path, arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    said = _refused(capsys, tmp_path / "none.pth", "--into", tmp_path / "engines", "--accept-licence", *arguments)
    assert expected in said
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_option_is_answered_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["engines", "import", "a.pth", "--as", "wav2lip", "--accept-license"]) == 2
    said = capsys.readouterr().err
    assert "engines import has no argument '--accept-license': did you mean --accept-licence?" in said


@pytest.mark.parametrize(("package", "format_", "extra"), [("torch", "wav2lip", "train"), ("h5py", "lipgan", "import")])
def test_a_package_that_is_missing_is_named_with_the_command(
    tmp_path: Path,
    package: str,
    format_: str,
    extra: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == package else real(name))
    said = _refused(capsys, tmp_path / "a", "--as", format_, "--accept-licence")
    assert said.endswith(f"needs {package}, which serving does without. Install it: pip install 'visavis[{extra}]'\n")


def test_the_samples_are_faces_and_windows_that_serving_makes() -> None:
    calibration, gate = bundled_samples(MelWindow(16, 11))
    assert min(len(calibration), len(gate)) >= 8
    assert gate.face.shape[1:] == (6, 96, 96)
    assert gate.mel.shape[1:] == (1, 80, 16)
    assert (gate.face[:, 3:, 48:] == 0).all()
    np.testing.assert_array_equal(gate.face[:, 3:, :48], gate.face[:, :3, :48])
    assert not np.array_equal(gate.mel[0], calibration.mel[0])


def test_an_imported_engine_lies_with_the_user_and_carries_its_terms(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = load_manifest(imported_folder({"XDG_DATA_HOME": str(home)}) / "wav2lip", "")
    assert "no commercial use" in manifest.licence.weights
    assert manifest.licence.data == ("LRS2 (BBC): research only",)
    monkeypatch.setenv("XDG_DATA_HOME", str(home))
    assert main(["engines", "list"]) == 0
    assert "wav2lip: 96 px, weights published Wav2Lip weights: personal and research" in capsys.readouterr().out
    assert main(["engines", "check"]) == 0
    assert "wav2lip fp32: ok" in capsys.readouterr().out


def _first_pictures(path: Path, seconds: float) -> Path:
    """The beginning of the bundled clip, its packets as they are."""
    with av.open(str(SAMPLE)) as whole, av.open(str(path), "w") as cut:
        stream = cut.add_stream_from_template(whole.streams.video[0])
        for packet in whole.demux(video=0):
            if packet.pts is not None and packet.pts * packet.time_base < seconds:
                packet.stream = stream
                cut.mux(packet)
    return path


def test_a_clip_is_dubbed_with_an_imported_engine(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(home))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    source, output = _first_pictures(tmp_path / "in.mp4", 0.6), tmp_path / "out.mp4"
    arguments = ["dub", str(source), "--voice", str(VOICE), "-o", str(output), "--engine", "wav2lip"]
    assert main(arguments) == 0
    printed = capsys.readouterr()
    assert "the engine wav2lip was imported; its weights: published Wav2Lip weights: personal" in printed.err
    before, after = (list(ClipReader(path).frames()) for path in (source, output))
    assert f"{len(before)} of {len(before)} pictures re-voiced" in printed.out
    assert [frame.pts_ns for frame in after] == [frame.pts_ns for frame in before]
    changes = [
        np.abs(one.planes[0].astype(int) - other.planes[0]).max() for one, other in zip(before, after, strict=True)
    ]
    # Random weights paint noise for a mouth: every picture shows it.
    assert min(changes) > 40


def test_a_server_takes_an_imported_engine_by_its_name(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    # A command that ran before may have made the log quieter.
    caplog.set_level(logging.WARNING)
    config = take_engine(Config(), "wav2lip", imported_folder({"XDG_DATA_HOME": str(home)}))
    engines = open_engines(config)
    assert engines.mel_window == MelWindow(16, 11)
    assert engines.engine.inputs["mel"].shape == (None, 1, 80, 16)
    engines.close()
    assert "the engine wav2lip was imported; its weights: published Wav2Lip weights: personal" in caplog.text


def test_a_shipped_name_and_a_configured_folder_come_before_the_imported_ones(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "manifest.json").write_text("{}")
    configured = Config(engine=EngineConfig(folder="/elsewhere"))
    assert take_engine(Config(), "mine", tmp_path).engine == EngineConfig(name="mine", folder=str(tmp_path))
    assert take_engine(Config(), None, tmp_path).engine == EngineConfig()
    with pytest.raises(ConfigError, match=r"no network 'mime', there is: .*mine\. Import one"):
        take_engine(Config(), "mime", tmp_path)
    assert take_engine(configured, "mine", tmp_path).engine == EngineConfig(name="mine", folder="/elsewhere")


def test_debug_may_stand_before_and_after_the_action(monkeypatch: pytest.MonkeyPatch) -> None:
    from stream import engine_commands

    seen: list[bool] = []

    def record(arguments: Any, *_folders: Path) -> int:
        seen.append(arguments.debug)
        return 0

    monkeypatch.setattr(engine_commands, "run", record)
    for arguments in (["engines", "list"], ["engines", "--debug", "list"], ["engines", "list", "--debug"]):
        assert main(arguments) == 0
    assert seen == [False, True, True]
