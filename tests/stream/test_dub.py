"""File mode from end to end, with a generator and a finder that a test holds in its hand: every kind of input."""

import asyncio
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from stream.dub import Dub
from stream.dub_job import DubFigures, DubJob
from stream.errors import ConfigError, MediaError
from stream.frames import FaceCrop, VideoFrame
from stream.media import ClipReader, Encoding, decode_sound
from stream.render import RenderOptions
from stream.voice import VoiceTrack
from tests.stream.clip_maker import SAMPLE, VOICE, make_clip, make_sound, pts_of
from tests.stream.fake_faces import FakeFinder, face
from tests.stream.fake_generator import FakeGenerator

pytestmark = pytest.mark.unit

RATE_HZ = 48_000


def tone(seconds: float, rate_hz: int = RATE_HZ) -> NDArray[np.float32]:
    """A 500 Hz tone that beeps four times a second."""
    time_s = np.arange(round(seconds * rate_hz)) / rate_hz
    return (0.4 * np.sin(2 * np.pi * 500 * time_s) * (time_s % 0.25 < 0.05)).astype(np.float32)


def voice_file(folder: Path, seconds: float = 0.4) -> Path:
    return make_sound(folder / "voice.wav", tone(seconds), RATE_HZ)


def dub(source: Path, voice: Path, output: Path, finder: FakeFinder | None = None, **options: object) -> DubFigures:
    job = DubJob(source=source, voice=voice, output=output, **options)  # type: ignore[arg-type]
    return asyncio.run(Dub(job, FakeGenerator(), lambda: finder or FakeFinder()).run())


CLOCKS = [
    pytest.param([1001 * n for n in range(12)], Fraction(1, 24_000), id="23.976"),
    pytest.param(list(range(12)), Fraction(1, 25), id="25"),
    pytest.param([1001 * n for n in range(12)], Fraction(1, 30_000), id="29.97"),
    pytest.param([0, 40, 80, 200, 220, 300, 310, 400, 440, 441, 500, 560], Fraction(1, 1000), id="variable"),
]


@pytest.mark.parametrize(("pts", "time_base"), CLOCKS)
def test_size_rate_and_every_pts_are_those_of_the_clip(tmp_path: Path, pts: list[int], time_base: Fraction) -> None:
    source = make_clip(tmp_path / "in.mp4", pts=pts, time_base=time_base, sound_s=0.4)
    figures = dub(source, voice_file(tmp_path), tmp_path / "out.mp4")
    assert pts_of(tmp_path / "out.mp4") == pts_of(source)
    before, after = ClipReader(source).format, ClipReader(tmp_path / "out.mp4").format
    assert (after.width, after.height, after.time_base) == (before.width, before.height, before.time_base)
    assert figures.pictures == figures.made == len(pts)
    assert figures.passed == {}


