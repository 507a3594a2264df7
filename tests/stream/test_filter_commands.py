"""`visavis filter` and `visavis dub --filter` on real clips and real filters, as small as they can be."""

import json
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from stream import dub_commands, filter_commands
from stream.cli import main
from stream.clock import MonotonicClock
from stream.config import load_config
from stream.errors import ConfigError
from stream.filter_opening import shelf_opener
from stream.frames import FaceCrop, VideoFrame
from stream.media import ClipReader, decode_sound
from stream.media.codec_device import CPU
from tests.filter_folder import make_filters
from tests.stream.card_stand_in import Card
from tests.stream.clip_maker import SAMPLE, VOICE, make_clip, pts_of
from tests.stream.fake_faces import FakeFinder, face
from tests.stream.test_cli import FakeLoaded, complaint

pytestmark = pytest.mark.unit


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration that names a folder with three filters."""
    folder = make_filters(tmp_path / "filters", "negative", "white", "black")
    path = tmp_path / "visavis.toml"
    path.write_text(f'[filters]\nfolder = "{folder}"\n')
    return path


def run(*arguments: object) -> int:
    try:
        return main([str(each) for each in arguments])
    except SystemExit as end:
        return int(end.code or 0)


def luma(path: Path) -> list[np.ndarray]:
    return [frame.planes[0].copy() for frame in ClipReader(path).frames()]


def test_the_list_names_each_filter_with_one_line(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("filter", "--list", "--config", config) == 0
    assert capsys.readouterr().out.splitlines() == [
        "black     Everything black",
        "negative  Everything negative",
        "white     Everything white",
    ]


def test_a_filter_that_cannot_be_read_is_listed_with_what_is_wrong_with_it(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "filters" / "white" / "manifest.json").write_text("{")
    assert run("filter", "--list", "--config", config) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert lines[2].startswith("white     cannot be used")


@pytest.mark.parametrize(
    ("pts", "time_base"),
    [
        ([1001 * n for n in range(12)], Fraction(1, 30_000)),
        ([0, 40, 80, 200, 220, 300, 310, 400, 440, 441, 500, 560], Fraction(1, 1000)),
    ],
)
def test_a_clip_is_filtered_with_its_own_pts_and_its_own_sound(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], pts: list[int], time_base: Fraction
) -> None:
    source, output = make_clip(tmp_path / "in.mp4", pts=pts, time_base=time_base, sound_s=0.4), tmp_path / "out.mp4"
    report = tmp_path / "report.json"
    line = ("filter", source, "-o", output, "--filter", "white", "--config", config, "--no-badge", "--report", report)
    assert run(*line) == 0
    assert "12 of 12 pictures filtered by white" in capsys.readouterr().out
    assert pts_of(output) == pts_of(source)
    # x264 keeps a flat white to a level.
    assert all((plane >= 234).all() for plane in luma(output))
    own, kept = decode_sound(source, "in"), decode_sound(output, "out")
    middle = slice(len(own) // 4, len(own) * 3 // 4)
    # 10 %: two generations of AAC.
    assert np.std(kept[middle]) == pytest.approx(np.std(own[middle]), rel=0.1)
    figures = json.loads(report.read_text())
    assert figures["frames"] == {"written": 12, "filtered": 12, "passed": {}, "damaged_packets": 0}
    assert set(figures["stages"]) == {"decode", "filter", "encode"}
    assert figures["filter"]["name"] == "white"
    assert figures["filter"]["network"].startswith("white on openvino, fp32")


def test_the_file_says_that_it_is_synthetic_and_a_mark_shows_it(config: Path, tmp_path: Path) -> None:
    source = make_clip(tmp_path / "in.mp4", width=128, height=96)
    for name, extra in (("marked", ()), ("plain", ("--no-badge",))):
        line = ("filter", source, "-o", tmp_path / f"{name}.mkv", "--filter", "white", "--config", config, *extra)
        assert run(*line, "--quality", 0) == 0
    with av.open(str(tmp_path / "plain.mkv")) as container:
        assert "synthetic=picture" in container.metadata["COMMENT"]
        assert "filter white" in container.metadata["COMMENT"]
    marked, plain = luma(tmp_path / "marked.mkv")[0], luma(tmp_path / "plain.mkv")[0]
    changed = marked != plain
    assert changed[48:, :64].any()
    assert not changed[:48].any()
    assert not changed[:, 64:].any()


def test_the_report_counts_what_the_card_decoded_and_the_command_says_who_encoded(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    card = Card(refuses=("h264_nvenc",))
    monkeypatch.setattr(filter_commands, "choose", lambda _: card.codecs())
    source, report = make_clip(tmp_path / "in.mp4"), tmp_path / "report.json"
    line = ("filter", source, "-o", tmp_path / "out.mp4", "--filter", "white", "--config", config, "--report", report)
    assert run(*line, "--codecs", "auto") == 0
    assert json.loads(report.read_text())["codecs"] == {"decoded_by_card": 10, "encoder": "libx264"}
    told = capsys.readouterr().err
    assert "visavis: pictures are decoded by card 0" in told
    assert "warning: NVENC cannot encode out.mp4" in told


def test_pictures_that_a_card_decoded_are_filtered_as_all_others(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A card's planes are NV12: the two of chroma lie in one another."""
    source = make_clip(tmp_path / "in.mp4", width=128, height=96)
    codecs = {"cpu": CPU, "card": Card(refuses=("h264_nvenc",)).codecs()}
    for name, chosen in codecs.items():
        monkeypatch.setattr(filter_commands, "choose", lambda _, chosen=chosen: chosen)
        line = ("filter", source, "-o", tmp_path / f"{name}.mkv", "--filter", "negative", "--config", config)
        assert run(*line, "--wipe", 0.5) == 0
    by_processor, by_card = (list(ClipReader(tmp_path / f"{name}.mkv").frames()) for name in codecs)
    assert len(by_processor) == len(by_card) == 10
    for a, b in zip(by_processor, by_card, strict=True):
        assert all(np.array_equal(plane, other) for plane, other in zip(a.planes, b.planes, strict=True))


