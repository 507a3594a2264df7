"""Reading and writing clips: every size, clock, orientation and kind of damage that a user may bring."""

import errno
import os
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from kernels.yuv import BT601_LIMITED, Colour, i420_to_rgb
from stream.errors import ConfigError, MediaError
from stream.media import ClipReader, ClipWriter, Encoding, survey
from stream.media.writer import check_destination
from tests.stream.clip_maker import SAMPLE, make_clip, picture, pts_of

pytestmark = pytest.mark.unit

NTSC_FILM = [1001 * n for n in range(10)]
VARIABLE = [0, 3, 4, 9, 10, 11, 25, 26, 40, 41]
CLOCKS = [
    pytest.param(NTSC_FILM, Fraction(1, 24_000), id="23.976"),
    pytest.param(list(range(10)), Fraction(1, 25), id="25"),
    pytest.param([1001 * n for n in range(10)], Fraction(1, 30_000), id="29.97"),
    pytest.param([n * 40 for n in VARIABLE], Fraction(1, 1000), id="variable"),
]


def copy(source: Path, output: Path) -> None:
    """Write what is read, without sound."""
    reader = ClipReader(source)
    with ClipWriter(output, reader.format, channels=1, tags=survey(source).metadata, label="synthetic=test") as writer:
        for frame in reader.frames():
            writer.write_picture(frame)
        writer.finish()


@pytest.mark.parametrize(("pts", "time_base"), CLOCKS)
@pytest.mark.parametrize("ending", ["mp4", "mov", "mkv"])
def test_a_copy_keeps_size_rate_and_every_pts(tmp_path: Path, pts: list[int], time_base: Fraction, ending: str) -> None:
    source = make_clip(tmp_path / f"in.{ending}", pts=pts, time_base=time_base)
    copy(source, tmp_path / f"out.{ending}")
    before, after = ClipReader(source).format, ClipReader(tmp_path / f"out.{ending}").format
    assert (after.width, after.height, after.time_base) == (before.width, before.height, before.time_base)
    assert pts_of(tmp_path / f"out.{ending}") == pts_of(source)
    assert after.rate == before.rate or time_base == Fraction(1, 1000)


@pytest.mark.parametrize(("pts", "time_base"), CLOCKS)
def test_times_are_those_of_the_file_to_the_nanosecond(tmp_path: Path, pts: list[int], time_base: Fraction) -> None:
    source = make_clip(tmp_path / "in.mp4", pts=pts, time_base=time_base)
    found = [frame.pts_ns for frame in ClipReader(source).frames()]
    assert found == [round(tick * time_base * 10**9) for tick in pts]


def test_a_stream_that_starts_late_starts_at_zero(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "in.ts", pts=range(10), sound_s=0.4)
    first = next(iter(ClipReader(source).frames()))
    assert 0 <= first.pts_ns < 50_000_000