def test_the_sound_is_the_voice_at_its_place(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "in.mp4", pts=range(25), sound_s=1.0)
    dub(source, voice_file(tmp_path, 1.0), tmp_path / "out.mp4")
    heard = decode_sound(tmp_path / "out.mp4", "out.mp4")
    expected = tone(1.0)
    lag = int(np.argmax(np.correlate(heard[: RATE_HZ // 2], expected[: RATE_HZ // 2], "full"))) - (RATE_HZ // 2 - 1)
    assert abs(lag) <= 2
    assert abs(len(heard) - RATE_HZ) < 2048


def test_without_faces_in_some_pictures_those_are_the_clips_own(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "in.mp4", pts=range(10))

    def look(frame: VideoFrame) -> Sequence[FaceCrop]:
        return [face(frame.pts_ns, centre=(32, 24), side=40.0)] if frame.pts_ns < 200_000_000 else []

    figures = dub(source, voice_file(tmp_path), tmp_path / "out.mkv", FakeFinder(look), encoding=Encoding(quality=0))
    before, after = (list(ClipReader(path).frames()) for path in (source, tmp_path / "out.mkv"))
    same = [np.array_equal(a.planes[0], b.planes[0]) for a, b in zip(before, after, strict=True)]
    assert same == [False] * 5 + [True] * 5
    assert figures.passed == {"no_face": 5}


def test_after_the_voice_the_mouth_closes_and_a_line_says_so(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "in.mp4", pts=range(25))
    figures = dub(source, voice_file(tmp_path, 0.4), tmp_path / "out.mp4", render=RenderOptions(badge=""))
    assert figures.warnings == ("voice.wav lasts 0.4 s, in.mp4 1.0 s: the last 0.6 s are silent",)
    assert figures.made == 25
    assert not decode_sound(tmp_path / "out.mp4", "out")[round(0.5 * RATE_HZ) :].round(2).any()


def test_a_voice_that_is_too_long_is_cut_and_a_line_says_so(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "in.mp4", pts=range(10))
    figures = dub(source, voice_file(tmp_path, 2.0), tmp_path / "out.mp4")
    assert figures.warnings == ("voice.wav lasts 2.0 s, in.mp4 0.4 s: the last 1.6 s of the voice are cut",)
    assert abs(figures.media_s - 0.4) < 1e-6
    assert len(decode_sound(tmp_path / "out.mp4", "out")) < 0.45 * RATE_HZ


def test_the_original_can_stay_under_the_voice(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "in.mp4", pts=range(25), sound_s=1.0)
    quiet = make_sound(tmp_path / "voice.wav", np.zeros(RATE_HZ, np.float32), RATE_HZ)
    dub(source, quiet, tmp_path / "out.mp4", mix_original_db=-20.0)
    own, mixed = decode_sound(source, "in"), decode_sound(tmp_path / "out.mp4", "out")
    middle = slice(RATE_HZ // 4, RATE_HZ * 3 // 4)
    # 10 %: two generations of AAC.
    assert np.std(mixed[middle]) == pytest.approx(0.1 * np.std(own[middle]), rel=0.1)
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.streams.audio[0].layout.name == "stereo"


def test_two_faces_both_speak(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "in.mp4", width=160, height=80, pts=range(5))

    def look(frame: VideoFrame) -> Sequence[FaceCrop]:
        return [face(frame.pts_ns, centre=(40 + 80 * n, 40), side=50.0, face_id=n) for n in range(2)]

    figures = dub(
        source,
        voice_file(tmp_path),
        tmp_path / "out.mkv",
        FakeFinder(look),
        render=RenderOptions(badge=""),
        encoding=Encoding(quality=0),
    )
    before, after = (next(iter(ClipReader(path).frames())) for path in (source, tmp_path / "out.mkv"))
    changed = (before.planes[0] != after.planes[0]).any(axis=0)
    assert figures.made == 5
    assert changed[:80].any()
    assert changed[80:].any()


@pytest.mark.parametrize(("width", "height", "rotation"), [(65, 49, 0), (64, 48, 90), (63, 48, 270)])
def test_odd_and_turned_clips_come_out_upright_at_their_size(
    tmp_path: Path, width: int, height: int, rotation: int
) -> None:
    codec = "ffv1" if width % 2 else "libx264"
    ending = "mkv" if width % 2 else "mov"
    source = make_clip(tmp_path / f"in.{ending}", width=width, height=height, rotation=rotation, codec=codec)
    dub(source, voice_file(tmp_path), tmp_path / "out.mp4")
    frame = next(iter(ClipReader(tmp_path / "out.mp4").frames()))
    assert (frame.width, frame.height) == ((height, width) if rotation else (width, height))
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert next(container.decode(video=0)).rotation == 0


@pytest.mark.parametrize(
    ("rate_hz", "layout", "channels"), [(8_000, "mono", 1), (44_100, "stereo", 2), (48_000, "5.1", 6)]
)
def test_any_voice_will_do(tmp_path: Path, rate_hz: int, layout: str, channels: int) -> None:
    samples = np.tile(tone(0.4, rate_hz), (channels, 1))
    voice = make_sound(tmp_path / "voice.wav", samples, rate_hz, layout=layout)
    figures = dub(make_clip(tmp_path / "in.mp4"), voice, tmp_path / "out.mp4")
    assert figures.made == 10


def test_a_clip_without_sound_gets_one(tmp_path: Path) -> None:
    dub(make_clip(tmp_path / "in.mp4"), voice_file(tmp_path), tmp_path / "out.mp4")
    assert np.abs(decode_sound(tmp_path / "out.mp4", "out")).max() > 0.2


def nothing_but(folder: Path, *names: str) -> bool:
    return sorted(path.name for path in folder.iterdir()) == sorted(names)


def test_a_clip_without_a_face_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    source, voice = make_clip(tmp_path / "in.mp4", width=16, height=16), voice_file(tmp_path)
    with pytest.raises(MediaError, match=r"^in\.mp4: no face .* 10 pictures; use a clip .*--keep-going"):
        dub(source, voice, tmp_path / "out.mp4", FakeFinder(lambda _: []))
    assert nothing_but(tmp_path, "in.mp4", "voice.wav")
    figures = dub(source, voice, tmp_path / "out.mp4", FakeFinder(lambda _: []), keep_going=True)
    assert (figures.made, figures.passed) == (0, {"no_face": 10})


def test_a_clip_cut_short_is_refused_unless_told_to_keep_going(tmp_path: Path) -> None:
    whole = SAMPLE.read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 3])
    with pytest.raises(MediaError, match=r"^cut\.mp4 is cut short: 1\.\d s of 6\.4 s are there; .*--keep-going"):
        dub(tmp_path / "cut.mp4", VOICE, tmp_path / "out.mp4")
    assert nothing_but(tmp_path, "cut.mp4")
    figures = dub(tmp_path / "cut.mp4", VOICE, tmp_path / "out.mp4", keep_going=True)
    assert 20 < figures.pictures < 154


def test_mixing_what_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"in\.mp4 has no sound to mix in: leave out --mix-original"):
        dub(make_clip(tmp_path / "in.mp4"), voice_file(tmp_path), tmp_path / "out.mp4", mix_original_db=-10.0)


def test_an_input_is_never_the_output(tmp_path: Path) -> None:
    source, voice = make_clip(tmp_path / "in.mp4"), voice_file(tmp_path)
    with pytest.raises(ConfigError, match="both an input and the output"):
        dub(source, voice, tmp_path / "." / "in.mp4", overwrite=True)
    (tmp_path / "link.mp4").symlink_to(source)
    with pytest.raises(ConfigError, match="both an input and the output"):
        dub(source, voice, tmp_path / "link.mp4", overwrite=True)


def test_a_full_disk_leaves_nothing(tmp_path: Path, small_disk: Path) -> None:
    with pytest.raises(MediaError, match="no space left for"):
        dub(SAMPLE, VOICE, small_disk / "out.mp4", encoding=Encoding(quality=1))
    assert nothing_but(small_disk)


def test_an_old_file_survives_a_failure(tmp_path: Path) -> None:
    (tmp_path / "out.mp4").write_text("old")
    source = make_clip(tmp_path / "in.mp4")
    with pytest.raises(MediaError, match="no face"):
        dub(source, voice_file(tmp_path), tmp_path / "out.mp4", FakeFinder(lambda _: []), overwrite=True)
    assert (tmp_path / "out.mp4").read_text() == "old"


def test_an_engine_that_fails_once_costs_one_picture(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    job = DubJob(source=make_clip(tmp_path / "in.mp4"), voice=voice_file(tmp_path), output=tmp_path / "out.mp4")
    engine = FakeGenerator(fails_at=5)
    figures = asyncio.run(Dub(job, engine, FakeFinder).run(lambda done, total: calls.append((done, total))))
    assert (figures.pictures, figures.made, figures.passed) == (10, 9, {"render_failed": 1})
    assert calls == [(n, 10) for n in range(1, 11)]
    assert figures.stages["render"].failed == 1


def test_stopping_midway_leaves_nothing(tmp_path: Path) -> None:
    source, voice = make_clip(tmp_path / "in.mp4", pts=range(100)), voice_file(tmp_path)

    async def scenario() -> None:
        finder = FakeFinder()
        work = Dub(DubJob(source=source, voice=voice, output=tmp_path / "out.mp4"), FakeGenerator(), lambda: finder)
        task: asyncio.Task[DubFigures] | None = None

        def progress(done: int, _total: int) -> None:
            if done == 10 and task is not None:
                task.cancel()

        task = asyncio.create_task(work.run(progress))
        with pytest.raises(asyncio.CancelledError):
            await task
        assert finder.closed

    asyncio.run(scenario())
    assert nothing_but(tmp_path, "in.mp4", "voice.wav")


def test_lips_follow_the_voice_at_the_same_time(tmp_path: Path) -> None:
    """The fake paints its mouth by the mel at the picture's time: its brightness must beat with the tone."""
    source = make_clip(tmp_path / "in.mp4", pts=range(50))
    voice = voice_file(tmp_path, 2.0)
    dub(source, voice, tmp_path / "out.mkv", encoding=Encoding(quality=0), render=RenderOptions(badge=""))
    redness = [
        float(f.planes[2][24 // 2 + 2 : 24 // 2 + 4, 15:17].mean()) for f in ClipReader(tmp_path / "out.mkv").frames()
    ]
    track = VoiceTrack.open(voice)
    loudness = [float(track.mel(n * 40_000_000)[:, 13].mean()) for n in range(50)]
    assert np.corrcoef(redness, loudness)[0, 1] > 0.95
