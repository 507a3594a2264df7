"""The command line: exit codes, one line for every complaint, and what lies on the disk afterwards."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from models.engine import EngineError
from stream import dub_commands
from stream.cli import main
from stream.media import ClipReader
from tests.stream.clip_maker import SAMPLE, VOICE, make_clip
from tests.stream.fake_faces import FakeFinder
from tests.stream.fake_generator import FakeGenerator

pytestmark = pytest.mark.unit


class FakeLoaded(FakeGenerator):
    manifest = SimpleNamespace(name="fake", checkpoint=SimpleNamespace(sha256="0" * 64))


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dub_commands, "open_generator", lambda *_args, **_options: FakeLoaded())
    monkeypatch.setattr(dub_commands, "open_face_finder", lambda *_args, **_options: FakeFinder())


def run(*arguments: object) -> int:
    try:
        return main([str(each) for each in arguments])
    except SystemExit as end:
        return int(end.code or 0)


def complaint(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line on stderr."""
    printed = capsys.readouterr()
    lines = printed.err.strip().splitlines()
    assert len(lines) == 1, printed.err
    return lines[0]


WRONG = [
    ([], "visavis: the following arguments are required: COMMAND. See: visavis --help"),
    (["dance"], "visavis: argument COMMAND: invalid choice: 'dance'"),
    (["dub", "in.mp4", "-o", "out.mp4"], "visavis dub: the following arguments are required: --voice"),
    (["dub", "a", "--voice", "b", "-o", "c.mp4", "--overwrit"], "did you mean --overwrite?"),
    (["dub", "a", "--voice", "b", "-o", "c.mp4", "--zzz"], "see visavis dub --help"),
    (["dub", "a", "--voice", "b", "-o", "c.mp4", "--mix-original", "loud"], "'loud' is not a gain in decibels"),
    (["dub", "a", "--voice", "b", "-o", "c.mp4", "--quality", "99"], "expected 0 to 51"),
    (["dub", "a", "--voice", "b", "-o", "c.mp4", "--badge", "x", "--no-badge"], "not allowed with"),
    (["run", "--port", "99999"], "'99999' is not a port"),
    (["run", "--config", "none.toml"], "none.toml cannot be read"),
]


@pytest.mark.parametrize(("arguments", "expected"), WRONG)
def test_wrong_arguments_are_one_line_and_exit_2(
    arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*arguments) == 2
    assert expected in complaint(capsys)