@pytest.mark.parametrize(("width", "height"), [(16, 16), (17, 31), (65, 48), (64, 49)])
def test_any_size_is_kept_odd_ones_too(tmp_path: Path, width: int, height: int) -> None:
    source = make_clip(tmp_path / "in.mkv", width=width, height=height, codec="ffv1")
    copy(source, tmp_path / "out.mp4")
    frames = list(ClipReader(tmp_path / "out.mp4").frames())
    assert {(frame.width, frame.height) for frame in frames} == {(width, height)}
    assert len(frames) == 10
    assert all(plane.shape == ((height + 1) // 2, (width + 1) // 2) for plane in frames[0].planes[1:])


@pytest.mark.parametrize(
    ("rotation", "hflip"), [(0, False), (90, False), (180, False), (270, False), (0, True), (90, True)]
)
def test_a_turned_phone_video_is_read_upright(tmp_path: Path, rotation: int, hflip: bool) -> None:
    """Corners tell the orientation: red grows to the right, green downwards, in the stored picture."""
    source = make_clip(tmp_path / "in.mp4", rotation=rotation, hflip=hflip)
    stored = picture(0, 64, 48)
    # set_display_rotation turns counter-clockwise and mirrors the result, as `libavutil/display.h` says.
    turned = np.rot90(stored, rotation // 90)
    expected = np.fliplr(turned) if hflip else turned
    frame = next(iter(ClipReader(source).frames()))
    found = i420_to_rgb(frame.planes, frame.colour)
    assert found.shape == expected.shape
    # 12 levels: chroma at half resolution and x264 at crf 10.
    assert np.abs(found.astype(int) - expected).mean() < 12


def test_an_upright_copy_has_no_rotation_left_and_its_pixels_keep_their_shape(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "in.mp4", rotation=90, aspect=Fraction(40, 33))
    copy(source, tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as container:
        frame = next(container.decode(video=0))
        assert (frame.width, frame.height, frame.rotation) == (48, 64, 0)
        assert container.streams.video[0].sample_aspect_ratio == Fraction(33, 40)


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "nv12", "rgb24", "gray"])
def test_every_pixel_format_becomes_the_same_picture(tmp_path: Path, pix_fmt: str) -> None:
    codec = {"rgb24": "png", "nv12": "rawvideo"}.get(pix_fmt, "ffv1")
    source = make_clip(tmp_path / ("in.mov" if codec == "png" else "in.mkv"), codec=codec, pix_fmt=pix_fmt)
    frame = next(iter(ClipReader(source).frames()))
    found = i420_to_rgb(frame.planes, frame.colour).astype(int)
    expected = picture(0, 64, 48).astype(float)
    if pix_fmt == "gray":
        expected = np.repeat((expected @ [0.299, 0.587, 0.114])[..., None], 3, axis=-1)
    # 6 levels in the mean: chroma at half resolution on a ramp of 4 levels a pixel.
    assert np.abs(found - expected).mean() < 6


def test_planes_of_a_420_clip_are_the_decoders_own_bytes() -> None:
    with av.open(str(SAMPLE)) as container:
        expected = next(container.decode(video=0)).to_ndarray()
    frame = next(iter(ClipReader(SAMPLE).frames()))
    assert np.array_equal(np.concatenate([plane.ravel() for plane in frame.planes]), expected.ravel())
    assert all(plane.flags.writeable and plane.flags.owndata for plane in frame.planes)


@pytest.mark.parametrize(
    ("colour", "expected"),
    [
        ({}, BT601_LIMITED),
        ({"colorspace": 1, "color_range": 1}, Colour("bt709", full_range=False)),
        ({"colorspace": 6, "color_range": 2}, Colour("bt601", full_range=True)),
    ],
)
def test_matrix_and_range_are_read_and_written(tmp_path: Path, colour: dict[str, int], expected: Colour) -> None:
    source = make_clip(tmp_path / "in.mp4", colour=colour)
    copy(source, tmp_path / "out.mp4")
    assert ClipReader(source).format.colour == expected
    assert ClipReader(tmp_path / "out.mp4").format.colour == expected


def test_the_output_says_that_it_is_synthetic_and_keeps_its_authors_name(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "in.mp4", metadata={"artist": "Someone", "comment": "CC BY 4.0"})
    copy(source, tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.metadata["comment"] == "synthetic=test; source: CC BY 4.0"
        assert container.metadata["artist"] == "Someone"


def test_the_index_comes_first_so_that_a_browser_plays_at_once(tmp_path: Path) -> None:
    copy(make_clip(tmp_path / "in.mp4"), tmp_path / "out.mp4")
    written = (tmp_path / "out.mp4").read_bytes()
    assert written.index(b"moov") < written.index(b"mdat")


def test_nothing_stands_under_the_final_name_before_the_end(tmp_path: Path) -> None:
    reader = ClipReader(make_clip(tmp_path / "in.mp4"))
    with ClipWriter(tmp_path / "out.mp4", reader.format, channels=1, tags={}, label="x") as writer:
        for frame in reader.frames():
            writer.write_picture(frame)
        assert not (tmp_path / "out.mp4").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path: Path, small_disk: Path) -> None:
    reader = ClipReader(SAMPLE)
    writer = ClipWriter(
        small_disk / "out.mp4", reader.format, channels=1, tags={}, label="x", encoding=Encoding(quality=1)
    )

    def fill() -> None:
        for frame in reader.frames():
            writer.write_picture(frame)
        writer.finish()

    with writer, pytest.raises(MediaError, match=r"^no space left for .*out\.mp4: free some"):
        fill()
    assert list(small_disk.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0 and not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_writer_names_the_reason_the_disk_gives(tmp_path: Path) -> None:
    reader = ClipReader(SAMPLE)
    with ClipWriter(tmp_path / "out.mp4", reader.format, channels=1, tags={}, label="x") as writer:
        error = writer._failed(OSError(errno.EIO, "bad"))
    assert "Input/output error" in str(error)


def test_a_clip_cut_short_is_seen_before_anything_is_decoded(tmp_path: Path) -> None:
    whole = SAMPLE.read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    found = survey(tmp_path / "cut.mp4")
    assert found.cut_short
    assert 0 < found.pictures < found.promised_pictures == 154
    assert not survey(SAMPLE).cut_short


def test_what_is_there_of_a_clip_cut_short_can_be_read(tmp_path: Path) -> None:
    whole = SAMPLE.read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    reader = ClipReader(tmp_path / "cut.mp4")
    # Lost: the torn last picture, and the two between it and the last whole one that refer to it.
    assert len(list(reader.frames())) >= survey(tmp_path / "cut.mp4").pictures - 3


def test_damage_in_the_middle_costs_pictures_not_the_clip(tmp_path: Path) -> None:
    broken = bytearray(make_clip(tmp_path / "in.mkv", pts=range(50), codec="ffv1").read_bytes())
    broken[len(broken) // 2 : len(broken) // 2 + 3000] = bytes(3000)
    (tmp_path / "broken.mkv").write_bytes(broken)
    pts = [frame.pts_ns for frame in ClipReader(tmp_path / "broken.mkv").frames()]
    assert 25 < len(pts) < 50
    assert pts == sorted(set(pts))


@pytest.mark.parametrize("ending", ["mp4", "mkv", "mov", "avi", "ts", "mpg"])
def test_whole_clips_of_every_container_are_not_called_cut_short(tmp_path: Path, ending: str) -> None:
    codec = {"mpg": "mpeg2video", "avi": "mpeg4"}.get(ending, "libx264")
    source = make_clip(tmp_path / f"in.{ending}", pts=range(50), codec=codec, sound_s=None if ending == "mpg" else 2.0)
    assert not survey(source).cut_short
    assert len(list(ClipReader(source).frames())) == 50


BAD = [
    (b"", "is empty"),
    (b"these are only words, no media at all" * 20, "is not a media file"),
    (SAMPLE.read_bytes()[:2000], "is cut short"),
]


@pytest.mark.parametrize(("content", "expected"), BAD)
def test_what_is_not_a_clip_is_named_in_one_line(tmp_path: Path, content: bytes, expected: str) -> None:
    path = tmp_path / "bad.mp4"
    path.write_bytes(content)
    with pytest.raises(MediaError, match=rf"^bad\.mp4 {expected}") as raised:
        survey(path)
    assert "\n" not in str(raised.value)


def test_an_index_at_the_end_that_was_lost_is_called_by_its_name(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "in.mp4", pts=range(50))
    (tmp_path / "cut.mp4").write_bytes(source.read_bytes()[:-1000])
    with pytest.raises(MediaError, match=r"its index \(moov\) is missing"):
        survey(tmp_path / "cut.mp4")


def test_missing_files_folders_and_pure_sound_are_refused(tmp_path: Path) -> None:
    from tests.stream.clip_maker import VOICE

    for path, expected in [(tmp_path / "no.mp4", "no such file"), (tmp_path, "is a folder"), (VOICE, "has no picture")]:
        with pytest.raises(MediaError, match=expected):
            survey(path)


def test_a_destination_is_refused_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "there.mp4").touch()
    refused = [
        (tmp_path / "a.txt", "ends in '.txt', expected one of .mp4"),
        (tmp_path / "none" / "a.mp4", "does not exist"),
        (tmp_path / "there.mp4", "give --overwrite"),
    ]
    for path, expected in refused:
        with pytest.raises(ConfigError, match=expected):
            check_destination(path, overwrite=False)
    check_destination(tmp_path / "there.mp4", overwrite=True)
