"""The mel columns: against the definition, against formulas written independently, streamed against whole, in time."""

import numpy as np
import pytest
import scipy.signal

from kernels.mel import (
    BANDS,
    COLUMN_NS,
    HOP,
    N_FFT,
    SAMPLE_RATE_HZ,
    SILENCE,
    MelWindow,
    StreamingMel,
    column_at,
    mel_filters,
    mel_spectrogram,
    mel_spectrogram_definition,
    window_at,
)

pytestmark = pytest.mark.unit

# No sample, one, less and more than half a frame, about a frame, a length that no hop divides, blocks of columns.
LENGTHS = [0, 1, 199, 200, 399, 400, 401, 799, 800, 16_001, 60_000]
# float32 has 24 bits and a column is 20 log10 of a sum of some 400 products; 1e-4 of a unit is 0.00125 dB.
FLOAT32 = 1e-4
# A matrix product sums in an order that depends on how many columns are computed at once.
STREAMED = 2e-6


def _noise(count: int, seed: int = 0, level: float = 0.1) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal(count) * level).astype(np.float32)


def _tone(hz: float, seconds: float = 1.0, level: float = 0.5) -> np.ndarray:
    time_s = np.arange(int(seconds * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    return (level * np.sin(2 * np.pi * hz * time_s)).astype(np.float32)


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("level", [1e-6, 1e-3, 0.1, 1.0])
def test_mel_equals_the_definition(length: int, level: float) -> None:
    sound = _noise(length, level=level)

    mel = mel_spectrogram(sound)

    assert mel.shape == (BANDS, length // HOP + 1 if length else 0)
    assert mel.dtype == np.float32
    np.testing.assert_allclose(mel, mel_spectrogram_definition(sound), atol=FLOAT32)


def _hz_to_mel(hz: float) -> float:
    """Slaney's scale as librosa writes it."""
    return 15.0 + np.log(hz / 1000.0) / (np.log(6.4) / 27.0) if hz >= 1000.0 else hz / (200.0 / 3)


def _mel_to_hz(mel: float) -> float:
    return 1000.0 * np.exp((np.log(6.4) / 27.0) * (mel - 15.0)) if mel >= 15.0 else (200.0 / 3) * mel


def _librosa_filters(bands: int, lowest_hz: float, highest_hz: float) -> np.ndarray:
    """`librosa.filters.mel` with its defaults, one weight at a time."""
    low, high = _hz_to_mel(lowest_hz), _hz_to_mel(highest_hz)
    edges = [_mel_to_hz(low + (high - low) * i / (bands + 1)) for i in range(bands + 2)]
    filters = np.zeros((bands, N_FFT // 2 + 1))
    for band in range(bands):
        left, centre, right = edges[band : band + 3]
        for k in range(N_FFT // 2 + 1):
            hz = k * SAMPLE_RATE_HZ / N_FFT
            rising, falling = (hz - left) / (centre - left), (right - hz) / (right - centre)
            filters[band, k] = max(0.0, min(rising, falling)) * 2.0 / (right - left)
    return filters


def _lipgan_mel(sound: np.ndarray) -> np.ndarray:
    """`audio.melspectrogram` of LipGAN's fully_pythonic branch, with scipy in librosa's place."""
    emphasised = scipy.signal.lfilter([1, -0.97], [1], sound.astype(np.float64))
    padded = np.pad(emphasised, 400)
    window = scipy.signal.get_window("hann", 800)
    columns = [np.fft.rfft(window * padded[i : i + 800]) for i in range(0, len(sound) + 1, 200)]
    mel = _librosa_filters(80, 55.0, 7600.0) @ np.abs(np.array(columns).T)
    min_level = np.exp(-100 / 20 * np.log(10))
    level_db = 20 * np.log10(np.maximum(min_level, mel)) - 20
    return np.asarray(np.clip((2 * 4.0) * ((level_db + 100) / 100) - 4.0, -4.0, 4.0))


@pytest.mark.parametrize("sound", [_noise(8_000), _tone(440.0), _tone(3_000.0, level=0.01)], ids=["noise", "a", "high"])
def test_mel_equals_lipgans_formulas(sound: np.ndarray) -> None:
    np.testing.assert_allclose(mel_spectrogram(sound), _lipgan_mel(sound), atol=FLOAT32)


def test_filters_equal_librosas_formulas() -> None:
    np.testing.assert_allclose(mel_filters(), _librosa_filters(80, 55.0, 7600.0), atol=1e-12)


def test_scipys_short_time_transform_sees_the_same_columns() -> None:
    sound = _noise(4_000)
    emphasised = scipy.signal.lfilter([1, -0.97], [1], sound.astype(np.float64))
    transform = scipy.signal.ShortTimeFFT(scipy.signal.get_window("hann", 800), hop=200, fs=16_000, fft_mode="onesided")

    magnitude = np.abs(transform.stft(emphasised, p0=0, p1=21))

    expected = np.clip(0.08 * 20 * np.log10(np.maximum(1e-5, mel_filters() @ magnitude)) + 8 - 1.6 - 4, -4, 4)
    np.testing.assert_allclose(mel_spectrogram(sound), expected, atol=FLOAT32)


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("pieces", ["40 ms", "one sample", "random"])
def test_streamed_equals_whole(length: int, pieces: str) -> None:
    length = min(length, 2_000) if pieces == "one sample" else length
    sound = _noise(length, seed=3)
    rng = np.random.default_rng(4)
    stream, columns, start = StreamingMel(), [], 0
    while start < length:
        step = {"40 ms": 640, "one sample": 1, "random": int(rng.integers(0, 2_000))}[pieces]
        columns.append(stream.push(sound[start : start + step]))
        start += step
    columns.append(stream.flush())

    np.testing.assert_allclose(np.concatenate(columns, axis=1), mel_spectrogram(sound), atol=STREAMED)


def test_a_column_appears_with_the_last_sample_of_its_frame() -> None:
    stream = StreamingMel()

    assert stream.push(_noise(399)).shape == (BANDS, 0)
    assert stream.push(_noise(1)).shape == (BANDS, 1)
    assert stream.push(_noise(199)).shape == (BANDS, 0)
    assert stream.push(_noise(1)).shape == (BANDS, 1)
    assert stream.columns_emitted == 2


def test_a_stream_does_not_keep_or_change_what_it_was_given() -> None:
    sound = _noise(4_000)
    original, buffer, stream = sound.copy(), np.empty(500, np.float32), StreamingMel()
    columns = []
    for start in range(0, 4_000, 500):
        buffer[:] = sound[start : start + 500]
        columns.append(stream.push(buffer))
        buffer[:] = 99.0
    columns.append(stream.flush())

    assert np.array_equal(sound, original)
    np.testing.assert_allclose(np.concatenate(columns, axis=1), mel_spectrogram(sound), atol=STREAMED)


def test_flush_begins_a_new_sound() -> None:
    stream = StreamingMel()
    stream.push(_noise(5_000, seed=5))
    stream.flush()
    sound = _noise(1_000, seed=6)

    columns = np.concatenate([stream.push(sound), stream.flush()], axis=1)

    np.testing.assert_allclose(columns, mel_spectrogram(sound), atol=STREAMED)
    assert stream.flush().shape == (BANDS, 0)


def test_silence_is_the_lowest_value_exactly() -> None:
    assert (mel_spectrogram(np.zeros(5_000, np.float32)) == SILENCE).all()


def test_a_sound_beyond_full_scale_is_clipped() -> None:
    square = np.where(np.arange(8_000) // 8 % 2, 100.0, -100.0).astype(np.float32)

    mel = mel_spectrogram(square)

    assert mel.max() == 4.0
    assert mel.min() >= -4.0


@pytest.mark.parametrize("hz", [100.0, 440.0, 1_000.0, 3_000.0, 7_000.0])
def test_a_tone_is_loudest_in_the_band_around_it(hz: float) -> None:
    peak = int(mel_spectrogram(_tone(hz))[:, 40].argmax())

    filters = mel_filters()[peak] * (np.arange(N_FFT // 2 + 1) * SAMPLE_RATE_HZ / N_FFT)
    centre_hz = filters.sum() / mel_filters()[peak].sum()
    # A band is at least 33 Hz and about 5 % wide; bins are 20 Hz apart.
    assert abs(centre_hz - hz) < max(40.0, 0.06 * hz)


@pytest.mark.parametrize("column", [3, 10, 27])
def test_a_click_is_centred_on_its_column(column: int) -> None:
    sound = np.zeros(8_000, np.float32)
    sound[column * HOP] = 1.0

    level = mel_spectrogram(sound).sum(axis=0)

    assert level.argmax() == column
    # Symmetric but for the pre-emphasis, which adds an echo one sample later.
    assert level[column - 1] == pytest.approx(level[column + 1], abs=2.0)
    assert (level[: column - 1] == SILENCE * BANDS).all()


@pytest.mark.parametrize("frame", [5, 11, 20])
def test_the_window_of_a_picture_has_its_own_sound_in_the_middle(frame: int) -> None:
    """The signed offset between picture and sound is zero: a click at 40 ms x k is centred in picture k's window."""
    pts_ns = frame * 40_000_000
    sound = np.zeros(16_000, np.float32)
    sound[pts_ns * SAMPLE_RATE_HZ // 1_000_000_000] = 1.0

    window = window_at(mel_spectrogram(sound), pts_ns)

    level = (window - SILENCE).sum(axis=0)
    centre = (level * np.arange(27)).sum() / level.sum()
    # 40 ms are 3.2 columns: the nearest column is at most half a column (6.25 ms) away.
    assert abs(centre - 13) <= 0.51


def test_a_window_looks_as_far_ahead_as_it_says() -> None:
    mel = np.arange(100, dtype=np.float32)[None, :].repeat(BANDS, axis=0)
    pts_ns = 50 * COLUMN_NS

    assert window_at(mel, pts_ns)[0].tolist() == list(range(37, 64))
    assert window_at(mel, pts_ns, MelWindow(27, 2))[0].tolist() == list(range(26, 53))
    assert window_at(mel, pts_ns, MelWindow(1, 0))[0].tolist() == [50]


@pytest.mark.parametrize("pts_ns", [-10_000_000_000, -40_000_000, 0, 1_240_000_000, 99_000_000_000])
def test_outside_the_sound_there_is_silence(pts_ns: int) -> None:
    mel = np.ones((BANDS, 100), np.float32)

    window = window_at(mel, pts_ns)

    inside = [0 <= column_at(pts_ns) - 13 + i < 100 for i in range(27)]
    assert window.shape == (BANDS, 27)
    assert [bool((window[:, i] == 1.0).all()) for i in range(27)] == inside
    assert [bool((window[:, i] == SILENCE).all()) for i in range(27)] == [not known for known in inside]


def test_a_window_is_a_copy() -> None:
    mel = np.zeros((BANDS, 100), np.float32)
    window_at(mel, 500_000_000)[:] = 1.0

    assert not mel.any()


def test_columns_are_rounded_to_the_nearest_without_drift() -> None:
    assert [column_at(ns) for ns in (-6_250_001, -6_250_000, 0, 6_249_999, 6_250_000)] == [-1, 0, 0, 0, 1]
    # After ten hours of 40 ms steps the column is still exact.
    assert column_at(900_000 * 40_000_000) == 900_000 * 16 // 5


def test_look_ahead_is_what_the_last_column_needs() -> None:
    window = MelWindow()
    pts_ns = 100 * COLUMN_NS
    needed = (pts_ns + window.look_ahead_ns) * SAMPLE_RATE_HZ // 1_000_000_000

    enough, short = StreamingMel(), StreamingMel()
    enough.push(np.zeros(needed, np.float32))
    short.push(np.zeros(needed - 1, np.float32))

    assert enough.columns_emitted == 100 + window.look_ahead + 1
    assert short.columns_emitted == 100 + window.look_ahead


@pytest.mark.parametrize(("look_ahead_ms", "columns_ahead"), [(0, -2), (40, 1), (80, 4), (200, 14)])
def test_a_window_within_a_look_ahead_hears_no_later_sample(look_ahead_ms: int, columns_ahead: int) -> None:
    window = MelWindow.within(look_ahead_ms)
    pts_ns = 40 * 12_500_000
    at = pts_ns * SAMPLE_RATE_HZ // 1_000_000_000
    sound = np.zeros(16_000, np.float32)
    # The first sample after the look-ahead, and the last one that still counts for something in a Hann window.
    sound[at + look_ahead_ms * 16] = 1.0

    assert (window.columns, window.look_ahead) == (27, columns_ahead)
    assert window.look_ahead_ns <= look_ahead_ms * 1_000_000 < window.look_ahead_ns + COLUMN_NS
    assert (window_at(mel_spectrogram(sound), pts_ns, window) == SILENCE).all()
    sound[at - 200] = 1.0
    assert (window_at(mel_spectrogram(sound), pts_ns, window) > SILENCE).any()


def test_less_than_no_look_ahead_is_refused() -> None:
    with pytest.raises(ValueError, match="look_ahead is -3, expected -2"):
        MelWindow.within(-1)


@pytest.mark.parametrize("look_ahead", [-3, 27, 99])
def test_a_window_that_misses_its_own_time_is_refused(look_ahead: int) -> None:
    with pytest.raises(ValueError, match="look_ahead"):
        MelWindow(27, look_ahead)


def test_stereo_is_refused() -> None:
    with pytest.raises(ValueError, match="mono"):
        mel_spectrogram(np.zeros((2, 100), np.float32))