def test_a_card_that_is_not_there_is_refused_before_any_work(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stream.media.codec_device._DRIVER", "libno-such-driver.so.1")
    source, output = make_clip(tmp_path / "in.mp4"), tmp_path / "out.mp4"
    line = ("filter", source, "-o", output, "--filter", "white", "--config", config)
    assert run(*line, "--codecs", "nvidia") == 2
    assert "there is no NVIDIA driver" in complaint(capsys)
    assert not output.exists()


def test_a_silent_clip_stays_silent(config: Path, tmp_path: Path) -> None:
    source, output = make_clip(tmp_path / "in.mp4"), tmp_path / "out.mp4"
    assert run("filter", source, "-o", output, "--filter", "white", "--config", config) == 0
    with av.open(str(output)) as container:
        assert len(container.streams.audio) == 0
    assert len(luma(output)) == 10


@pytest.mark.parametrize(("width", "height"), [(65, 49), (63, 48)])
def test_odd_sizes_are_kept(config: Path, tmp_path: Path, width: int, height: int) -> None:
    source = make_clip(tmp_path / "in.mkv", width=width, height=height, codec="ffv1", pts=range(3))
    output = tmp_path / "out.mkv"
    assert run("filter", source, "-o", output, "--filter", "negative", "--config", config) == 0
    assert [plane.shape for plane in luma(output)] == [(height, width)] * 3


def test_frames_of_four_thousand_columns_are_filtered(config: Path, tmp_path: Path) -> None:
    source, output = make_clip(tmp_path / "in.mp4", width=3840, height=2160, pts=range(2)), tmp_path / "out.mp4"
    assert run("filter", source, "-o", output, "--filter", "white", "--no-badge", "--config", config) == 0
    assert all((plane >= 234).all() for plane in luma(output))


def test_strength_and_wipe_are_those_of_the_command_line(config: Path, tmp_path: Path) -> None:
    source, output = make_clip(tmp_path / "in.mkv", codec="ffv1", pts=range(2)), tmp_path / "out.mkv"
    line = ("filter", source, "-o", output, "--filter", "white", "--no-badge", "--config", config, "--quality", 0)
    assert run(*line, "--wipe", 0.5, "--strength", 0.5) == 0
    before, after = luma(source)[0].astype(int), luma(output)[0].astype(int)
    assert np.array_equal(after[:, :32], before[:, :32])
    # One level: the blend is rounded.
    assert np.abs(after[:, 32:] - (before[:, 32:] + 235) / 2).max() <= 1


def test_around_faces_only_those_change_and_a_clip_without_one_is_refused(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(filter_commands, "open_face_finder", lambda *_args, **_options: FakeFinder())
    source = make_clip(tmp_path / "in.mkv", width=160, height=64, codec="ffv1", pts=range(3))
    line = ("filter", source, "--filter", "white", "--no-badge", "--config", config, "--quality", 0, "--region", "face")
    assert run(*line, "-o", tmp_path / "out.mkv") == 0
    changed = luma(tmp_path / "out.mkv")[0] != luma(source)[0]
    assert changed[:, 60:100].any()
    assert not changed[:, :30].any()
    capsys.readouterr()
    monkeypatch.setattr(filter_commands, "open_face_finder", lambda *_args, **_options: FakeFinder(lambda _: []))
    assert run(*line, "-o", tmp_path / "none.mkv") == 2
    assert "no face was found in any of its 3 pictures; give --region frame" in capsys.readouterr().err
    assert not (tmp_path / "none.mkv").exists()
    assert run(*line, "-o", tmp_path / "none.mkv", "--keep-going") == 0


WRONG = [
    (["filter"], "IN, -o/--output, --filter (or --list)"),
    (["filter", "in.mp4", "--filter", "white"], "-o/--output (or --list)"),
    (["filter", "in.mp4", "-o", "out.mp4", "--filter", "white", "--strength", "2"], "'2' is not a share"),
    (["filter", "in.mp4", "-o", "out.mp4", "--filter", "white", "--region", "sky"], "invalid choice: 'sky'"),
    (["filter", "in.mp4", "-o", "out.mp4", "--fliter", "white"], "did you mean --filter?"),
    (["dub", "a", "--voice", "b", "-o", "c.mp4", "--filter-wipe", "0.5"], "--filter-wipe goes with --filter"),
    (["dub", "a", "--voice", "b", "-o", "c.mp4", "--filter-order", "during"], "invalid choice: 'during'"),
]


@pytest.mark.parametrize(("arguments", "expected"), WRONG)
def test_wrong_arguments_are_one_line_and_exit_2(
    arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*arguments) == 2
    assert expected in complaint(capsys)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("wite", ("no filter 'wite'", "did you mean white", "visavis filter --list")),
        ("zzz", ("no filter 'zzz'", "there is black, negative, white")),
        ("../white", ("no filter '../white'",)),
    ],
)
def test_an_unknown_filter_is_answered_with_the_nearest(
    config: Path, tmp_path: Path, name: str, words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    source = make_clip(tmp_path / "in.mp4")
    assert run("filter", source, "-o", tmp_path / "out.mp4", "--filter", name, "--config", config) == 2
    said = complaint(capsys)
    assert all(word in said for word in words)
    assert not (tmp_path / "out.mp4").exists()


@pytest.mark.parametrize("file", ["filter.xml", "filter.bin"])
def test_a_filter_whose_engine_is_missing_is_named_with_the_remedy(
    config: Path, tmp_path: Path, file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "filters" / "white" / file).unlink()
    source = make_clip(tmp_path / "in.mp4")
    assert run("filter", source, "-o", tmp_path / "out.mp4", "--filter", "white", "--config", config) == 2
    said = complaint(capsys)
    assert file in said
    assert "git checkout" in said


BAD_FILES = [
    ("none.mp4", None, "none.mp4: no such file"),
    ("words.mp4", b"these are only words" * 50, "words.mp4 is not a media file"),
    ("cut.mp4", SAMPLE.read_bytes()[:100_000], "cut.mp4 is cut short"),
]


@pytest.mark.parametrize(("name", "content", "expected"), BAD_FILES)
def test_bad_clips_are_one_line_and_leave_nothing(
    config: Path, tmp_path: Path, name: str, content: bytes | None, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    line = ("filter", tmp_path / name, "-o", tmp_path / "out.mp4", "--filter", "white", "--config", config)
    assert run(*line) == 2
    assert expected in complaint(capsys)
    assert not list(tmp_path.glob("*out*"))


def test_an_output_that_exists_or_is_the_input_is_refused(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, output = make_clip(tmp_path / "in.mp4"), tmp_path / "out.mp4"
    output.write_text("mine")
    line = ("filter", source, "--filter", "white", "--config", config)
    assert run(*line, "-o", output) == 2
    assert "out.mp4 exists: give --overwrite" in complaint(capsys)
    assert run(*line, "-o", source, "--overwrite") == 2
    assert "both the input and the output" in complaint(capsys)
    assert run(*line, "-o", output, "--overwrite") == 0
    assert len(luma(output)) == 10


# -- with a dub --------------------------------------------------------------------------------------


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dub_commands, "open_generator", lambda *_args, **_options: FakeLoaded())
    monkeypatch.setattr(dub_commands, "open_face_finder", lambda *_args, **_options: FakeFinder())


@pytest.mark.usefixtures("fakes")
@pytest.mark.parametrize("order", ["before", "after"])
def test_a_dubbed_clip_is_filtered_before_or_after_its_lips_are_made(
    config: Path, tmp_path: Path, order: str, capsys: pytest.CaptureFixture[str]
) -> None:
    source = make_clip(tmp_path / "in.mkv", codec="ffv1", pts=range(10))
    output, report = tmp_path / "out.mkv", tmp_path / "r.json"
    line = ("dub", source, "--voice", VOICE, "-o", output, "--report", report, "--no-badge", "--quality", 0)
    assert run(*line, "--config", config, "--filter", "white", "--filter-order", order) == 0
    assert "10 of 10 pictures re-voiced, 10 filtered by white" in capsys.readouterr().out
    pictures = luma(output)
    # Lips that were made after the filter are on top of it.
    assert all((plane == 235).all() for plane in pictures) == (order == "after")
    assert all((plane[:4] == 235).all() for plane in pictures)
    figures = json.loads(report.read_text())
    assert figures["frames"]["filtered"] == figures["frames"]["re_voiced"] == 10
    assert figures["filter"]["order"] == order
    assert set(figures["stages"]) == {"decode", "faces", "render", "filter", "encode"}
    with av.open(str(output)) as container:
        assert "synthetic=lips+voice+picture" in container.metadata["COMMENT"]


# -- with a covered mouth ----------------------------------------------------------------------------


def covered(frame: VideoFrame) -> list[FaceCrop]:
    return [face(frame.pts_ns, centre=(32.0, 24.0), side=40.0, visible=0.0)]


@pytest.fixture
def covering(tmp_path: Path) -> Path:
    """A configuration that has covered mouths drawn by "white", which is for portraits; "black" is not."""
    folder = make_filters(tmp_path / "filters", "white", region="portrait")
    make_filters(folder, "black")
    path = tmp_path / "covering.toml"
    path.write_text(f'[filters]\nfolder = "{folder}"\nwhen_covered = "white"\n')
    return path


@pytest.mark.usefixtures("fakes")
def test_a_dub_has_covered_mouths_drawn_by_the_filter_of_the_configuration_and_reports_how_many(
    covering: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(dub_commands, "open_face_finder", lambda *_args, **_options: FakeFinder(covered))
    source, report = make_clip(tmp_path / "in.mkv", codec="ffv1", pts=range(10)), tmp_path / "r.json"
    line = ("dub", source, "--voice", VOICE, "-o", tmp_path / "out.mkv", "--report", report, "--config", covering)
    assert run(*line) == 0
    assert "10 of 10 pictures re-voiced, 10 with a covered mouth drawn by white" in capsys.readouterr().out
    figures = json.loads(report.read_text())
    assert (figures["frames"]["covered"], figures["frames"]["covered_passed"]) == (10, {})
    assert figures["when_covered"]["name"] == "white"
    assert "filtered" not in figures["frames"]


REFUSED = [
    ("wite", "[filters] when_covered: there is no filter 'wite': did you mean white?"),
    (
        "black",
        "[filters] when_covered: black is for the region frame, a covered mouth needs one for the region portrait",
    ),
]


@pytest.mark.usefixtures("fakes")
@pytest.mark.parametrize(("name", "words"), REFUSED)
def test_a_filter_that_cannot_stand_in_is_refused_before_a_dub(
    covering: Path, tmp_path: Path, name: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    covering.write_text(covering.read_text().replace('"white"', f'"{name}"'))
    source = make_clip(tmp_path / "in.mkv", codec="ffv1", pts=range(2))
    assert run("dub", source, "--voice", VOICE, "-o", tmp_path / "out.mkv", "--config", covering) == 2
    assert words in complaint(capsys)
    assert not (tmp_path / "out.mkv").exists()


@pytest.mark.parametrize(
    ("name", "offered", "words"),
    [
        *((name, "", words) for name, words in REFUSED),
        ("white", 'offered = ["black"]', "no filter 'white': there is black. Take one of those that are offered"),
        ("white", "off = true", "no filter 'white': there is none"),
    ],
)
def test_a_server_refuses_it_when_it_opens_its_filters(covering: Path, name: str, offered: str, words: str) -> None:
    config = load_config(covering).filters
    covering.write_text(f'[filters]\nfolder = "{config.folder}"\nwhen_covered = "{name}"\n{offered}\n')
    with pytest.raises(ConfigError) as raised:
        shelf_opener(load_config(covering).filters, None, None)(MonotonicClock())
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_server_opens_it_with_the_others(covering: Path) -> None:
    shelf = shelf_opener(load_config(covering).filters, None, None)(MonotonicClock())
    assert shelf.when_covered is not None
    assert (shelf.when_covered.name, shelf.when_covered.anonymous) == ("white", True)
    shelf.close()
