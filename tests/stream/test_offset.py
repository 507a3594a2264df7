"""The meter of a file's signed A/V offset reads what was put into the file."""

import asyncio
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from stream.dub import Dub
from stream.dub_job import DubJob
from stream.offset import file_offset_ms
from stream.voice import EAR_RATE_HZ, VoiceTrack
from tests.stream.clip_maker import make_clip, make_sound
from tests.stream.fake_faces import FakeFinder
from tests.stream.fake_generator import FakeGenerator

pytestmark = pytest.mark.unit


def speech(seconds: float = 1.0) -> NDArray[np.float32]:
    """Noise in bursts: it is like itself at one place only."""
    random = np.random.default_rng(0)
    loud = np.repeat(random.random(round(seconds * 20)) > 0.5, EAR_RATE_HZ // 20)
    return (0.2 * random.normal(size=len(loud)) * loud).astype(np.float32)


def dubbed(folder: Path, voice: NDArray[np.float32]) -> tuple[Path, Path]:
    source = make_clip(folder / "in.mp4", pts=range(25))
    job = DubJob(source=source, voice=make_sound(folder / "v.wav", voice, EAR_RATE_HZ), output=folder / "out.mp4")
    asyncio.run(Dub(job, FakeGenerator(), FakeFinder).run())
    return source, job.output


def test_what_dub_writes_has_no_offset(tmp_path: Path) -> None:
    source, output = dubbed(tmp_path, speech())
    offset_ms = file_offset_ms(source, VoiceTrack(speech()), output)
    # Two samples of 48 kHz.
    assert offset_ms == pytest.approx(0.0, abs=0.05)


@pytest.mark.parametrize("late_ms", [-80, 40, 120])
def test_a_shifted_voice_reads_as_its_shift_with_its_sign(tmp_path: Path, late_ms: int) -> None:
    source, output = dubbed(tmp_path, speech())
    # The file's voice lies late_ms after the one that it is held against.
    expected = VoiceTrack(np.roll(speech(), -late_ms * EAR_RATE_HZ // 1000))
    assert file_offset_ms(source, expected, output) == pytest.approx(late_ms, abs=0.05)


def test_pictures_that_are_early_make_the_sound_late(tmp_path: Path) -> None:
    _, output = dubbed(tmp_path, speech())
    later = make_clip(tmp_path / "later.mkv", pts=range(3, 28), sound_s=1.0)
    assert file_offset_ms(later, VoiceTrack(speech()), output) == pytest.approx(120.0, abs=1.0)


def test_silence_has_no_offset_to_measure(tmp_path: Path) -> None:
    source, output = dubbed(tmp_path, np.zeros(EAR_RATE_HZ, np.float32))
    assert file_offset_ms(source, VoiceTrack(np.zeros(EAR_RATE_HZ, np.float32)), output) is None