def test_version_and_help_need_no_engine(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--version") == 0
    assert capsys.readouterr().out.startswith("visavis ")
    assert run("dub", "--help") == 0


@pytest.mark.usefixtures("fakes")
def test_dub_writes_the_clip_and_the_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = make_clip(tmp_path / "in.mp4", pts=range(20))
    output, report = tmp_path / "out.mp4", tmp_path / "r.json"
    assert run("dub", source, "--voice", VOICE, "-o", output, "--report", report, "--no-badge") == 0
    printed = capsys.readouterr()
    assert "20 of 20 pictures re-voiced" in printed.out
    assert "100 %" in printed.err
    assert "of the voice are cut" in printed.err
    figures = json.loads(report.read_text())
    assert figures["frames"] == {"written": 20, "re_voiced": 20, "passed": {}, "damaged_packets": 0}
    assert set(figures["stages"]) == {"decode", "faces", "render", "encode"}
    assert all(stage["count"] >= 20 for stage in figures["stages"].values())
    assert figures["engine"]["backend"] == "fake"
    assert abs(figures["av_offset_ms"]) < 1.0
    assert len(list(ClipReader(output).frames())) == 20


@pytest.mark.usefixtures("fakes")
def test_an_existing_output_is_kept_unless_told_otherwise(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, output = make_clip(tmp_path / "in.mp4"), tmp_path / "out.mp4"
    output.write_text("mine")
    assert run("dub", source, "--voice", VOICE, "-o", output) == 2
    assert "out.mp4 exists: give --overwrite" in complaint(capsys)
    assert output.read_text() == "mine"
    assert run("dub", source, "--voice", VOICE, "-o", output, "--overwrite") == 0
    assert len(list(ClipReader(output).frames())) == 10


BAD_FILES = [
    ("none.mp4", None, "none.mp4: no such file"),
    ("words.mp4", b"these are only words" * 50, "words.mp4 is not a media file"),
    ("empty.mp4", b"", "empty.mp4 is empty"),
    ("cut.mp4", SAMPLE.read_bytes()[:100_000], "cut.mp4 is cut short"),
]


@pytest.mark.usefixtures("fakes")
@pytest.mark.parametrize(("name", "content", "expected"), BAD_FILES)
def test_bad_clips_are_one_line_and_leave_nothing(
    tmp_path: Path, name: str, content: bytes | None, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    assert run("dub", tmp_path / name, "--voice", VOICE, "-o", tmp_path / "out.mp4") == 2
    assert expected in complaint(capsys)
    assert sorted(path.name for path in tmp_path.iterdir()) == ([] if content is None else [name])


@pytest.mark.usefixtures("fakes")
@pytest.mark.parametrize(("name", "content", "expected"), BAD_FILES[:3])
def test_bad_voices_are_one_line_too(
    tmp_path: Path, name: str, content: bytes | None, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    voice = tmp_path / name
    if content is not None:
        voice.write_bytes(content)
    assert run("dub", SAMPLE, "--voice", voice, "-o", tmp_path / "out.mp4") == 2
    assert expected in complaint(capsys)


@pytest.mark.usefixtures("fakes")
def test_a_report_that_cannot_be_written_is_said_before_the_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = make_clip(tmp_path / "in.mp4")
    arguments = ["--voice", VOICE, "-o", tmp_path / "out.mp4", "--report", tmp_path / "no" / "r.json"]
    assert run("dub", source, *arguments) == 2
    assert "does not exist" in complaint(capsys)
    assert not (tmp_path / "out.mp4").exists()


def test_a_missing_engine_is_one_line_with_its_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(*_args: object, **_options: object) -> None:
        raise EngineError("no network 'lipgan'. Fetch it again: git checkout -- models/weights/lipgan")

    monkeypatch.setattr(dub_commands, "open_generator", missing)
    assert run("dub", make_clip(tmp_path / "in.mp4"), "--voice", VOICE, "-o", tmp_path / "out.mp4") == 2
    assert "git checkout -- models/weights/lipgan" in complaint(capsys)
    assert not (tmp_path / "out.mp4").exists()


def test_our_own_fault_is_one_line_and_exit_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_args: object, **_options: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(dub_commands, "open_generator", broken)
    arguments = ["dub", make_clip(tmp_path / "in.mp4"), "--voice", VOICE, "-o", tmp_path / "out.mp4"]
    assert run(*arguments) == 1
    assert "internal error, ZeroDivisionError: a bug" in complaint(capsys)
    assert run(*arguments, "--debug") == 1
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.usefixtures("fakes")
def test_demo_writes_the_dubbed_clip_and_both_side_by_side(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("demo", "-o", tmp_path / "out") == 0
    assert "side_by_side.mp4" in capsys.readouterr().out
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["dubbed.mp4", "side_by_side.mp4"]
    both, one = (ClipReader(tmp_path / "out" / f"{name}.mp4").format for name in ("side_by_side", "dubbed"))
    assert (both.width, both.height) == (2 * one.width, one.height)


INTERRUPTED = """
import os, signal, sys
# A shell starts what runs in the background with this signal ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
from stream import dub_commands
from stream.cli import main
from tests.stream.fake_faces import FakeFinder
from tests.stream.test_cli import FakeLoaded

class Interrupts(FakeLoaded):
    def infer(self, feed):
        if len(self.batches) == 20:
            os.kill(os.getpid(), getattr(signal, sys.argv[3]))
        return super().infer(feed)

dub_commands.open_generator = lambda *a, **k: Interrupts()
dub_commands.open_face_finder = lambda *a, **k: FakeFinder()
raise SystemExit(main(["dub", sys.argv[1], "--voice", sys.argv[1], "-o", sys.argv[2]]))
"""


@pytest.mark.parametrize("signal_name", ["SIGINT", "SIGTERM"])
def test_an_interrupted_dub_leaves_nothing_and_exits_130(tmp_path: Path, signal_name: str) -> None:
    root = Path(__file__).parents[2]
    ended = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, str(SAMPLE), str(tmp_path / "out.mp4"), signal_name],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 130, ended.stderr
    assert ended.stderr.strip().endswith("visavis: interrupted, nothing was written")
    assert "Traceback" not in ended.stderr
    assert list(tmp_path.iterdir()) == []
