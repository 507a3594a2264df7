"""Generated cameras and microphones: sizes, counts, rates."""

import wave
from pathlib import Path

import numpy as np
import pytest

from benchmarks import clips

pytestmark = pytest.mark.unit

SAMPLE = Path(__file__).parents[2] / "stream" / "assets" / "sample.mp4"


def test_a_y4m_holds_every_frame_under_one_header(tmp_path: Path) -> None:
    path = tmp_path / "camera.y4m"
    count = clips.write_y4m(path, clips.numbered(clips.portrait_frames(320, 240, 10, 0.5)), 320, 240, 10)
    content = path.read_bytes()
    header, _, rest = content.partition(b"\n")
    assert count == 5
    assert header == b"YUV4MPEG2 W320 H240 F10:1 Ip A1:1 C420jpeg"
    assert len(rest) == 5 * (len(b"FRAME\n") + 320 * 240 * 3 // 2)


def test_drawn_frames_move_and_carry_their_numbers() -> None:
    frames = list(clips.numbered(clips.portrait_frames(640, 480, 30, 0.2)))
    assert [clips.read_number(frame[:480]) for frame in frames] == list(range(6))
    assert np.abs(frames[0].astype(int) - frames[5].astype(int)).mean() > 1


@pytest.mark.parametrize(("width", "height"), [(640, 480), (1280, 720)])
def test_a_real_clip_keeps_its_length_at_another_rate_and_size(width: int, height: int) -> None:
    count = 0
    for frame in clips.clip_frames(SAMPLE, width, height, 25):
        assert frame.shape == (height * 3 // 2, width)
        count += 1
    assert count == pytest.approx(154 / 23.976 * 25, abs=1)


def test_a_clips_sound_comes_as_48_khz_mono(tmp_path: Path) -> None:
    sound = clips.clip_sound(SAMPLE)
    assert len(sound) / clips.SAMPLE_RATE_HZ == pytest.approx(6.4, abs=0.1)
    assert np.abs(sound).max() > 0.02

    clips.write_wav(tmp_path / "microphone.wav", sound)
    with wave.open(str(tmp_path / "microphone.wav")) as written:
        assert (written.getframerate(), written.getnchannels(), written.getnframes()) == (48_000, 1, len(sound))
