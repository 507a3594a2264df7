"""A voice from any file: the right length, the right place in time, one line for what cannot be used."""

from pathlib import Path

import numpy as np
import pytest

from kernels.mel import LIPGAN_WINDOW, SILENCE, mel_spectrogram, window_at
from stream.errors import MediaError
from stream.media import SoundReader, resample
from stream.voice import EAR_RATE_HZ, VoiceTrack
from tests.stream.clip_maker import SAMPLE, VOICE, make_clip, make_sound

pytestmark = pytest.mark.unit

MS = 1_000_000
CLICK_S = 0.5
FORMATS = [
    pytest.param("wav", 8_000, "pcm_s16le", "mono", "s16", 1, id="8kHz"),
    pytest.param("wav", 44_100, "pcm_s16le", "stereo", "s16", 2, id="stereo"),
    pytest.param("wav", 48_000, "pcm_s16le", "5.1", "s16", 6, id="5.1"),
    pytest.param("wav", 48_000, "pcm_s24le", "mono", "s32", 1, id="24bit"),
    pytest.param("wav", 96_000, "pcm_f32le", "mono", "flt", 1, id="float"),
    pytest.param("flac", 22_050, "flac", "mono", "s16", 1, id="flac"),
    pytest.param("mp3", 44_100, "libmp3lame", "stereo", "fltp", 2, id="mp3"),
    pytest.param("m4a", 44_100, "aac", "mono", "fltp", 1, id="aac"),
    pytest.param("ogg", 48_000, "libopus", "mono", "flt", 1, id="opus"),
]


def burst(rate_hz: int, seconds: float = 1.0, at_s: float = CLICK_S) -> np.ndarray:
    """Silence with 20 ms of a 1 kHz tone that begins at `at_s`."""
    time_s = np.arange(round(seconds * rate_hz)) / rate_hz - at_s
    return (0.5 * np.sin(2 * np.pi * 1000 * time_s) * ((time_s >= 0) & (time_s < 0.02))).astype(np.float32)


@pytest.mark.parametrize(("ending", "rate", "codec", "layout", "sample_format", "channels"), FORMATS)
def test_every_kind_of_file_puts_a_sound_where_it_was(
    tmp_path: Path, ending: str, rate: int, codec: str, layout: str, sample_format: str, channels: int
) -> None:
    samples = np.tile(burst(rate), (channels, 1))
    path = make_sound(tmp_path / f"v.{ending}", samples, rate, codec=codec, layout=layout, sample_format=sample_format)
    voice = VoiceTrack.open(path)
    heard = voice.audio(0, EAR_RATE_HZ)
    envelope = np.abs(heard)
    begin_s = np.flatnonzero(envelope > 0.5 * envelope.max())[0] / EAR_RATE_HZ
    # 1 ms: the tone's first quarter wave is 0.25 ms, a codec smears the rest.
    assert abs(begin_s - CLICK_S) < 0.001
    # A lossy codec rounds the length up to its block.
    assert abs(voice.duration_ns / 1e9 - 1.0) < 0.03


def test_sound_and_lips_are_cut_at_the_same_time() -> None:
    voice = VoiceTrack(burst(EAR_RATE_HZ))
    loudness = [voice.mel(ms * MS)[:, LIPGAN_WINDOW.past].mean() for ms in range(400, 600)]
    centre_ms = 400 + np.average(np.arange(200), weights=np.array(loudness) - min(loudness))
    # The burst is centred at 510 ms; half a mel column is 6.25 ms.
    assert abs(centre_ms - 510) < 3


def test_lips_see_the_mel_of_the_whole_voice() -> None:
    samples = np.random.default_rng(0).normal(0, 0.1, EAR_RATE_HZ).astype(np.float32)
    expected = mel_spectrogram(resample(samples, EAR_RATE_HZ, 16_000))
    voice = VoiceTrack(samples)
    for pts_ns in (0, 480 * MS, 999 * MS):
        assert np.array_equal(voice.mel(pts_ns), window_at(expected, pts_ns))


def test_pieces_of_20_ms_join_to_the_whole() -> None:
    samples = np.random.default_rng(0).normal(0, 0.1, EAR_RATE_HZ).astype(np.float32)
    voice = VoiceTrack(samples)
    pieces = [voice.audio(n * 20 * MS, 960) for n in range(50)]
    assert np.array_equal(np.concatenate(pieces), samples)


def test_outside_the_voice_there_is_silence_for_the_ear_and_for_the_lips() -> None:
    voice = VoiceTrack(np.ones(4800, np.float32))
    assert not voice.audio(-1_000 * MS, 960).any()
    assert not voice.audio(100 * MS, 960).any()
    assert np.array_equal(voice.audio(90 * MS, 960)[480:], np.zeros(480, np.float32))
    assert (voice.mel(10_000 * MS) == SILENCE).all()
    assert (voice.mel(-10_000 * MS) == SILENCE).all()


def test_a_voice_of_one_sample_is_a_voice() -> None:
    voice = VoiceTrack(np.ones(1, np.float32))
    assert voice.mel(0).shape == (80, 27)
    assert voice.audio(0, 2).tolist() == [1.0, 0.0]


def test_only_the_rate_of_the_ear_is_served() -> None:
    with pytest.raises(ValueError, match="48000"):
        VoiceTrack(np.ones(1, np.float32)).audio(0, 1, 16_000)


def test_bytes_are_as_good_as_a_file_and_a_clip_has_a_voice_too() -> None:
    from_bytes = VoiceTrack.open(VOICE.read_bytes(), name="upload")
    assert from_bytes.duration_ns == VoiceTrack.open(VOICE).duration_ns
    assert abs(VoiceTrack.open(SAMPLE).duration_ns / 1e9 - 6.42) < 0.03


BAD = [
    (b"", "is empty"),
    (b"only words " * 100, "is not a media file"),
    (VOICE.read_bytes()[:44], "holds no sound"),
]


@pytest.mark.parametrize(("content", "expected"), BAD)
def test_what_is_no_voice_is_named_in_one_line(tmp_path: Path, content: bytes, expected: str) -> None:
    path = tmp_path / "voice.wav"
    path.write_bytes(content)
    for source, name in ((path, ""), (content, "voice.wav")):
        with pytest.raises(MediaError, match=rf"^voice\.wav {expected}"):
            VoiceTrack.open(source, name=name)


def test_a_silent_film_has_no_voice(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="has no sound"):
        VoiceTrack.open(make_clip(tmp_path / "silent.mp4"))


def test_a_voice_that_is_too_long_is_refused() -> None:
    with pytest.raises(MediaError, match=r"^voice\.wav is longer than 2 s"):
        VoiceTrack.open(VOICE, longest_s=2.0)


def test_resampling_keeps_a_tone_and_its_place() -> None:
    time_s = np.arange(EAR_RATE_HZ) / EAR_RATE_HZ
    tone = np.sin(2 * np.pi * 3000 * time_s).astype(np.float32)
    low = resample(tone, EAR_RATE_HZ, 16_000)
    expected = np.sin(2 * np.pi * 3000 * np.arange(len(low)) / 16_000)
    assert abs(len(low) - 16_000) <= 1
    # 1e-3 away from the ends, where the filter has seen the whole tone.
    assert np.abs(low - expected)[200:-200].max() < 1e-3


def test_a_clips_own_sound_is_read_in_pieces_without_a_seam() -> None:
    whole = SoundReader(SAMPLE, channels=2).read(200_000)
    reader = SoundReader(SAMPLE, channels=2)
    pieces = [reader.read(count) for count in (1, 999, 50_000, 100_000, 49_000)]
    assert np.array_equal(np.concatenate(pieces, axis=1), whole)
    assert np.abs(whole).max() > 0.05
    assert not reader.read(400_000)[:, -1000:].any()


@pytest.mark.parametrize("ending", ["mp4", "mkv", "ts"])
@pytest.mark.parametrize("at_s", [0.0, 0.3])
def test_a_clips_own_sound_keeps_its_place_beside_the_pictures(tmp_path: Path, ending: str, at_s: float) -> None:
    clip = make_clip(tmp_path / f"in.{ending}", pts=range(25), sound_s=0.5, sound_at_s=at_s)
    sound = np.abs(SoundReader(clip, channels=1).read(EAR_RATE_HZ)[0])
    heard_s = np.flatnonzero(sound > 0.1) / EAR_RATE_HZ
    # AAC smears an onset over part of a block of 23 ms; TS keeps the encoder's first block of 23 ms.
    assert abs(heard_s[0] - at_s) < 0.03
    assert abs(heard_s[-1] - (at_s + 0.5)) < 0.03
